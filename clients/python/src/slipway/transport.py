"""Requests and answers: the token, time-outs, and what is tried again."""

from __future__ import annotations

import email.utils
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from slipway.errors import ApiError, UnexpectedAnswer, Unreachable

CONNECT_TIMEOUT = 10.0
# Answers that say nothing about the request itself.
PASSING = {429, 500, 502, 503, 504}
FIRST_PAUSE, LONGEST_PAUSE = 0.4, 10.0


class _Bearer(requests.auth.AuthBase):
    """Sends the token. Being an ``auth``, it also keeps requests from taking another one from ~/.netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


@dataclass(frozen=True)
class Answer:
    """``data`` is the JSON, None where there is none."""

    status: int
    data: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return self.headers.get("ETag", "")

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asks to wait."""
        return _seconds(self.headers.get("Retry-After", ""))


@dataclass(frozen=True)
class Patience:
    """``retries`` after the first try. ``longest`` is the longest Retry-After in seconds that is waited for, not passed on."""

    retries: int = 4
    longest: float = 90.0


class Transport:
    """One connection to one installation with one token. Not for several threads at once."""

    def __init__(self, url: str, token: str, timeout: float, patience: Patience, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError("The URL must be Slipway’s address, such as https://slipway.example.com.")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("This is no token: it has characters that no token has.")
        self.url = url.strip().rstrip("/")
        self._timeout, self._patience, self._sleep = timeout, patience, sleep
        self._http = requests.Session()
        self._http.auth = _Bearer(token)
        self._http.headers.update({"Accept": "application/json", "User-Agent": "slipway-client/0.1"})

    def close(self) -> None:
        self._http.close()

    def send(
        self,
        method: str,
        *path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0,
    ) -> Answer:
        """Ask, and ask again while that may help. ``path`` is quoted part by part; ``wait`` is how long the server may take besides.

        Only send what may be done twice: it is sent again when its answer got lost. With ``If-Match`` it is not, as the second
        time the state would be another. A DELETE that finds nothing after its answer got lost has been done (status 204).
        """
        may_repeat = "If-Match" not in (headers or {})
        is_lost = False
        for tries_left in range(self._patience.retries, -1, -1):
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._patience.retries - tries_left)) * random.uniform(0.5, 1)  # noqa: S311
            try:
                answer = self._once(method, path, query, body, headers, wait)
            except Unreachable:
                if not tries_left or not may_repeat:
                    raise
                is_lost = True
            else:
                if answer.status < 300:
                    return answer
                if answer.status == 404 and is_lost and method == "DELETE":
                    return Answer(204)
                if answer.retry_after is not None:
                    pause = answer.retry_after
                done_nothing = answer.status in (429, 503)
                helps = answer.status in PASSING and (may_repeat or done_nothing)
                if not helps or not tries_left or pause > self._patience.longest:
                    raise ApiError.of(answer.status, answer.data, answer.headers.get("X-Request-ID", ""))
                is_lost = is_lost or not done_nothing
            self._sleep(pause)
        raise AssertionError("The last try returns or raises.")

    def _once(self, method: str, path: tuple[str, ...], query: Any, body: Any, headers: Any, wait: float) -> Answer:
        url = "/".join((self.url, "api/v1", *(quote(part, safe="") for part in path)))
        limits = CONNECT_TIMEOUT, self._timeout + wait
        try:
            response = self._http.request(method, url, params=query, json=body, headers=headers, timeout=limits, allow_redirects=False)
        except requests.exceptions.SSLError as error:
            raise UnexpectedAnswer(f"{self.url} has no certificate that this machine trusts: {_reason(error)}") from None
        except requests.Timeout:
            raise Unreachable(f"{self.url} did not answer in time.") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise Unreachable(f"{self.url} can’t be reached: {_reason(error)}") from None
        except requests.RequestException as error:
            raise UnexpectedAnswer(f"{self.url} can’t be asked: {_reason(error)}") from None
        return self._read(response)

    def _read(self, response: requests.Response) -> Answer:
        if 300 <= response.status_code < 400:
            raise UnexpectedAnswer(f"{self.url} leads to {response.headers.get('Location', 'elsewhere')}. Use Slipway’s own address.")
        data = None
        if response.content:
            try:
                data = response.json()
            except ValueError:
                if response.ok:
                    raise UnexpectedAnswer(f"{self.url} answers, but not as Slipway’s API does. Is it Slipway’s address?") from None
        return Answer(response.status_code, data, response.headers)


def _reason(error: BaseException) -> str:
    """The innermost cause in its own words: requests and urllib3 wrap it several times."""
    while True:
        inner = getattr(error, "reason", None) or next((one for one in error.args if isinstance(one, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    words = getattr(error, "strerror", None) or re.sub(r"\[Errno -?\d+\] ", "", str(error).rpartition(": ")[2])
    return f"{words or type(error).__name__}".rstrip(".") + "."


def _seconds(header: str) -> float | None:
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(header) - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError):  # neither a number nor a date
        return None
