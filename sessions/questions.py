"""Asking running IDEs for JSON, many at once, over the endpoints that the gateway uses. What answers may be anybody's code:
it gets a few seconds as a whole and a bounded number of bytes, and its redirects lead nowhere."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SECONDS = 4.0  # for all answers of one IDE
MAX_BYTES = 512 * 1024
AT_ONCE = 20
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")


class NoAnswer(Exception):
    """Why there is none, in words for the session's page."""


@dataclass(frozen=True)
class Question:
    """GETs of ``paths`` at ``endpoint`` (``IP:port``, ``[IP]:port`` or ``unix:/path``). ``headers`` may be secret."""

    endpoint: str
    paths: tuple[str, ...]
    headers: Mapping[str, str]


def ask(questions: Sequence[Question]) -> list[list[Any] | NoAnswer]:
    """For each question its answers, or why there are none. Takes as long as the slowest, at most ``SECONDS`` per ``AT_ONCE``."""
    return asyncio.run(_ask(questions))


async def _ask(questions: Sequence[Question]) -> list[list[Any] | NoAnswer]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(question: Question) -> list[Any] | NoAnswer:
        async with turns:
            try:
                async with asyncio.timeout(SECONDS):
                    return [await _get(question, path) for path in question.paths]
            except NoAnswer as reason:
                return reason
            except TimeoutError:
                return NoAnswer("It did not answer in time.")
            except OSError:
                return NoAnswer("It could not be reached.")

    return await asyncio.gather(*(one(question) for question in questions))


async def _get(question: Question, path: str) -> Any:
    reader, writer = await _connect(question.endpoint)
    try:
        headers = {"Host": "localhost", "Accept": "application/json", **question.headers}
        lines = [f"GET {path} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        writer.write("\r\n".join(lines).encode())
        answer = await reader.read(MAX_BYTES)
        while len(answer) < MAX_BYTES and (more := await reader.read(MAX_BYTES - len(answer))):
            answer += more
    finally:
        writer.close()
    return _body(answer)


async def _connect(endpoint: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if endpoint.startswith("unix:"):
        return await asyncio.open_unix_connection(endpoint.removeprefix("unix:"))
    host, _, port = endpoint.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


def _body(answer: bytes) -> Any:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = STATUS.match(head)
    if status is None or int(status[1]) != 200:
        raise NoAnswer(f"It answered with the status {int(status[1])}." if status else "It did not answer as a web server does.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise NoAnswer("Its answer could not be understood.") from None
