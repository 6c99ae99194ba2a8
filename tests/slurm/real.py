"""A real Slurm of this machine, and two of its users: ``../shared/slurm/slurm``, or the program that SLIPWAY_TEST_SLURM names."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.stack import free_port

BASE_DIR = Path(__file__).resolve().parents[2]
PROGRAM = Path(os.environ.get("SLIPWAY_TEST_SLURM") or BASE_DIR.parent / "shared" / "slurm" / "slurm")
NEEDS = "needs root and a program that starts a real Slurm (SLIPWAY_TEST_SLURM)"


def is_there() -> bool:
    return PROGRAM.exists() and os.getuid() == 0


class Slurm:
    """Use as a context manager. Its controller listens on ``address``: this machine's own, if pods are to reach it."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address, self.port = address, _two_free_ports()

    def __enter__(self) -> Slurm:
        self.folder = Path(tempfile.mkdtemp(prefix="slipway-slurm-"))
        self._run("up")
        return self

    def __exit__(self, *_: object) -> None:
        self._end_jobs()
        self._run("down")

    def _end_jobs(self) -> None:
        """What runs jobs would outlive the node's daemon."""
        with suppress(subprocess.TimeoutExpired):  # a controller that a test has stopped
            for state in ("PENDING", "RUNNING"):
                self.admin("scancel", f"--state={state}")
        deadline = time.monotonic() + 10
        while self._steps() and time.monotonic() < deadline:
            time.sleep(0.1)
        for step in self._steps():
            step.kill()

    def _steps(self) -> list[psutil.Process]:
        """The processes of this very Slurm that each watch over a job."""
        found = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "slurmstepd"]
        return [step for step in found if str(self.folder).encode() in _environment_of(step)]

    @property
    def controller(self) -> str:
        return f"{self.address}:{self.port}"

    @property
    def key(self) -> bytes:
        return (self.folder / "state" / "jwt.key").read_bytes()

    def rotate_key(self) -> None:
        """As its admin does: another key, and the controller again."""
        self.stop("slurmctld")
        (self.folder / "state" / "jwt.key").write_bytes(os.urandom(32))
        self.start("slurmctld")

    def stop(self, daemon: str) -> None:
        self._run("stop", daemon)

    def start(self, daemon: str) -> None:
        self._run("start", daemon)

    def token(self, user: str, seconds: int = 600) -> str:
        return self._run("token", user, str(seconds)).strip()

    def ask(self, user: str, *command: str) -> str:
        """What a command says to the user, who has no session."""
        account = pwd.getpwnam(user)
        environment = {"PATH": "/usr/bin:/bin", "SLURM_CONF_SERVER": self.controller, "SLURM_JWT": self.token(user), "HOME": "/tmp"}
        done = subprocess.run(
            command,
            env=environment,
            cwd="/tmp",
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    def admin(self, *command: str) -> str:
        """What a command says to Slurm's own admin."""
        return subprocess.run(
            command, env={**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf")}, capture_output=True, text=True, timeout=60
        ).stdout

    def _run(self, *arguments: str) -> str:
        environment = {**os.environ, "SLURM_DIR": str(self.folder), "SLURM_ADDR": self.address, "SLURM_PORT": str(self.port)}
        # Into files, not pipes: what it starts keeps them open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run([str(PROGRAM), *arguments], env=environment, stdout=output, stderr=subprocess.STDOUT, timeout=300)
            output.seek(0)
            told = output.read()
        assert done.returncode == 0, f"slurm {' '.join(arguments)} failed:\n{told}"
        return told


def _environment_of(process: psutil.Process) -> bytes:
    """As it is: a daemon writes its title over the beginning, which psutil makes nothing of."""
    try:
        return Path(f"/proc/{process.pid}/environ").read_bytes()
    except OSError:
        return b""


def user(name: str) -> pwd.struct_passwd:
    """An account of this machine, made if need be, as the compute nodes of a cluster have them."""
    with open("/etc/login.defs") as lock:  # two useradd at once may overwrite each other's account
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            return pwd.getpwnam(name)
        except KeyError:
            command = ["useradd", "--no-create-home", "--home-dir", "/tmp", "--shell", "/bin/sh", name]
            subprocess.run(command, check=True, capture_output=True)
            return pwd.getpwnam(name)


def own_address() -> str:
    """This machine's address as others see it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return str(probe.getsockname()[0])


def _two_free_ports() -> int:
    """A port, for the controller, whose next one is free as well, for the node."""
    while True:
        port = free_port()
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
        return port
