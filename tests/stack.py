"""All of Slipway on a port, with a folder and a database of its own: for live tests, `make smoke` and `make bench`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from config.demo import KEYS, prepare, write_env
from config.runner import BASE_DIR, port_is_free

READY_TIMEOUT = 120
STOP_TIMEOUT = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def image_cache() -> Path:
    """Where images that were built once are kept for other stacks: ``SLIPWAY_TEST_CACHE``, or the user's cache. Root's own
    home is closed to the user that its sessions run as."""
    if given := os.environ.get("SLIPWAY_TEST_CACHE"):
        return Path(given)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (Path("/var/cache") if os.getuid() == 0 else home) / "slipway-tests"


class Stack:
    """Use as a context manager. ``database_url``: an empty PostgreSQL database; without it a SQLite file is made."""

    def __init__(self, database_url: str = "", images: tuple[str, ...] = ("jupyterlab",)) -> None:
        self.database_url = database_url
        self.images = images
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Stack:
        # Below /tmp and open to pass through: sessions may run as another user.
        self.folder = Path(tempfile.mkdtemp(prefix="slipway-"))
        self.folder.chmod(0o711)
        self.janitor = subprocess.Popen(
            [sys.executable, "-m", "tests.stack", str(self.folder)], stdin=subprocess.PIPE, cwd=BASE_DIR, start_new_session=True
        )
        try:
            self.database_url = self.database_url or f"sqlite:///{self.folder / 'slipway.sqlite3'}"
            if all(name in os.environ for name in KEYS):  # a test that uses models must read what the stack writes
                write_env(self.folder / "env", {name: os.environ[name] for name in KEYS})
            self.environment = prepare(self.folder, self.port, self.database_url)
            (self.folder / "environment.json").touch(mode=0o600)
            (self.folder / "environment.json").write_text(json.dumps(self.environment))
            for image in self.images:
                self.link_image(image)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        assert self.janitor.stdin is not None
        self.janitor.stdin.close()
        self.janitor.wait(90)

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    @property
    def local_root(self) -> Path:
        """The local driver's folder: ``claims/<namespace>/<claim>`` are the volumes."""
        return self.folder / "local"

    def session_url(self, host: str) -> str:
        return f"http://{host}.apps.localhost:{self.port}"

    def start(self) -> None:
        """Start the programs and wait until all of them are ready."""
        if not port_is_free(self.port):
            raise RuntimeError(f"Port {self.port} is taken.")
        log = (self.folder / "runner.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, str(BASE_DIR / "manage.py"), "run_all", "--port", str(self.port), "--run-dir", str(self.run_dir)],
            env=self.environment,
            cwd=BASE_DIR,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        (self.folder / "runner.pid").write_text(str(self.process.pid))
        deadline = time.monotonic() + READY_TIMEOUT
        while b"ready" not in (self.folder / "runner.log").read_bytes().splitlines():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The stack did not start:\n{self.logs()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the programs as Ctrl-C does. Sessions go on running."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        finally:
            self.process.kill()
            self.process = None

    def pid(self, program: str) -> int:
        """The process id of web, relay, worker, controller or nginx now."""
        file = self.run_dir / f"{program}.pid"
        deadline = time.monotonic() + 5
        while not (text := file.read_text().strip()) and time.monotonic() < deadline:
            time.sleep(0.01)  # nginx writes its own, and not at once
        return int(text)

    def kill(self, program: str) -> int:
        """``kill -9``; the runner starts it again. Returns the pid that it had."""
        pid = self.pid(program)
        os.kill(pid, signal.SIGKILL)
        return pid

    def manage(self, *arguments: str, timeout: float = 60) -> str:
        """Run a management command with the stack's settings; returns what it printed."""
        done = subprocess.run(
            [sys.executable, str(BASE_DIR / "manage.py"), *arguments],
            env=self.environment,
            cwd=BASE_DIR,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode != 0:
            raise RuntimeError(f"manage.py {arguments[0]} failed:\n{done.stderr}")
        return done.stdout

    def logs(self, lines: int = 40) -> str:
        """The end of every log, for a failure's report."""
        found = [self.folder / "runner.log", *sorted((self.run_dir / "logs").glob("*.log"))]
        parts = [
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) for path in found if path.exists()
        ]
        return "\n".join(parts)

    def link_image(self, name: str) -> None:
        """Let the stack use the image from the cache, built there first if need be (some 20 s, once)."""
        from compute.clusters.local import layout
        from compute.clusters.local.images import Image
        from compute.clusters.local.recipes import RECIPES

        recipe = RECIPES[name]
        assert recipe.lock is not None
        user = self.environment["SLIPWAY_LOCAL_USER"]
        cache = image_cache()
        cache.mkdir(mode=0o711, parents=True, exist_ok=True)
        layout.make_root(cache)
        with (cache / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            venv = Image(cache, recipe.key, recipe.lock, user).build(lambda told: None)
        assert venv is not None
        layout.make_root(self.local_root)
        image = Image(self.local_root, recipe.key, recipe.lock, user)
        layout.make_folder(image.folder, 0o755)
        with contextlib.suppress(FileExistsError):
            image.current.symlink_to(venv)


def clean_up(folder: Path) -> None:
    """The janitor: ends what a stack has running and removes its folder, as soon as the process that used it has closed
    our standard input, or has been killed."""
    sys.stdin.read()
    with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
        runner = psutil.Process(int((folder / "runner.pid").read_text()))
        if str(folder) in " ".join(runner.cmdline()):
            runner.terminate()
            runner.wait(STOP_TIMEOUT)
    with contextlib.suppress(FileNotFoundError):
        environment = json.loads((folder / "environment.json").read_text())
        subprocess.run([sys.executable, str(BASE_DIR / "manage.py"), "stop_local"], env=environment, cwd=BASE_DIR, timeout=60)
    if os.environ.get("SLIPWAY_KEEP"):  # to look at logs after a failure
        print(f"kept: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """The URL of a new PostgreSQL database on the server that ``server_url`` leads to, dropped afterwards."""
    import psycopg

    name = f"slipway_live_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


if __name__ == "__main__":
    clean_up(Path(sys.argv[1]))
