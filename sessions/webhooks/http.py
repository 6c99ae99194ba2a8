"""One POST to a stranger: to the address that was checked, with one deadline for all of it, and little of the answer read."""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sessions.webhooks import targets

TIMEOUT = 10.0  # for name, connection, handshake, request and answer together
CONNECT_TIMEOUT = 4.0  # per address, so that a second one gets its turn
READ_MAX = 1024


@dataclass(frozen=True)
class Answer:
    """``code`` is None when there was no answer; then ``error`` says why. ``text`` is how the answer began."""

    code: int | None = None
    text: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def accepted(self) -> bool:
        return self.code is not None and 200 <= self.code < 300

    @property
    def is_down(self) -> bool:
        """Whether the receiver as a whole is in trouble, and not just this event's."""
        return self.code is None or self.code >= 500 or self.code == 429


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float = TIMEOUT) -> Answer:
    """Never raises for what a receiver does. Redirects are not followed: their answer is the answer."""
    began = time.monotonic()
    try:
        code, text = _post(targets.parse(url), body, headers, began + timeout)
        error = "" if 200 <= code < 300 else f"It answered {code}{'; redirects are not followed' if 300 <= code < 400 else ''}."
        return Answer(code, text, error, time.monotonic() - began)
    except targets.Unreachable as refused:
        error = str(refused)
    except TimeoutError:
        error = f"No answer within {timeout:g} seconds."
    except ssl.SSLCertVerificationError as failed:
        error = f"Its certificate is not valid: {failed.verify_message}."
    except ssl.SSLError as failed:
        error = f"TLS failed: {failed.reason}."
    except http.client.HTTPException as failed:
        error = f"It does not speak HTTP ({type(failed).__name__})."
    except OSError as failed:
        error = f"It can't be reached: {failed.strerror or type(failed).__name__}."
    return Answer(error=error, seconds=time.monotonic() - began)


def _post(target: targets.Target, body: bytes, headers: Mapping[str, str], deadline: float) -> tuple[int, str]:
    connection = _Connection(target, deadline)
    try:
        connection.request("POST", target.path, body, {"Host": target.authority, "Connection": "close", **headers})
        answer = connection.getresponse()
        text = answer.read(READ_MAX).decode(errors="replace").replace("\x00", "")
        return answer.status, text
    finally:
        connection.hang_up()


class _Connection(http.client.HTTPConnection):
    """Dials an address that has been checked, under the target's name. Proxies of the environment are not asked: they
    would look the name up again."""

    def __init__(self, target: targets.Target, deadline: float) -> None:
        super().__init__(target.host, target.port)
        self.target, self.deadline = target, deadline
        self.plain: socket.socket | None = None

    def connect(self) -> None:
        self.plain = self._dial()
        if self.target.scheme == "https":
            self.plain.settimeout(_left(self.deadline))
            self.plain = _context().wrap_socket(self.plain, server_hostname=self.target.host)
        self.sock: Any = _Socket(self.plain, self.deadline)

    def hang_up(self) -> None:
        if self.plain is not None:
            self.plain.close()

    def _dial(self) -> socket.socket:
        found = targets.addresses(self.target)
        for number, address in enumerate(found[:2]):
            try:
                return socket.create_connection((address, self.target.port), min(CONNECT_TIMEOUT, _left(self.deadline)))
            except OSError:
                if number == len(found[:2]) - 1:
                    raise
        raise TimeoutError


class _Socket:
    """What http.client needs of a socket, with one deadline: a time-out per read would let drops of an answer take for ever."""

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self.plain, self.deadline = plain, deadline

    def sendall(self, data: bytes) -> None:
        self.plain.settimeout(_left(self.deadline))
        self.plain.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self.plain, self.deadline))

    def close(self) -> None:
        """Nothing: http.client closes before it has read the answer, as a socket's file keeps the socket open."""


class _Reader(io.RawIOBase):
    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self.plain, self.deadline = plain, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.plain.settimeout(_left(self.deadline))
        return self.plain.recv_into(buffer)


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return left


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
