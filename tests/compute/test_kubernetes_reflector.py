"""A reflector against a server on loopback that answers by script, as clusters do on bad days."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from compute.clusters.kubernetes import records
from compute.clusters.kubernetes.client import Connection
from compute.clusters.kubernetes.reflector import Kind, Reflector

PATH = "/api/v1/persistentvolumeclaims"
CLAIMS = Kind("claims", PATH, records.pvc, "app=slipway")


def claim(name: str, phase: str = "Bound", version: int = 1) -> dict[str, Any]:
    meta = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "status": {"phase": phase}}


def page(*items: dict[str, Any], version: int = 1, more: str = "") -> dict[str, Any]:
    return {"items": list(items), "metadata": {"resourceVersion": str(version), "continue": more}}


def event(kind: str, raw: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": raw}


def bookmark(version: int) -> dict[str, Any]:
    return event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})


EXPIRED = event("ERROR", {"code": 410, "reason": "Expired", "message": "too old"})


class Server(ThreadingHTTPServer):
    """``lists`` and ``watches`` are answered in their order; the last one again and again.

    A list is a page, a status, or None (the connection is cut). A watch is a status or a list of events; it then stays open
    and silent for as long as it was asked to, or for ``silent`` seconds.
    """

    daemon_threads = True

    def __init__(self, lists: list[Any], watches: list[Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lists, self.watches = lists, watches
        self.silent: float | None = None
        self.asked: list[dict[str, str]] = []
        self.stopped = threading.Event()

    def watched_from(self) -> list[str]:
        return [query["resourceVersion"] for query in self.asked if "watch" in query]

    def listed(self) -> list[dict[str, str]]:
        return [query for query in self.asked if "watch" not in query]


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query))
        self.server.asked.append(query)
        script = self.server.watches if "watch" in query else self.server.lists
        answer = script.pop(0) if len(script) > 1 else script[0]
        if answer is None:
            self.close_connection = True
        elif isinstance(answer, int):
            self.send(answer, {"kind": "Status", "code": answer, "message": "no"})
        elif isinstance(answer, dict):
            self.send(200, answer)
        else:
            self.stream(answer, float(query["timeoutSeconds"]))

    def send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events: list[dict[str, Any]], seconds: float) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for one in events:
            line = json.dumps(one).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.server.stopped.wait(seconds if self.server.silent is None else self.server.silent)
        with suppress(OSError):  # the other side may have given up
            self.wfile.write(b"0\r\n\r\n")


Following = tuple[Reflector[records.PVC], list[str], Server]
Follow = Callable[..., Following]


@contextmanager
def serving(lists: list[Any], watches: list[Any]) -> Iterator[Server]:
    server = Server(lists, watches)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follow]:
    """Start a reflector on such a server: the reflector, the names of what changed, and the server."""
    ends: list[Callable[[], object]] = []

    def start(lists: list[Any], watches: list[Any], silent: float | None = None, **options: Any) -> Following:
        manager = serving(lists, watches)
        server = manager.__enter__()
        server.silent = silent
        host = f"http://127.0.0.1:{server.server_port}"
        kubeconfig = {
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "clusters": [{"name": "test", "cluster": {"server": host}}],
            "users": [{"name": "test", "user": {"token": "t"}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        changed: list[str] = []
        options = {"watch_seconds": 2, "longest_backoff": 0.1, **options}
        reflector = Reflector(Connection("test"), CLAIMS, lambda one: changed.append(one.name), **options)
        stop = threading.Event()
        thread = threading.Thread(target=reflector.run, args=(stop,))
        thread.start()

        def end() -> None:
            stop.set()
            manager.__exit__(None, None, None)
            thread.join(10)
            assert not thread.is_alive()

        ends.append(end)
        return reflector, changed, server

    yield start
    for end in ends:
        end()


def until(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "It did not become true in time."
        time.sleep(0.01)


def names(reflector: Reflector[records.PVC]) -> set[str]:
    return {name for _, name in reflector.store}


def test_a_list_comes_in_pages_and_the_watch_goes_on_from_it(follow: Follow) -> None:
    lists = [page(claim("a"), more="next"), page(claim("b"), version=7)]
    reflector, changed, server = follow(lists, [[event("ADDED", claim("c", version=8)), event("DELETED", claim("a", version=9))]])
    until(lambda: names(reflector) == {"b", "c"})
    assert changed == ["a", "b", "c", "a"]
    assert [(one["limit"], one.get("continue"), one["labelSelector"]) for one in server.listed()] == [
        ("500", None, "app=slipway"),
        ("500", "next", "app=slipway"),
    ]
    assert server.watched_from() == ["7"]
    watched = next(one for one in server.asked if "watch" in one)
    assert (watched["allowWatchBookmarks"], watched["timeoutSeconds"], watched["labelSelector"]) == ("true", "2", "app=slipway")


def test_what_does_not_matter_is_no_change(follow: Follow) -> None:
    same, other = claim("a", version=8), claim("a", "Lost", version=9)
    _, changed, _ = follow([page(claim("a"))], [[event("MODIFIED", same), event("MODIFIED", other)]])
    until(lambda: len(changed) == 2)
    assert changed == ["a", "a"]


def test_bookmarks_move_the_watch_on(follow: Follow) -> None:
    _, changed, server = follow([page(claim("a"), version=3)], [[bookmark(50)], []], watch_seconds=1)
    until(lambda: len(server.watched_from()) >= 2)
    assert server.watched_from()[:2] == ["3", "50"]
    assert changed == ["a"] and len(server.listed()) == 1


@pytest.mark.parametrize("gone", [410, [EXPIRED]])
def test_an_expired_watch_lists_again_and_tells_what_is_gone(follow: Follow, gone: Any) -> None:
    reflector, changed, _ = follow([page(claim("a"), claim("b")), page(claim("b"), claim("c"), version=60)], [gone, []])
    until(lambda: names(reflector) == {"b", "c"} and len(changed) == 4)
    assert changed == ["a", "b", "c", "a"]


def test_the_list_is_renewed_every_so_often(follow: Follow) -> None:
    reflector, _, server = follow([page(claim("a")), page(claim("b"))], [[]], watch_seconds=1, relist_seconds=0.5)
    until(lambda: names(reflector) == {"b"})
    assert len(server.listed()) == 2


def test_a_page_that_is_lost_keeps_what_was_known(follow: Follow) -> None:
    lists = [page(claim("a")), page(claim("b"), more="next"), None, page(claim("b"), more="next"), page(claim("c"), version=9)]
    reflector, changed, _ = follow(lists, [410, []])
    until(lambda: names(reflector) == {"b", "c"})
    until(lambda: len(changed) == 4)
    assert changed == ["a", "b", "c", "a"]  # never b alone


def test_refusals_are_backed_off_from(follow: Follow) -> None:
    reflector, _, server = follow([429, 500, 429, page(claim("a"))], [[]], longest_backoff=0.3)
    until(lambda: names(reflector) == {"a"})
    assert len(server.listed()) == 4
    until(lambda: reflector.failing_since is None)


def test_a_server_that_only_refuses_is_not_flooded(follow: Follow) -> None:
    reflector, _, server = follow([503], [[]], longest_backoff=4.0)
    until(lambda: reflector.error)
    time.sleep(1)
    assert len(server.asked) < 20
    assert reflector.lag > 0.5 and not reflector.synced.is_set()


def test_watches_that_end_at_once_are_not_a_busy_loop(follow: Follow) -> None:
    reflector, _, server = follow([page(claim("a"))], [[]], silent=0, longest_backoff=4.0)
    until(lambda: reflector.error)
    time.sleep(1)
    assert len(server.asked) < 20
    assert names(reflector) == {"a"}


def test_a_silent_connection_is_given_up(follow: Follow) -> None:
    reflector, _, server = follow([page(claim("a"))], [[], [event("ADDED", claim("b"))]], silent=30, watch_seconds=0, grace_seconds=0.5)
    until(lambda: names(reflector) == {"a", "b"})
    assert len(server.listed()) == 1


def test_one_unreadable_object_hides_no_other(follow: Follow, caplog: pytest.LogCaptureFixture) -> None:
    broken = {"metadata": {"name": "x", "namespace": "team"}, "status": 3}
    reflector, _, _ = follow([page(broken, claim("a"))], [[]])
    until(lambda: names(reflector) == {"a"})
    assert "Could not read claims team/x" in caplog.text
