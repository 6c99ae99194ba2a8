"""The relay: bytes both ways, and an end when access ends. Here the question it asks is a plain function."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from sessions import relay
from sessions.management.commands import run_relay
from sessions.relay import Relay
from tests.sessions.gateway_stack import wait_until

KEY = "the-key-of-nginx"
HEAD = f"GET /ws HTTP/1.1\r\nHost: lab\r\nX-Slipway-Key: {KEY}\r\nX-Slipway-Grant: 7\r\nX-Slipway-Other: x\r\nUpgrade: websocket\r\n\r\n".encode()
MEGABYTE = 1024 * 1024


class Running:
    """A relay in a thread, an upstream that hands out its connections, and what the relay is told of grants."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.upstream = listening(folder / "ide.sock")
        self.allowed: dict[int, str] = {7: f"unix:{folder}/ide.sock", 8: f"unix:{folder}/ide.sock"}
        self.asked: list[set[int]] = []
        self.failing = False
        self._path = str(folder / "relay.sock")
        self._listener = listening(folder / "relay.sock")
        self._options = {"interval": 0.05, **options}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        await Relay(KEY, self.check, **self._options).serve(self._listener, self._stop)

    async def check(self, grants: Collection[int]) -> dict[int, str]:
        self.asked.append(set(grants))
        if self.failing:
            raise ConnectionError("no database")
        return {grant: endpoint for grant, endpoint in self.allowed.items() if grant in grants}

    def connect(self, head: bytes = HEAD) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(self._path)
        client.sendall(head)
        return client

    def pair(self, head: bytes = HEAD) -> tuple[socket.socket, socket.socket, bytes]:
        """A client, the upstream's end of its connection, and the head that arrived there."""
        client = self.connect(head)
        upstream, _ = self.upstream.accept()
        upstream.settimeout(10)
        arrived = b""
        while b"\r\n\r\n" not in arrived:
            arrived += upstream.recv(65536)
        return client, upstream, arrived

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._listener.close()
        self.upstream.close()


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    listener.settimeout(10)
    return listener


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(**options: Any) -> Running:
        started.append(Running(tmp_path, **options))
        return started[-1]

    yield start
    for running in started:
        running.close()


def is_cut(end: socket.socket) -> bool:
    try:
        while end.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_bytes_pass_both_ways_without_slipways_headers(start: Callable[..., Running]) -> None:
    client, upstream, head = start().pair(HEAD + b"early")
    assert head == b"GET /ws HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\n\r\nearly"
    upstream.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert client.recv(100).startswith(b"HTTP/1.1 101")
    client.sendall(b"\x00ping")
    assert upstream.recv(100) == b"\x00ping"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HEAD.replace(KEY.encode(), b"guessed"), b"404"),
        (HEAD.replace(b"X-Slipway-Key", b"X-Other"), b"404"),
        (HEAD.replace(b"Grant: 7", b"Grant: 99"), b"404"),
        (HEAD.replace(b"Grant: 7", b"Grant: -7"), b"404"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 30_000, b"431"),
    ],
)
def test_what_may_not_pass_is_refused(start: Callable[..., Running], head: bytes, status: bytes) -> None:
    assert start().connect(head).recv(100).startswith(b"HTTP/1.1 " + status)


def test_a_session_that_cannot_be_dialled_is_a_bad_gateway(start: Callable[..., Running]) -> None:
    running = start()
    for endpoint in ("unix:/nowhere.sock", "127.0.0.1:1"):
        running.allowed[7] = endpoint
        assert running.connect().recv(100).startswith(b"HTTP/1.1 502")


def test_a_head_that_does_not_come_is_not_waited_for(start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "HEAD_SECONDS", 0.1)
    assert is_cut(start().connect(b"GET / HTTP/1.1\r\n"))


def test_what_is_no_longer_allowed_is_cut_and_the_rest_goes_on(start: Callable[..., Running]) -> None:
    running = start()
    client, upstream, _ = running.pair()
    other, _other_upstream, _ = running.pair(HEAD.replace(b"Grant: 7", b"Grant: 8"))
    del running.allowed[7]
    assert is_cut(client)
    assert is_cut(upstream)
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(1)
    assert {7, 8} in running.asked  # one question for all


