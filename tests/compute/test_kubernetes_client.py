"""The connection against a real HTTP server: what each answer, silence and broken stream becomes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client.configuration import Configuration

from compute.clusters.kubernetes import client
from compute.clusters.kubernetes.client import ApiError, Connection

QUOTA = 'persistentvolumeclaims "x" is forbidden: exceeded quota: slipway, requested: requests.storage=1Gi, used: 1Gi, limited: 1Gi'


class Answers(BaseHTTPRequestHandler):
    """/status/CODE?… answers with the server's ``said``; /slow not in time; /half and /gone are watches; /list has two pages."""

    said: dict[str, Any] = {}
    tokens: list[str | None] = []
    asked: list[str] = []

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"])
        self.asked.append(self.path)
        path, _, query = self.path.partition("?")
        kind, _, code = path.strip("/").partition("/")
        if kind == "slow":
            time.sleep(0.6)
        lines = {
            "half": b'{"type":"ADDED","object":{}}\n{"type":"ADD',
            "gone": b'{"type":"ERROR","object":{"code":410,"reason":"Expired"}}\n',
            "html": b"<html>",
            "list": b'{"items":[3],"metadata":{}}' if "continue=more" in query else b'{"items":[1,2],"metadata":{"continue":"more"}}',
        }
        body = lines.get(kind, json.dumps(self.said).encode())
        self.send_response(int(code or 200))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "here",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr(Answers, "said", {})
    monkeypatch.setattr(Answers, "asked", [])
    yield Connection("here")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "said", "reason", "retryable"),
    [
        (401, "", "Unauthorized", True),
        (403, 'pods is forbidden: User "u" cannot list resource "pods"', "Forbidden", True),
        (403, QUOTA, "QuotaExceeded", True),
        (404, "no", "NotFound", True),
        (409, "no", "Conflict", True),
        (410, "no", "Expired", True),
        (422, "no", "Invalid", False),
        (429, "no", "TooManyRequests", True),
        (500, "no", "ClusterTrouble", True),
        (503, "no", "ClusterTrouble", True),
    ],
)
def test_a_refusal_has_a_reason(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, status: int, said: str, reason: str, retryable: bool
) -> None:
    monkeypatch.setattr(Answers, "said", {"kind": "Status", "message": said})
    with pytest.raises(ApiError) as refused:
        connection.call("GET", f"/status/{status}")
    assert (refused.value.status, refused.value.reason, refused.value.retryable) == (status, reason, retryable)
    assert "secret-token" not in str(refused.value)


def test_the_token_is_sent(connection: Connection) -> None:
    connection.call("GET", "/status")
    assert Answers.tokens[-1] == "Bearer secret-token"


def test_credentials_are_asked_for_now_and_then_and_after_a_refusal(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    settings = Configuration.auth_settings
    monkeypatch.setattr(Configuration, "auth_settings", lambda self: asked.append(1) or settings(self))
    for _ in range(3):
        connection.call("GET", "/status")
    assert len(asked) == 1
    with pytest.raises(ApiError):
        connection.call("GET", "/status/401")
    connection.call("GET", "/status")
    assert len(asked) == 2
    monkeypatch.setattr(client, "ASK_CREDENTIALS", 0.0)
    connection.call("GET", "/status")
    assert len(asked) == 3


def test_a_server_may_be_a_path_of_another(connection: Connection, tmp_path: Path) -> None:
    kubeconfig = json.loads((tmp_path / "kubeconfig").read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] += "/clusters/"
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    Connection("here").call("GET", "/200", query={"watch": True})
    assert Answers.asked == ["/clusters/200?watch=true"]


def test_a_slow_answer_is_not_waited_for(connection: Connection) -> None:
    with pytest.raises(ApiError) as late:
        connection.call("GET", "/slow", timeout=(0.2, 0.2))
    assert (late.value.status, late.value.reason) == (0, "Unreachable")


def test_an_answer_that_is_no_json_is_an_error(connection: Connection) -> None:
    with pytest.raises(ApiError) as odd:
        connection.call("GET", "/html")
    assert odd.value.retryable


def test_half_an_event_breaks_the_stream(connection: Connection) -> None:
    events = connection.stream("/half")
    assert next(events)["type"] == "ADDED"
    with pytest.raises(ApiError):
        next(events)


def test_an_expired_watch_says_so(connection: Connection) -> None:
    with pytest.raises(ApiError) as gone:
        next(connection.stream("/gone"))
    assert gone.value.status == 410


def test_what_is_not_there_is_none_and_deleting_it_is_fine(connection: Connection) -> None:
    assert connection.get("/status/404") is None
    assert connection.metadata("/status/404") is None
    connection.delete("/status/404", {"uid": "u"})
    for refused in (connection.get, connection.metadata, connection.delete):
        with pytest.raises(ApiError, match="HTTP 500"):
            refused("/status/500")


def test_a_list_is_read_to_its_end_with_the_same_selector(connection: Connection) -> None:
    assert [item for page in connection.pages("/list", "app=slipway") for item in page["items"]] == [1, 2, 3]
    assert Answers.asked == ["/list?limit=500&labelSelector=app%3Dslipway", "/list?limit=500&labelSelector=app%3Dslipway&continue=more"]


def test_a_context_that_is_not_there_is_named(connection: Connection) -> None:
    with pytest.raises(ApiError, match="elsewhere") as wrong:
        Connection("elsewhere").call("GET", "/status")
    assert wrong.value.reason == "Misconfigured"
