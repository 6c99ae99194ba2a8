"""Runs all of Slipway on one machine: web, relay, worker, controller and nginx in front.

A program that ends is started again (a little later each time it ends at once), so whatever is killed comes back.
Nothing outlives a runner that is itself killed. Sessions are not its children: they go on running.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from config import process

BASE_DIR = Path(__file__).resolve().parent.parent
SOCKET_PATH_MAX = 100  # the kernel's limit is 107
NGINX_USER = "www-data"  # what Debian's own nginx runs as; used only when started as root
LOG_MAX = 10 * 1024**2
READY_TIMEOUT = 60.0
STOP_GRACE = 8.0  # the worker's own grace is 5
FIRST_BACKOFF, MAX_BACKOFF, SETTLED_AFTER = 0.2, 10.0, 20.0


class RunnerError(Exception):
    """Slipway can't be started; the message is one or a few lines for the person at the terminal."""


@dataclass
class Program:
    """One process of the stack. ``ready`` tells whether it does its work yet."""

    name: str
    argv: list[str]
    ready: Callable[[], bool] = lambda: True
    death_signal: signal.Signals = signal.SIGKILL
    child: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    backoff: float = FIRST_BACKOFF
    start_at: float = field(default=0.0)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def ask(connection: http.client.HTTPConnection, host: str, path: str) -> dict[str, Any] | None:
    """The JSON object that a GET is answered with, or None for any other answer or none."""
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        value = json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return value if isinstance(value, dict) else None


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(str(path)) == 0


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


