"""The client and the command against Slipway itself, served over HTTP by threads of this process."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from slipway import Slipway
from slipway.cli.main import run
from slipway.transport import Patience

from compute import tokens
from compute.models import Scope
from tests.api.conftest import database_file  # noqa: F401 (a fixture)
from tests.conftest import Cast


class Handler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Quiet."""


class Server(ThreadedWSGIServer):
    daemon_threads = False  # a thread ends when its client closes, and closes its connection to the database then


@dataclass
class Served:
    """``spoil(status)`` lets the next answer get lost: the request is done, and the answer is that of a proxy in trouble."""

    url: str
    spoiled: list[int]
    paths: list[str]

    def spoil(self, *statuses: int) -> None:
        self.spoiled.extend(statuses)


@pytest.fixture
def served(database_file: None, settings: Any) -> Iterator[Served]:  # noqa: F811
    application = get_wsgi_application()
    spoiled: list[int] = []
    paths: list[str] = []

    def lossy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        paths.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}?{environ['QUERY_STRING']}")
        if not spoiled:
            return application(environ, start_response)
        status = spoiled.pop(0)
        list(application(environ, lambda *_: None))
        start_response(f"{status} Trouble", [("Content-Type", "text/html")])
        return [b"<h1>nginx</h1>"]

    server = Server(("127.0.0.1", 0), Handler, ipv6=False)
    server.set_app(lossy)
    settings.SLIPWAY_URL = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Served(settings.SLIPWAY_URL, spoiled, paths)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def token(cast: Cast) -> Callable[..., str]:
    """``token("owner", Scope.READ)``: a fresh token of anyone in the cast; without scopes, with all of them."""
    made = 0

    def make(who: str = "owner", *scopes: Scope) -> str:
        nonlocal made
        made += 1
        return tokens.create_token(getattr(cast, who), name=f"token-{made}", scopes=scopes or list(Scope)).plain

    return make


@pytest.fixture
def client(served: Served, token: Callable[..., str]) -> Iterator[Callable[..., Slipway]]:
    """``client("owner")``: the client, with little patience."""
    with ExitStack() as opened:

        def make(who: str = "owner", *scopes: Scope) -> Slipway:
            return opened.enter_context(Slipway(served.url, token(who, *scopes), patience=Patience(retries=2, longest=1)))

        yield make


class Terminal(io.StringIO):
    """Somebody is there."""

    def isatty(self) -> bool:
        return True


@dataclass
class Said:
    code: int
    out: str
    err: str


@pytest.fixture
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the command's own."""
    for name in ("SLIPWAY_URL", "SLIPWAY_TOKEN", "SLIPWAY_PROFILE", "SLIPWAY_WORKSPACE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def command(config_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """``command("list", "--json")``: what the command said, and its exit code. ``stdin`` is no terminal."""

    def call(*arguments: str, stdin: str | Terminal = "") -> Said:
        capsys.readouterr()
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin) if isinstance(stdin, str) else stdin)
        code = run(arguments)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return call


@pytest.fixture
def signed_in(served: Served, token: Callable[..., str], monkeypatch: pytest.MonkeyPatch, config_home: Path) -> str:
    """The command asks as the owner; returns the token."""
    plain = token("owner")
    monkeypatch.setenv("SLIPWAY_URL", served.url)
    monkeypatch.setenv("SLIPWAY_TOKEN", plain)
    return plain