def test_a_session_that_moved_is_cut(start: Callable[..., Running]) -> None:
    running = start()
    client, _upstream, _ = running.pair()
    running.allowed[7] = "unix:/elsewhere.sock"
    assert is_cut(client)


def test_an_unanswered_question_cuts_only_after_the_grace(start: Callable[..., Running]) -> None:
    running = start(grace=0.5)
    client, upstream, _ = running.pair()
    running.failing = True
    begin = time.monotonic()
    assert running.connect().recv(100).startswith(b"HTTP/1.1 503")
    client.sendall(b"still here")
    assert upstream.recv(100) == b"still here"
    assert is_cut(client)
    assert time.monotonic() - begin > 0.3


def test_a_database_that_comes_back_in_time_cuts_nothing(start: Callable[..., Running]) -> None:
    running = start()
    client, upstream, _ = running.pair()
    running.failing = True
    asked = len(running.asked)
    wait_until(lambda: len(running.asked) > asked + 2)
    running.failing = False
    asked = len(running.asked)
    wait_until(lambda: len(running.asked) > asked + 2)
    client.sendall(b"still here")
    assert upstream.recv(100) == b"still here"


def test_one_side_may_end_while_the_other_finishes(start: Callable[..., Running]) -> None:
    client, upstream, _ = start().pair()
    client.shutdown(socket.SHUT_WR)
    assert upstream.recv(100) == b""
    upstream.sendall(b"the rest")
    upstream.close()
    assert client.recv(100) == b"the rest"
    assert client.recv(100) == b""


def test_a_slow_reader_slows_its_writer(start: Callable[..., Running]) -> None:
    client, upstream, _ = start().pair()
    upstream.setblocking(False)
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 64 * MEGABYTE:
            sent += upstream.send(b"\0" * MEGABYTE)
            time.sleep(0.005)
    assert sent < 8 * MEGABYTE
    received = 0
    while received < sent:
        received += len(client.recv(MEGABYTE))


def test_it_stops_at_once_with_connections_open(start: Callable[..., Running]) -> None:
    running = start()
    pairs = [running.pair() for _ in range(20)]
    begin = time.monotonic()
    running.close()
    assert time.monotonic() - begin < 2
    assert all(is_cut(client) for client, _, _ in pairs)


def test_it_is_fast(start: Callable[..., Running]) -> None:
    """At least 50 MB/s on a machine that does other things as well; alone it is many times that."""
    client, upstream, _ = start().pair()
    size = 256 * MEGABYTE
    block = b"\0" * MEGABYTE
    writer = threading.Thread(target=lambda: [upstream.sendall(block) for _ in range(size // MEGABYTE)])
    begin = time.monotonic()
    writer.start()
    received = 0
    while received < size:
        received += len(client.recv(MEGABYTE))
    seconds = time.monotonic() - begin
    assert size / MEGABYTE / seconds > 50


def test_a_link_in_the_place_of_a_sessions_socket_leads_nowhere(tmp_path: Path) -> None:
    with listening(tmp_path / "docker.sock"):
        (tmp_path / "ide.sock").symlink_to(tmp_path / "docker.sock")
        with pytest.raises(relay.Unanswerable):
            asyncio.run(relay._connect(f"unix:{tmp_path}/ide.sock"))


def test_it_listens_on_tcp_for_an_nginx_elsewhere() -> None:
    with run_relay.listen_tcp("127.0.0.1:0") as listener, socket.create_connection(listener.getsockname(), timeout=5):
        assert listener.accept()[0].family == socket.AF_INET


@pytest.mark.parametrize("address", ["127.0.0.1", "example:port", "127.0.0.1:99999", "192.0.2.1:80"])
def test_an_address_that_it_cannot_listen_on_is_named(address: str) -> None:
    with pytest.raises(CommandError, match=address):
        run_relay.listen_tcp(address)