class Runner:
    """Starts, watches and stops the programs. ``environment`` is what Slipway's settings are read from.

    ``run_dir`` holds sockets, pids, nginx's configuration and ``logs/``; one runner at a time uses it. Use from a main
    thread: the kernel ends children when the thread that started them ends.
    """

    def __init__(self, environment: Mapping[str, str], run_dir: Path, port: int, say: Callable[[str], None]) -> None:
        self.environment = dict(environment)
        self.run_dir = run_dir
        self.port = port
        self.say = say
        self.sockets = run_dir / "sockets"
        self.web_socket = self.sockets / "web.sock"
        self.relay_socket = self.sockets / "relay.sock"
        self.logs = run_dir / "logs"
        self.nginx_conf = run_dir / "nginx.conf"
        self.host = urlsplit(self.environment.get("SLIPWAY_URL", "")).netloc
        self.stopping = threading.Event()
        self.programs = self._programs()
        if len(str(self.relay_socket)) > SOCKET_PATH_MAX:
            raise RunnerError(f"The folder for sockets has too long a path: {run_dir}")

    def _programs(self) -> list[Program]:
        manage = [sys.executable, str(BASE_DIR / "manage.py")]
        web = [
            *[sys.executable, "-m", "gunicorn", "--config", "python:config.gunicorn_conf", "config.wsgi"],
            *["--bind", f"unix:{self.web_socket}", "--umask", "0o111"],
            *["--worker-class", "gthread", "--workers", self.environment.get("SLIPWAY_WEB_PROCESSES", "2"), "--threads", "8"],
            *["--timeout", "60", "--graceful-timeout", "4", "--no-control-socket", "--worker-tmp-dir", str(self.run_dir)],
        ]
        return [
            Program("web", web, lambda: ask(UnixConnection(self.web_socket, 5), self.host, "/healthz") is not None),
            Program("relay", [*manage, "run_relay", "--socket", str(self.relay_socket)], lambda: is_listening(self.relay_socket)),
            Program("worker", [*manage, "run_worker"], lambda: self._shows_life("worker")),
            Program("controller", [*manage, "run_controller"], lambda: self._shows_life("controller")),
            Program(
                "nginx",
                ["nginx", "-e", "stderr", "-p", str(self.run_dir), "-c", str(self.nginx_conf)],
                lambda: ask(http.client.HTTPConnection("127.0.0.1", self.port, timeout=5), self.host, "/healthz") is not None,
                # Its master passes this on to its workers, which would hold the port for ever after a SIGKILL.
                death_signal=signal.SIGTERM,
            ),
        ]

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Start everything, call ``on_ready``, keep it running until :meth:`stop` is called, and stop it."""
        with self._only_one():
            try:
                self._make_sockets_folder()
                self._write_nginx_conf()
                self._start_all()
                if not self.stopping.is_set():
                    on_ready()
                while not self.stopping.wait(0.2):
                    for program in self.programs:
                        self._keep(program)
            finally:
                self._stop_all()

    def stop(self) -> None:
        self.stopping.set()

    def _only_one(self) -> _Lock:
        self.run_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        return _Lock(self.run_dir / "lock")

    def _make_sockets_folder(self) -> None:
        """The folder's mode says who may connect: ourselves and nginx, which does not run as root."""
        self.sockets.mkdir(mode=0o710, exist_ok=True)
        if os.getuid() == 0:
            shutil.chown(self.sockets, group=NGINX_USER)

    def _write_nginx_conf(self) -> None:
        if shutil.which("nginx", path=self._path()) is None:
            raise RunnerError("nginx is missing. Install the package nginx-light.")
        options = {
            "listen": f"127.0.0.1:{self.port}",
            "web": f"unix:{self.web_socket}",
            "relay": f"unix:{self.relay_socket}",
            "run-dir": str(self.run_dir),
            "output": str(self.nginx_conf),
            "access-log": str(self.logs / "access.log"),
            **({"user": NGINX_USER} if os.getuid() == 0 else {}),
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        manage = [sys.executable, str(BASE_DIR / "manage.py"), "nginx_conf", *arguments]
        made = subprocess.run(manage, env=self.environment, capture_output=True, text=True, timeout=READY_TIMEOUT)
        if made.returncode != 0:
            raise RunnerError(f"nginx's configuration could not be written:\n{made.stderr.strip()}")

    def _path(self) -> str:
        return f"{self.environment.get('PATH', os.defpath)}:/usr/sbin:/sbin"

    def _start(self, program: Program) -> None:
        log = self.logs / f"{program.name}.log"
        if log.exists() and log.stat().st_size > LOG_MAX:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            program.child = process.start(
                program.argv,
                death_signal=program.death_signal,
                cwd=BASE_DIR,
                env={**self.environment, "PATH": self._path(), "PYTHONUNBUFFERED": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        fresh = self.run_dir / f".{program.name}.pid"
        fresh.write_text(str(program.child.pid))
        fresh.replace(self.run_dir / f"{program.name}.pid")  # whoever reads it never finds it empty
        program.started = time.monotonic()

    def _start_all(self) -> None:
        """The web first, because its health page tells of the others; then all of them at once."""
        web, *others = self.programs
        self._start(web)
        self._wait_for(web)
        for program in others:
            self._start(program)
        for program in others:
            self._wait_for(program)

    def _wait_for(self, program: Program) -> None:
        while not self.stopping.is_set() and not program.ready():
            if program.child is not None and program.child.poll() is not None:
                raise RunnerError(f"{program.name} ended at once:\n{self._last_words(program)}")
            if time.monotonic() - program.started > READY_TIMEOUT:
                raise RunnerError(f"{program.name} was not ready after {READY_TIMEOUT:.0f} s:\n{self._last_words(program)}")
            time.sleep(0.05)

    def _shows_life(self, name: str) -> bool:
        """Whether the worker or controller has stamped its heartbeat since the runner started it."""
        health = ask(UnixConnection(self.web_socket, 5), self.host, "/healthz") or {}
        age = health.get("seconds_since", {}).get(name)
        program = next(program for program in self.programs if program.name == name)
        return age is not None and age < time.monotonic() - program.started

    def _last_words(self, program: Program) -> str:
        log = self.logs / f"{program.name}.log"
        lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
        return "\n".join(f"  {line}" for line in [*lines, f"(all of it: {log})"])

    def _keep(self, program: Program) -> None:
        """Start a program that has ended again, after a pause that grows while it ends at once each time."""
        now = time.monotonic()
        if program.child is None:
            if now >= program.start_at:
                self._start(program)
        elif program.child.poll() is not None:
            process.kill_group(program.child)
            self.say(f"{program.name} ended ({_how(program.child.returncode)}); it is started again.")
            program.backoff = FIRST_BACKOFF if now - program.started > SETTLED_AFTER else min(program.backoff * 2, MAX_BACKOFF)
            program.child, program.start_at = None, now + program.backoff

    def _stop_all(self) -> None:
        process.stop_all([program.child for program in self.programs if program.child is not None], STOP_GRACE)


def _how(returncode: int) -> str:
    return f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"status {returncode}"


class _Lock:
    """Held as long as the process lives; the kernel lets go of it whatever happens."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        self.file = self.path.open("w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunnerError(f"Slipway is running already with the data in {self.path.parent.parent}.") from None

    def __exit__(self, *_: object) -> None:
        self.file.close()


def run_until_signalled(runner: Runner, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run in the main thread until Ctrl-C or SIGTERM; either, given again, changes nothing."""
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda *_: runner.stop())
    runner.run(on_ready)
