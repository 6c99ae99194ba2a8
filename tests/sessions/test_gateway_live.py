"""The gateway as it runs: a real nginx, a real gunicorn and a real relay in front of a small IDE."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import websocket

from tests.sessions import gateway_stack as in_stack
from tests.sessions.gateway_stack import Stack, wait_until

pytestmark = pytest.mark.own_database
MEGABYTE = 1024 * 1024
CUT_SECONDS = 5


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Started once; each test leaves the session running and the owner a member."""
    running = Stack()
    try:
        running.start_all()
        yield running
    finally:
        running.close()


@pytest.fixture
def ticket_and_key(stack: Stack) -> tuple[str, str]:
    return stack.do(in_stack.open_as, "owner")


@pytest.fixture
def cookie(stack: Stack, ticket_and_key: tuple[str, str]) -> str:
    return stack.enter(ticket_and_key[0])


def answer_with(stack: Stack, status: int, cookie: str, **options: Any) -> Any:
    """The IDE's address once it answers with this status: nginx keeps a decision for a while."""
    answers: list[Any] = []

    def arrived() -> bool:
        answers.append(stack.get("/lab", cookie=cookie, **options))
        return answers[-1].status_code == status

    wait_until(arrived)
    return answers[-1]


def received(stack: Stack, cookie: str, **headers: str) -> dict[str, str]:
    """The headers that the IDE got; fails when one came twice."""
    pairs = stack.get("/headers", cookie=cookie, headers=headers).json()
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_the_ide_gets_its_own_sign_in_and_nothing_of_slipways(stack: Stack, cookie: str) -> None:
    smuggled = {
        "X-Slipway-Host": "x",
        "X-Slipway-Key": "x",
        "X-Slipway-Upstream": "127.0.0.1:1",
        "X-Slipway-Cookie": "x",
        "X-Slipway-Grant": "1",
    }
    headers = received(stack, f"_xsrf=a; {cookie}; b=2", Authorization="token forged", **smuggled)
    assert headers["authorization"].startswith("token ")
    assert headers["authorization"] != "token forged"
    assert headers["cookie"] == "_xsrf=a; b=2"
    assert headers["host"] == f"{stack.host}.apps.localhost:{stack.port}"
    assert headers["x-forwarded-proto"] == "http"
    assert not [name for name in headers if "slipway" in name]
    assert stack.do(in_stack.nginx_key) not in str(headers)
    assert "upgrade" not in headers


def test_the_ides_cookies_stay_on_its_origin(stack: Stack, cookie: str) -> None:
    header = stack.get("/cookie", cookie=cookie).headers["Set-Cookie"]
    assert header.startswith("theirs=1")
    assert "apps.localhost" not in header


def test_the_ide_cannot_steer_nginx(stack: Stack, cookie: str) -> None:
    answer = stack.get("/accel", cookie=cookie)
    assert answer.text == "mine"
    assert "X-Slipway-Authorization" not in answer.headers


def test_what_the_ide_answers_passes_unchanged(stack: Stack, cookie: str) -> None:
    assert stack.get("/redirect", cookie=cookie).headers["Location"] == "/lab?a=1"
    assert stack.get("/x%2Fy?a=%20b", cookie=cookie).text == "hello from /x%2Fy?a=%20b"
    for status in (403, 404, 500, 502):
        answer = stack.get(f"/status?{status}", cookie=cookie)
        assert (answer.status_code, answer.text) == (status, "the IDE's own words")
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"


