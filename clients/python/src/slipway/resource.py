"""What every part of the client does: get one thing, go through a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

from slipway.shapes import parse
from slipway.transport import Transport

T = TypeVar("T")
PAGE = 100  # the most that a list gives at once


class Resource:
    """What is below one address. ``list`` methods are iterators that ask for a page when they come to it."""

    def __init__(self, transport: Transport, *path: str) -> None:
        self._transport, self._path = transport, path

    def _get(self, cls: type[T], *path: str, query: Mapping[str, Any] | None = None) -> T:
        answer = self._transport.send("GET", *self._path, *path, query=query)
        return parse(cls, answer.data, answer.etag)

    def _pages(self, cls: type[T], *path: str, **filters: Any) -> Iterator[T]:
        query = {name: value for name, value in filters.items() if value not in ("", None)}
        cursor: str | None = ""
        while cursor is not None:
            answer = self._transport.send(
                "GET", *self._path, *path, query={"limit": PAGE, **query, **({"cursor": cursor} if cursor else {})}
            )
            yield from (parse(cls, item) for item in answer.data["items"])
            # The cursor alone: the token goes nowhere but to the address that it was given for.
            cursor = parse_qs(urlsplit(answer.data["next"] or "").query).get("cursor", [None])[0]


def matching(etag: str) -> dict[str, str]:
    return {"If-Match": etag} if etag else {}


def once(key: str = "") -> dict[str, str]:
    """For a create, which may then be sent again: it is done once, and answers the same."""
    return {"Idempotency-Key": key or str(uuid4())}
