"""Where webhooks may go, and how little a receiver can do to the sender."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from sessions.webhooks import http, targets
from tests.sessions.webhook_receiver import Receiver, dripping, endless, plain

LOOPBACK = [ip_network("127.0.0.0/8")]


@pytest.fixture
def loopback(settings: Any) -> None:
    settings.SLIPWAY_WEBHOOK_ALLOW_PRIVATE = LOOPBACK


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Answer questions for names, one list of addresses after the other; the last one for ever. Returns what was asked."""

    def say(*answers: list[str]) -> list[str]:
        asked: list[str] = []
        left = list(answers)

        def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> Any:
            if ":" in host or host.replace(".", "").isdigit():  # a number is no question
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                return [(family, socket.SOCK_STREAM, 6, "", (host, port))]
            asked.append(host)
            found = left.pop(0) if len(left) > 1 else left[0]
            return [(socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return say


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1", "100.100.100.200"),
        *("169.254.169.254", "168.63.129.16", "192.0.0.192", "224.0.0.1", "239.255.255.250", "255.255.255.255", "198.18.0.1"),
        *("::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::7f00:1"),
    ],
)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert "not a public address" in targets.refusal(ip_address(address), "https")


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]
)
def test_public_addresses_are_reached_over_https_alone(address: str, settings: Any) -> None:
    assert targets.refusal(ip_address(address), "https") == ""
    settings.SLIPWAY_WEBHOOK_ALLOW_PRIVATE = LOOPBACK
    assert "Use https" in targets.refusal(ip_address(address), "http")


def test_only_the_networks_that_operators_name_are_opened(settings: Any) -> None:
    settings.SLIPWAY_WEBHOOK_ALLOW_PRIVATE = [ip_network("10.0.0.0/8")]
    assert targets.refusal(ip_address("10.1.2.3"), "http") == ""
    assert targets.refusal(ip_address("::ffff:10.1.2.3"), "http") == ""
    assert targets.refusal(ip_address("169.254.169.254"), "https") != ""
    assert targets.refusal(ip_address("127.0.0.1"), "https") != ""


@pytest.mark.parametrize(
    "url",
    [
        *("", "ci.example.com", "ftp://ci.example.com/", "https://", "https:///hook", "javascript:alert(1)", "file:///etc/passwd"),
        *("http://ci.example.com/", "https://user:pw@ci.example.com/", "https://ci.example.com/#x", "https://ci.example.com:99999/"),
        *(
            "https://ci.example.com/a b",
            "https://ci.example.com/\r\nX-Evil: 1",
            "https://exämple.com/",
            "https://-a-.com/",
            "https://a..b/",
        ),
        *("https://localhost/", "https://LOCALHOST./", "https://x.localhost/", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.1/"),
        *(
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://127.1/",
            "https://[::ffff:7f00:1]/",
            "https://169.254.169.254/",
        ),
        "https://ci.example.com/" + "x" * 1000,
    ],
)
def test_what_could_never_be_reached_is_refused_when_it_is_typed(url: str) -> None:
    problem = targets.problem(url)
    assert problem is not None and (problem.field, problem.code) == ("url", "url_not_allowed")


def test_a_url_is_taken_as_it_is() -> None:
    assert targets.problem("https://ci.example.com") is None
    target = targets.parse("https://ci.example.com:8443/hook/%20?key=a%2Fb")
    assert (target.host, target.port, target.path, target.authority) == (
        "ci.example.com",
        8443,
        "/hook/%20?key=a%2Fb",
        "ci.example.com:8443",
    )


def test_a_name_that_stands_for_a_private_address_is_not_dialled(names: Any) -> None:
    with Receiver(plain(200)) as receiver:
        names(["127.0.0.1"])
        answer = http.post(f"https://inside.example.com:{receiver.port}/", b"{}", {})
    assert answer.code is None and "not a public address" in answer.error
    assert receiver.requests == []


def test_the_address_that_was_checked_is_the_one_that_is_dialled(names: Any, settings: Any) -> None:
    """A name server that answers differently the second time gains nothing: there is no second time."""
    settings.SLIPWAY_WEBHOOK_ALLOW_PRIVATE = [ip_network("127.0.0.2/32")]
    with Receiver(plain(200)) as receiver:
        asked = names(["127.0.0.2"], ["127.0.0.1"])
        answer = http.post(f"http://rebind.example.com:{receiver.port}/", b"{}", {})
    assert asked == ["rebind.example.com"]
    assert answer.code is None and "can't be reached" in answer.error  # nobody listens on 127.0.0.2
    assert receiver.requests == []


def test_the_name_stays_the_host_whatever_address_is_dialled(names: Any, loopback: None) -> None:
    with Receiver(plain(204, "")) as receiver:
        names(["10.9.9.9", "127.0.0.1"])
        answer = http.post(f"http://ci.example.com:{receiver.port}/hook", b"{}", {"X-Ours": "1"})
    assert answer.accepted
    (request,) = receiver.requests
    assert (request.headers["Host"], request.headers["X-Ours"]) == (f"ci.example.com:{receiver.port}", "1")


def test_redirects_are_not_followed(loopback: None) -> None:
    with Receiver(plain(200)) as inside, Receiver(plain(307, Location=inside.url)) as receiver:
        answer = http.post(receiver.url, b"{}", {})
    assert (answer.code, answer.accepted) == (307, False)
    assert "redirects are not followed" in answer.error
    assert inside.requests == []


def test_an_answer_that_comes_in_drops_is_cut_off(loopback: None) -> None:
    with Receiver(dripping) as receiver:
        began = time.monotonic()
        answer = http.post(receiver.url, b"{}", {}, timeout=0.5)
    assert answer.code is None and answer.error == "No answer within 0.5 seconds."
    assert time.monotonic() - began < 10


def test_of_a_huge_answer_only_the_beginning_is_read(loopback: None) -> None:
    with Receiver(endless) as receiver:
        answer = http.post(receiver.url, b"{}", {})
    assert answer.accepted and answer.text == "x" * 1024


def test_bytes_that_are_no_text_are_kept_as_text(loopback: None) -> None:
    def answer_bytes(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"\x00\xff<b>")

    with Receiver(answer_bytes) as receiver:
        assert http.post(receiver.url, b"{}", {}).text == "\ufffd<b>"


def test_a_receiver_that_is_not_there_or_speaks_no_http_is_told_apart(loopback: None) -> None:
    with Receiver(lambda handler: handler.wfile.write(b"SMTP ready\r\n")) as receiver:
        assert "does not speak HTTP" in http.post(receiver.url, b"{}", {}).error
    assert "can't be reached" in http.post(receiver.url, b"{}", {}).error


def test_a_certificate_of_nobody_is_refused(loopback: None, tmp_path: Any) -> None:
    with Receiver(plain(200)) as receiver:
        answer = http.post(receiver.url.replace("http:", "https:"), b"{}", {})
    assert answer.code is None and "TLS failed" in answer.error
