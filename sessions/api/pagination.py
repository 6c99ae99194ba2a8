"""Cursor pages of any list, at a cost that does not grow with its length or the page's depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.core import signing
from django.db.models import Model, Q, QuerySet

from compute.errors import Problem
from sessions.api.problems import ProblemError

DEFAULT_LIMIT = 25
MAX_LIMIT = 100
SALT = "slipway.api.cursor"


@dataclass(frozen=True)
class Slice:
    """The rows of one page; ``next`` and ``previous`` are cursors, empty where there is no such page."""

    rows: list[Any]
    next: str = ""
    previous: str = ""


def cut(queryset: QuerySet[Any], ordering: str, limit: int, cursor: str = "") -> Slice:
    """The page behind ``cursor``, or the first one. ``ordering`` is a field that is never null, descending with a minus.

    One query. Rows that came or went meanwhile shift nothing: a cursor is a place between two rows, not a number.
    """
    field, descending = ordering.lstrip("-"), ordering.startswith("-")
    backwards, position = _parse(cursor, ordering) if cursor else (False, None)
    falling = descending != backwards
    if position is not None:
        queryset = queryset.filter(_beyond(queryset, field, position, "lt" if falling else "gt"))
    signs = ("-" if falling else "") + field, ("-" if falling else "") + "pk"
    rows = list(queryset.order_by(*signs)[: limit + 1])
    has_more, rows = len(rows) > limit, rows[:limit]
    if backwards:
        rows.reverse()
    if not rows:
        return Slice([])
    has_next, has_previous = (True, has_more) if backwards else (has_more, position is not None)
    return Slice(
        rows,
        next=_cursor(ordering, rows[-1], backwards=False) if has_next else "",
        previous=_cursor(ordering, rows[0], backwards=True) if has_previous else "",
    )


def _beyond(queryset: QuerySet[Any], field: str, position: tuple[Any, int], side: str) -> Q:
    value, key = position
    value = queryset.model._meta.get_field(field).to_python(value)
    # The first condition says nothing new, but it is the one that an index can start from.
    return Q((f"{field}__{side}e", value)) & (Q((f"{field}__{side}", value)) | Q((field, value), (f"pk__{side}", key)))


def _cursor(ordering: str, row: Model, backwards: bool) -> str:
    field: Any = row._meta.get_field(ordering.lstrip("-"))
    return signing.dumps([ordering, field.value_to_string(row), row.pk, int(backwards)], salt=SALT, compress=True)


def _parse(cursor: str, ordering: str) -> tuple[bool, tuple[Any, int]]:
    try:
        made_for, value, key, backwards = signing.loads(cursor, salt=SALT)
    except (signing.BadSignature, ValueError, TypeError):
        made_for = ""
    if made_for != ordering:
        sentence = "This cursor is none of this list and ordering. Start at the first page, without a cursor."
        raise ProblemError("invalid", errors=[Problem("cursor", "cursor_invalid", sentence)])
    return bool(backwards), (value, key)


def address(base: str, query: Mapping[str, str], cursor: str) -> str | None:
    """The page's own address with another cursor; None without one."""
    return f"{base}?{urlencode({**query, 'cursor': cursor})}" if cursor else None