def test_a_ticket_opens_once_however_many_try_at_a_time(stack: Stack, ticket_and_key: tuple[str, str]) -> None:
    answers: list[Any] = []
    threads = [threading.Thread(target=lambda: answers.append(stack.get(f"/_slipway/enter?ticket={ticket_and_key[0]}"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [302, *[410] * 7]
    assert (
        stack.get("/lab", cookie=f"slipway_gateway={next(a for a in answers if a.cookies).cookies['slipway_gateway']}").status_code == 200
    )


def test_an_outsider_sees_what_is_seen_of_a_session_that_is_not(stack: Stack) -> None:
    outsider = (
        f"slipway_gateway={stack.get('/_slipway/enter?ticket=' + stack.do(in_stack.open_as, 'outsider')[0]).cookies['slipway_gateway']}"
    )
    for path in ("/lab", "/api/kernels", "/_slipway/enter?ticket=guessed", "/_slipway/authorize", "/_slipway/other"):
        for accept in ("text/html", "*/*"):
            answers = [
                stack.get(path, host=host, cookie=cookie, headers={"Accept": accept})
                for host in (f"{stack.host}.apps.localhost", "nobody-abcdef.apps.localhost")
                for cookie in ("", outsider, "slipway_gateway=guessed")
            ]
            assert {answer.status_code for answer in answers} == {404}
            assert len({answer.content for answer in answers}) == 1
            seen = [
                sorted((name, value) for name, value in answer.headers.items() if name not in ("Date", "X-Request-ID"))
                for answer in answers
            ]
            assert all(headers == seen[0] for headers in seen)


def test_the_gateways_own_addresses_are_not_reachable(stack: Stack) -> None:
    key = stack.do(in_stack.nginx_key)
    for path in ("/gateway/authorize", "/%67ateway/authorize", "//gateway/refused", "/x/../gateway/enter?ticket=x"):
        assert stack.get(path, host="localhost", headers={"X-Slipway-Key": key, "X-Slipway-Host": stack.host}).status_code == 404


def test_any_other_host_is_nobody(stack: Stack) -> None:
    for host in ("example.com", "apps.localhost", "a.b.apps.localhost", "x_y.apps.localhost"):
        assert stack.get("/lab", host=host).status_code == 421


def test_other_origins_are_refused(stack: Stack, cookie: str) -> None:
    sibling = f"http://other-abcdef.apps.localhost:{stack.port}"
    before = len(stack.ide.requests)
    for headers in ({"Origin": sibling}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
        assert stack.request("POST", "/upload", cookie=cookie, headers=headers, data=b"x").status_code == 403
    assert stack.get("/lab", cookie=cookie, headers={"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}).status_code == 403
    with pytest.raises(websocket.WebSocketBadStatusException) as error:
        stack.websocket(cookie, origin=sibling)
    assert error.value.status_code == 403
    assert len(stack.ide.requests) == before
    assert stack.request("POST", "/upload", cookie=cookie, headers={"Origin": stack.origin}, data=b"x").text == "1"


def test_a_websocket_reaches_the_ide_signed_in(stack: Stack, cookie: str) -> None:
    with contextlib.closing(stack.websocket(f"{cookie}; _xsrf=a", header=["X-Slipway-Grant: 9", "Authorization: token forged"])) as opened:
        headers = json.loads(opened.recv())
        assert headers["authorization"].startswith("token ")
        assert headers["authorization"] != "token forged"
        assert headers["cookie"] == "_xsrf=a"
        assert not [name for name in headers if "slipway" in name]
        for size in (1, 1000, 60_000):
            opened.send("x" * size)
            assert opened.recv() == "x" * size


def wait_for_the_cut(opened: websocket.WebSocket) -> None:
    """Until the connection is closed from the other side, while it is in use."""

    def is_cut() -> bool:
        try:
            opened.send("still here?")
            opened.recv()
        except (websocket.WebSocketException, OSError):
            return True
        return False

    wait_until(is_cut)


def pause(stack: Stack, key: str) -> None:
    stack.do(in_stack.change_desired, "paused", "Paused")


def lose_membership(stack: Stack, key: str) -> None:
    stack.do(in_stack.end_membership)


def sign_out(stack: Stack, key: str) -> None:
    stack.do(in_stack.sign_out, key)


@pytest.mark.parametrize("revoke", [pause, sign_out, lose_membership])
def test_what_is_open_is_cut_within_seconds(stack: Stack, ticket_and_key: tuple[str, str], revoke: Callable[[Stack, str], None]) -> None:
    cookie = stack.enter(ticket_and_key[0])
    opened = stack.websocket(cookie)
    opened.recv()
    events = stack.get("/events", cookie=cookie, headers={"Accept": "text/event-stream"}, stream=True)
    assert next(events.iter_content(12)) == b"data: tick\n\n"
    try:
        revoke(stack, ticket_and_key[1])
        begin = time.monotonic()
        wait_for_the_cut(opened)
        with contextlib.suppress(OSError):
            for _ in events.iter_content(12):
                pass  # what was under way before the cut
        answer_with(stack, 503 if revoke is pause else 404, cookie)
        assert time.monotonic() - begin < CUT_SECONDS
    finally:
        stack.do(in_stack.change_desired, "running", "Running")
        stack.do(in_stack.restore_membership)


def test_a_paused_session_says_so_and_goes_on_when_resumed(stack: Stack, cookie: str) -> None:
    stack.do(in_stack.change_desired, "paused", "Paused")
    try:
        page = answer_with(stack, 503, cookie, headers={"Accept": "text/html"})
        assert "lab is paused" in page.text
        assert page.headers["Retry-After"]
        assert f'href="http://localhost:{stack.port}/w/research/sessions/{stack.host}/"' in page.text
        assert stack.get("/api/status", cookie=cookie).headers["Content-Type"].startswith("text/plain")
    finally:
        stack.do(in_stack.change_desired, "running", "Running")
    answer_with(stack, 200, cookie)


def nginx_memory(stack: Stack) -> int:
    return max(child.memory_info().rss for child in psutil.Process(stack.processes["nginx"].pid).children())


def temporary_files(stack: Stack) -> list[Any]:
    return [file for name in ("body", "proxy") for file in (stack.folder / "nginx" / name).rglob("*") if file.is_file()]


def test_an_upload_streams_through(stack: Stack, cookie: str) -> None:
    size = 200 * MEGABYTE
    before = nginx_memory(stack)
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as browser:
        head = f"POST /upload HTTP/1.1\r\nHost: {stack.host}.apps.localhost:{stack.port}\r\nCookie: {cookie}\r\nContent-Length: {size}\r\n"
        browser.sendall(f"{head}Origin: {stack.origin}\r\nConnection: close\r\n\r\n".encode() + b"\0" * MEGABYTE)
        wait_until(lambda: stack.ide.received == MEGABYTE)  # the rest is not even sent
        for _ in range(size // MEGABYTE - 1):
            browser.sendall(b"\0" * MEGABYTE)
        assert not temporary_files(stack)
        answer = b""
        while data := browser.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(str(size).encode())
    assert nginx_memory(stack) - before < 16 * MEGABYTE


def test_a_download_streams_through(stack: Stack, cookie: str) -> None:
    before = nginx_memory(stack)
    answer = stack.get("/download?200", cookie=cookie, stream=True)
    first = next(answer.iter_content(MEGABYTE))
    time.sleep(0.2)  # a browser that does not read: nothing may pile up
    assert nginx_memory(stack) - before < 16 * MEGABYTE
    assert not temporary_files(stack)
    assert len(first) + sum(len(part) for part in answer.iter_content(MEGABYTE)) == 200 * MEGABYTE


def test_equal_questions_share_a_decision(stack: Stack, cookie: str) -> None:
    stack.get("/lab", cookie=cookie)
    stack.processes["web"].send_signal(signal.SIGSTOP)  # from here on, nobody can answer
    try:
        psutil.Process(stack.processes["web"].pid).children()[0].suspend()
        start = time.monotonic()
        assert stack.get("/lab", cookie=cookie).status_code == 200
        assert time.monotonic() - start < 1
    finally:
        psutil.Process(stack.processes["web"].pid).children()[0].resume()
        stack.processes["web"].send_signal(signal.SIGCONT)


def test_tickets_and_query_strings_are_in_no_log(stack: Stack, ticket_and_key: tuple[str, str]) -> None:
    cookie = stack.enter(ticket_and_key[0])
    stack.get("/lab?private=1", cookie=cookie)
    access = (stack.folder / "nginx" / "access.log").read_text()
    assert f"GET {stack.host}.apps.localhost:{stack.port}/lab" in access
    for text in (access, stack.log("nginx"), stack.log("web")):
        assert ticket_and_key[0] not in text
        assert "private=1" not in text


def test_an_ide_that_does_not_answer_is_explained(stack: Stack, cookie: str) -> None:
    stack.do(in_stack.change_endpoint, f"unix:{stack.folder}/gone.sock")
    try:
        answer = answer_with(stack, 502, cookie)
        assert "The session does not answer" in answer.text
        with pytest.raises(websocket.WebSocketBadStatusException) as error:
            stack.websocket(cookie)
        assert error.value.status_code == 502
    finally:
        stack.do(in_stack.change_endpoint, stack.ide.endpoint)


def test_when_the_relay_or_the_web_is_down_a_page_says_so(stack: Stack, cookie: str) -> None:
    opened = stack.websocket(cookie)
    start = time.monotonic()
    stack.stop("relay")  # promptly, though a connection is open
    assert time.monotonic() - start < 5
    wait_for_the_cut(opened)
    with pytest.raises(websocket.WebSocketBadStatusException) as error:
        stack.websocket(cookie)
    assert error.value.status_code == 502
    assert stack.get("/lab", cookie=cookie).status_code == 200
    stack.stop("web")
    try:
        answer = answer_with(stack, 503, cookie)
        assert "The session does not answer" in answer.text
        assert "Slipway does not answer" in stack.get("/", host="localhost").text
        ticket = "a-ticket-that-must-not-be-logged"
        stack.get(f"/_slipway/enter?ticket={ticket}")
        assert ticket not in stack.log("nginx")
    finally:
        stack.start_relay()
        stack.start_web()
    answer_with(stack, 200, cookie)
    stack.websocket(cookie).close()
