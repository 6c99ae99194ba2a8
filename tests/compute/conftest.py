"""A local driver on real folders and processes, shared images, and a small IDE for tests that need no notebook."""

from __future__ import annotations

import http.client
import os
import pwd
import shutil
import socket
import subprocess
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from compute.clusters.local import LocalDriver, processes
from compute.clusters.local.builder import find_python
from compute.clusters.local.layout import Session
from compute.workload import Claim, InitScript, Mount, Observation, Probe, Resources, Workload

USER = "slipway-ide"
PATIENCE = 60.0
TOKEN = "secret-token-of-the-ide"

# Stands where code-server would: a process that serves HTTP on a socket and does what tests ask of it.
SMALL_IDE = """
import http.server, json, os, socketserver, subprocess, sys

path = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--socket="))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = {}
        if self.path == "/about":
            answer = {"env": dict(os.environ), "ids": os.getresuid() + os.getresgid(), "groups": os.getgroups(), "cwd": os.getcwd(), "pids": [
                int(p) for p in os.listdir("/proc") if p.isdigit()]}
        elif self.path == "/stray":  # a process that has left its parent, its group and its environment
            subprocess.Popen(["setsid", "-f", "env", "-i", "sleep", "3333"])
        elif self.path.startswith("/exit/"):
            os._exit(int(self.path.split("/")[2]))
        elif self.path.startswith("/run/"):
            import urllib.parse
            done = subprocess.run(["sh", "-c", urllib.parse.unquote(self.path[5:])], capture_output=True, text=True)
            answer = {"code": done.returncode, "out": done.stdout, "err": done.stderr}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def address_string(self):
        return "gateway"
    def log_message(self, *args):
        pass

class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

print("the small IDE listens", flush=True)
server = Server(path, Handler)
os.chmod(path, 0o666)
server.serve_forever()
"""


def wait_for(condition: Callable[[], Any], what: str = "it", timeout: float = PATIENCE) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"Waited {timeout:.0f} s for {what}.")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self.path)


@dataclass
class Machine:
    """A driver with what tests do with it. Sessions and claims that it made are gone after the test."""

    driver: LocalDriver
    namespace: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:8]}")

    def workload(self, name: str = "s", revision: int = 1, image: str = "local:code-server", **changes: Any) -> Workload:
        """A session with a home, a data volume and a read-only one."""
        jupyter = image != "local:code-server"
        claims = ("home", "sales", "archive")
        workload = Workload(
            name=name,
            namespace=self.namespace,
            revision=revision,
            image=image,
            ide="jupyterlab" if jupyter else "code-server",
            token=TOKEN,
            port=8888,
            resources=Resources("1", "1Gi"),
            owner="owner",
            env={"GREETING": "hello"},
            secret_env={"JUPYTER_TOKEN" if jupyter else "HASHED_PASSWORD": TOKEN},
            claims=tuple(Claim(claim, "1Gi") for claim in claims),
            mounts=(
                Mount("home", "/home/user", home=True),
                Mount("sales", "/data/sales"),
                Mount("archive", "/data/archive", read_only=True),
            ),
            probe=Probe("/api/status", (200, 403)) if jupyter else Probe("/"),
        )
        return replace(workload, **changes)

    def start(self, *args: Any, **changes: Any) -> Observation:
        """Apply and wait until it is ready."""
        workload = self.workload(*args, **changes)
        self.driver.apply(workload)
        return self.ready(workload.name, workload.revision)

    def see(self, name: str = "s") -> Observation:
        return self.driver.observe(self.namespace, name)

    def ready(self, name: str = "s", revision: int = 1) -> Observation:
        def condition() -> Observation | None:
            seen = self.see(name)
            assert not seen.failed, (seen.reason, seen.message, seen.log_tail, self.driver.logs(self.namespace, name))
            return seen if seen.ready and seen.revision == revision else None

        return wait_for(condition, "a ready session")

    def failed(self, name: str = "s") -> Observation:
        return wait_for(lambda: seen if (seen := self.see(name)).failed else None, "a failed session")

    def paused(self, name: str = "s") -> None:
        wait_for(lambda: not self.see(name).exists, "a paused session")

    def gone(self, name: str = "s") -> None:
        wait_for(lambda: not self.see(name).retained, "a removed session")

    def session(self, name: str = "s") -> Session:
        return Session(self.driver.root, self.namespace, name)

    def status(self, name: str = "s") -> dict[str, Any]:
        from compute.clusters.local.layout import read_json

        return read_json(self.session(name).status) or {}

    def supervisor(self, name: str = "s") -> processes.Process | None:
        from compute.clusters.local.layout import read_json

        return processes.Process.load(read_json(self.session(name).lock))

    def processes(self, name: str = "s") -> list[processes.Process]:
        """Every process that carries the session's mark."""
        return processes.of_session(self.session(name).id)

    def servers(self, name: str = "s") -> int:
        """How many IDEs of the session run: processes that were started with its socket."""
        needle, found = str(self.session(name).ide_socket).encode(), 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                found += needle in Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
        return found

    def get(self, path: str, name: str = "s", headers: dict[str, str] | None = None, method: str = "GET", body: str | None = None) -> Any:
        """The answer of a session's IDE; its body is read into ``text``."""
        connection = UnixConnection(self.see(name).endpoint.removeprefix("unix:"))
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            response.text = response.read().decode()  # type: ignore[attr-defined]
            return response
        finally:
            connection.close()

    def claim(self, name: str) -> Path:
        return self.driver.root / "claims" / self.namespace / name

    def clean(self) -> None:
        folder = self.driver.root / "sessions" / self.namespace
        for name in [f.name for f in folder.glob("[a-z]*")] if folder.exists() else []:
            self.driver.remove(self.namespace, name)
            self.gone(name)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(self.driver.root / "claims" / self.namespace, ignore_errors=True)


@pytest.fixture(scope="session")
def session_user() -> str:
    """Who sessions run as: made when we are root, ourselves otherwise."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid()).pw_name
    try:
        pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", USER], check=True)
    return USER


@pytest.fixture(scope="session")
def cache() -> Path:
    """A folder that outlives test runs (images are in it) and that the session user may enter."""
    folder = Path(os.environ.get("SLIPWAY_TEST_CACHE") or f"/var/tmp/slipway-tests-{os.getuid()}")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def small_ide(cache: Path, session_user: str) -> Path:
    folder = cache / f"bin-{uuid.uuid4().hex[:6]}"
    folder.mkdir(mode=0o755)
    program = folder / "code-server"
    program.write_text(f"#!{find_python(session_user)} -I\n" + textwrap.dedent(SMALL_IDE))
    program.chmod(0o755)
    yield folder  # type: ignore[misc]
    shutil.rmtree(folder)


@pytest.fixture
def machine(cache: Path, session_user: str, small_ide: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setenv("PATH", f"{small_ide}:{os.environ['PATH']}")
    monkeypatch.setenv("CONTROL_PLANE_CANARY", "must-not-leak")
    machine = Machine(LocalDriver("here", root=cache / "local", user=session_user))
    yield machine
    machine.clean()


@pytest.fixture
def bare_machine(machine: Machine) -> Machine:
    """The same machine, as if its kernel gave us no namespaces."""
    machine.driver = LocalDriver("bare", root=machine.driver.root, user=machine.driver.user, isolate=False)
    return machine


SCRIPT = InitScript("say-hello", 'echo "hello from the script"; echo "$GREETING" > greeting.txt')
