"""Pages of rows, newest first, at a cost that does not grow with the number of rows or the depth of the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet

Row = TypeVar("Row", bound=Model)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OLDER, NEWER = "before", "after"


@dataclass(frozen=True)
class Page(Generic[Row]):
    """``newer`` and ``older`` are query strings of the neighbouring pages, empty where there is none."""

    rows: list[Row]
    newer: str = ""
    older: str = ""


def keyset_page(queryset: QuerySet[Row], by: str, query: Mapping[str, str], size: int = 25) -> Page[Row]:
    """The page that ``query`` asks for, ordered by the datetime field ``by`` and the key, descending.

    One query, or two on the way back to the first page. A cursor that makes no sense is the first page.
    """
    if (position := _parse(query.get(OLDER, ""))) is not None:
        rows = list(_beyond(queryset, by, position, "lt").order_by(f"-{by}", "-pk")[: size + 1])
        if rows:
            return Page(rows[:size], _cursor(NEWER, rows[0], by), _cursor(OLDER, rows[size - 1], by) if len(rows) > size else "")
    elif (position := _parse(query.get(NEWER, ""))) is not None:
        rows = list(_beyond(queryset, by, position, "gt").order_by(by, "pk")[: size + 1])
        if len(rows) > size:
            rows = rows[size - 1 :: -1]
            return Page(rows, _cursor(NEWER, rows[0], by), _cursor(OLDER, rows[-1], by))
    rows = list(queryset.order_by(f"-{by}", "-pk")[: size + 1])
    return Page(rows[:size], "", _cursor(OLDER, rows[size - 1], by) if len(rows) > size else "")


def _beyond(queryset: QuerySet[Row], by: str, position: tuple[datetime, int], side: str) -> QuerySet[Row]:
    at, key = position
    # The first condition says nothing new, but it is the one that an index can start from.
    return queryset.filter(Q((f"{by}__{side}e", at)), Q((f"{by}__{side}", at)) | Q((by, at), (f"pk__{side}", key)))


def _cursor(direction: str, row: Any, by: str) -> str:
    microseconds = (getattr(row, by) - EPOCH) // timedelta(microseconds=1)
    return f"{direction}={microseconds}.{row.pk}"


def _parse(cursor: str) -> tuple[datetime, int] | None:
    microseconds, _, key = cursor.partition(".")
    try:
        at, pk = EPOCH + timedelta(microseconds=int(microseconds)), int(key)
    except (ValueError, OverflowError):
        return None
    return (at, pk) if 0 <= pk < 2**63 else None
