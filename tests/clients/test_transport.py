"""Trouble between the client and Slipway: what is tried again, what is said, and that the token goes nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from slipway import ApiError, Launch, Slipway, UnexpectedAnswer, Unreachable
from slipway.transport import Patience, Transport

TOKEN = "slw_abc_canary"
ME = {"username": "ada", "name": "", "email": "", "is_staff": False, "workspaces": [], "token": None}
DROP = "drop"


@dataclass
class Script:
    """A server that answers as it is told, one after the other: (status, headers, body) or ``DROP``."""

    answers: list[Any] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def then(self, status: int = 200, body: Any = None, **headers: str) -> Script:
        self.answers.append((status, headers, body))
        return self

    def drop(self) -> Script:
        self.answers.append(DROP)
        return self


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.asked.append((self.command, self.path, dict(self.headers)))
            answer = script.answers.pop(0)
            if answer == DROP:
                self.close_connection = True
                return
            status, headers, body = answer
            content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = answer

        def log_message(self, format: str, *arguments: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def transport(script: Script, slept: list[float]) -> Transport:
    return Transport(script.url, TOKEN, 5, Patience(retries=2, longest=60), slept.append)


def problem(status: int, code: str) -> dict[str, Any]:
    return {"type": "about:blank", "title": "No", "status": status, "detail": "Not so.", "code": code, "errors": [], "request_id": "r-1"}


def test_an_answer_that_got_lost_is_asked_for_again(script: Script, transport: Transport, slept: list[float]) -> None:
    script.drop().then(503).then(200, ME)
    assert transport.send("GET", "me").data == ME
    assert len(slept) == 2
    assert 0.2 <= slept[0] <= 0.4 <= slept[1] <= 0.8


def test_a_launch_has_one_key_however_often_it_is_sent(script: Script) -> None:
    script.drop().then(502).then(422, problem(422, "refused"))
    with Slipway(script.url, TOKEN) as slipway, pytest.raises(ApiError):
        slipway.workspace("research").sessions.launch(Launch("jupyterlab"))
    keys = [headers["Idempotency-Key"] for _, _, headers in script.asked]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_retry_after_is_obeyed_in_seconds_and_as_a_date(script: Script, transport: Transport, slept: list[float]) -> None:
    script.then(429, problem(429, "rate_limited"), Retry_After="7").then(503, Retry_After=formatdate(0, usegmt=True)).then(200, ME)
    transport.send("GET", "me")
    assert slept == [7, 0]


def test_who_would_have_to_wait_too_long_is_told_at_once(script: Script, transport: Transport, slept: list[float]) -> None:
    script.then(429, problem(429, "rate_limited"), Retry_After="3600")
    with pytest.raises(ApiError) as error:
        transport.send("GET", "me")
    assert (error.value.status, error.value.code, slept) == (429, "rate_limited", [])


def test_it_gives_up_and_says_why(script: Script, transport: Transport, slept: list[float]) -> None:
    script.then(502, b"<h1>nginx</h1>").then(502).then(502, X_Request_ID="r-9")
    with pytest.raises(ApiError, match="answered with status 502, and did not say why") as error:
        transport.send("GET", "me")
    assert (error.value.code, error.value.request_id, len(slept)) == ("", "r-9", 2)
    nowhere = Transport("http://127.0.0.1:9", TOKEN, 5, Patience(retries=1), slept.append)
    with pytest.raises(Unreachable, match=r"http://127.0.0.1:9 can’t be reached: Connection refused\."):
        nowhere.send("GET", "me")


def test_what_was_refused_is_not_sent_again(script: Script, transport: Transport) -> None:
    errors = [{"field": "name", "code": "name_taken", "message": "Choose another name."}]
    script.then(422, {**problem(422, "refused"), "errors": errors})
    with pytest.raises(ApiError) as error:
        transport.send("POST", "sessions")
    assert error.value.errors == (("name", "name_taken", "Choose another name."),)
    assert (error.value.status, error.value.request_id, str(error.value)) == (422, "r-1", "Not so.")
    assert len(script.asked) == 1


def test_a_write_with_if_match_is_sent_again_only_when_nothing_was_done(script: Script, transport: Transport) -> None:
    script.then(429, Retry_After="1").drop()
    with pytest.raises(Unreachable):
        transport.send("POST", "pause", headers={"If-Match": '"a"'})
    assert len(script.asked) == 2


@pytest.mark.parametrize(("first", "is_done"), [(DROP, True), ((502, {}, None), True), ((503, {}, None), False)])
def test_a_delete_whose_answer_got_lost_has_been_done_when_nothing_is_left(
    script: Script, transport: Transport, first: Any, is_done: bool
) -> None:
    script.answers.append(first)
    script.then(404, problem(404, "not_found"))
    if is_done:
        assert transport.send("DELETE", "sessions", "lab").status == 204
    else:
        with pytest.raises(ApiError):
            transport.send("DELETE", "sessions", "lab")


def test_the_token_follows_no_redirect(script: Script, transport: Transport) -> None:
    script.then(301, Location="https://elsewhere.example.com/")
    with pytest.raises(UnexpectedAnswer, match=r"leads to https://elsewhere\.example\.com/"):
        transport.send("GET", "me")


def test_the_next_page_is_asked_for_at_the_address_that_the_token_is_for(script: Script) -> None:
    script.then(200, {"items": [], "next": "https://elsewhere.example.com/api/v1/tokens?cursor=abc%3A1", "previous": None})
    script.then(200, {"items": [], "next": None, "previous": None})
    assert list(Slipway(script.url, TOKEN).tokens.list()) == []
    assert [path for _, path, _ in script.asked] == ["/api/v1/tokens?limit=100", "/api/v1/tokens?limit=100&cursor=abc%3A1"]


def test_another_site_is_not_taken_for_slipway(script: Script, transport: Transport) -> None:
    script.then(200, b"<h1>Welcome</h1>")
    with pytest.raises(UnexpectedAnswer, match="Is it Slipway’s address"):
        transport.send("GET", "me")


def test_names_can_not_leave_their_place_in_the_address(script: Script, transport: Transport) -> None:
    script.then(200, ME)
    transport.send("GET", "sessions", "../../tokens?x=1#y")
    assert script.asked[0][1] == "/api/v1/sessions/..%2F..%2Ftokens%3Fx%3D1%23y"


def test_the_token_is_ours_whatever_netrc_says(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    script.then(200, ME)
    assert Slipway(script.url, TOKEN).me().username == "ada"
    assert script.asked[0][2]["Authorization"] == f"Bearer {TOKEN}"


def test_the_token_is_in_no_text_of_the_client(script: Script, transport: Transport) -> None:
    script.answers += [DROP] * 3
    with pytest.raises(Unreachable) as error:
        transport.send("GET", "me")
    slipway = Slipway(script.url, TOKEN)
    told = [str(error.value), repr(error.value), repr(slipway), repr(slipway.workspace("research")), repr(transport._http.auth)]
    assert "canary" not in "".join(told)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("slipway.example.com", TOKEN),
        ("ftp://slipway.example.com", TOKEN),
        ("https://ada:secret@slipway.example.com", TOKEN),
        ("https://slipway.example.com", ""),
        ("https://slipway.example.com", "slw_abc\r\nX-Evil: 1"),
    ],
)
def test_what_can_be_no_address_or_no_token_is_refused(url: str, token: str) -> None:
    with pytest.raises(ValueError, match=r"must be Slipway’s address|is no token") as error:
        Slipway(url, token)
    assert "secret" not in str(error.value)
