"""Builds the image of one recipe and ends: ``python -m compute.clusters.local.builder ROOT KEY REQUIREMENTS ATTEMPT``.

Runs as Slipway's own user with the operator's pip settings. Standard library only.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from compute.clusters.local import detach
from compute.clusters.local.images import Image
from compute.clusters.local.processes import Process
from compute.clusters.local.recipes import FILES, HOME_PACKAGES

CHECK = "import ensurepip, sys, venv; sys.exit(sys.version_info[:2] < (3, 11))"
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    """The build cannot go on; the message is a sentence."""


def find_python(user: str) -> Path | None:
    """A Python (3.11 or newer, with venv and ensurepip) that the session user can run; None if there is none."""
    own = Path(getattr(sys, "_base_executable", "") or sys.executable).resolve()
    same = f"python{sys.version_info.major}.{sys.version_info.minor}"
    names = [shutil.which(same), f"/usr/bin/{same}", f"/usr/local/bin/{same}", str(own), "/usr/bin/python3", "/usr/local/bin/python3"]
    for name in dict.fromkeys(filter(None, [*names, shutil.which("python3")])):
        if _runs(name, user):
            return Path(name)
    return None


def _runs(python: str, user: str) -> bool:
    identity = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user and os.getuid() == 0 else {}
    try:
        done = subprocess.run(
            [python, "-I", "-c", CHECK],
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            capture_output=True,
            timeout=20,
            **identity,  # type: ignore[call-overload]
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(done.returncode == 0)


def build(image: Image, attempt: str, user: str, say: Callable[[str], None]) -> None:
    """Make ``images/<key>/<attempt>`` and point ``current`` at it. Raises :class:`Failed`."""
    for old in image.folder.iterdir():
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)
    say("Creating a Python environment…")
    python = find_python(user)
    if python is None:
        who = f"the user {user}" if os.getuid() == 0 else "sessions"
        raise Failed(f"No Python 3.11 or newer with venv that {who} can run: install python3 and python3-venv for the whole machine.")
    venv = image.folder / attempt
    _run([str(python), "-I", "-m", "venv", str(venv)], "The Python environment could not be created.")
    total = len(re.findall(r"^[A-Za-z0-9][^\s=]*==", image.requirements.read_text(), re.MULTILINE))
    pip = [str(venv / "bin" / "python"), "-I", "-m", "pip", "install", "--no-input", "--no-color", "--progress-bar=off"]
    pip += ["--require-hashes", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "-r", str(image.requirements)]
    progress = Progress(total, say)
    _run(pip, f"pip could not install the {total} packages of {image.requirements.stem}.", progress.line)
    _open_home_packages(venv)
    shutil.copytree(FILES, venv, dirs_exist_ok=True)
    link = image.folder / f".current.{attempt}"
    link.symlink_to(attempt)
    link.replace(image.current)


class Progress:
    """Turns pip's lines into sentences: how many packages were collected, and that they are being installed."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self.total, self.say, self.collected = total, say, 0

    def line(self, line: str) -> None:
        if line.startswith("Collecting "):
            self.collected += 1
            self.say(f"Collecting packages: {min(self.collected, self.total)} of {self.total}…")
        elif line.startswith("Installing collected packages"):
            self.say(f"Installing {self.total} packages…")


def _open_home_packages(venv: Path) -> None:
    """Let ``pip install`` in a session put packages into the user's home; the image itself is shared."""
    for packages in (venv / "lib").glob("python3*/site-packages"):
        shutil.copyfile(HOME_PACKAGES, packages / "slipway_home.py")
        (packages / "slipway_home.pth").write_text("import slipway_home\n")


def _run(command: list[str], failure: str, on_line: Callable[[str], None] = lambda line: None) -> None:
    """Run to the end, copying its output to ours (the build log)."""
    process = subprocess.Popen(
        command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        preexec_fn=_end_with_parent,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        on_line(line)
    if process.wait():
        raise Failed(failure)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main(root: str, key: str, requirements: str, attempt: str, user: str = "") -> int:
    image = Image(Path(root), key, Path(requirements), user)
    ready = detach.detach()
    with image.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0  # another builder is at it
        if image.venv() is not None:
            return 0
        os.umask(0o022)
        os.truncate(image.log, 0)
        builder = Process.of(os.getpid())

        def say(message: str, state: str = "building") -> None:
            image.write_report(id=attempt, state=state, message=message, builder=builder.dump() if builder else None)

        say("Starting the build…")
        ready()
        try:
            build(image, attempt, user, say)
        except (Failed, OSError) as error:
            print(error, flush=True)  # noqa: T201 (our output is the build log)
            say(str(error), state="failed")
            shutil.rmtree(image.folder / attempt, ignore_errors=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
