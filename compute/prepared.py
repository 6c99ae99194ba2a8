"""Statements that are compiled once per connection, for the few that every launch executes (docs/adr/0011).

Django writes a query's SQL anew each time. That takes several times the CPU of all the rest, PostgreSQL's answer included, and
made up a good part of a launch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, wraps
from typing import Any, Generic, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Model, QuerySet
from django.db.transaction import TransactionManagementError

P = ParamSpec("P")
M = TypeVar("M", bound=Model)
T = TypeVar("T")
Row = TypeVar("Row")


def prepared(make: Callable[P, QuerySet[M, Row]]) -> Callable[P, list[Row]]:
    """Decorates a function that makes a queryset of its arguments. The result asks for the queryset's rows, each time afresh.

    Arguments are positional, each an int, a str or a time that goes into the query as it is; else the first call raises
    ``TypeError``. ``make`` is called once for each number of them, with stand-ins: the query's form must not depend on what they
    are, and nothing in it on when it is made. Nothing is prefetched.
    """

    @wraps(make)
    def ask(*args: P.args, **kwargs: P.kwargs) -> list[Row]:
        # A compiler belongs to its connection.
        kept: dict[Any, _Compiled[Row]] = vars(connections[DEFAULT_DB_ALIAS]).setdefault("slipway_prepared", {})
        compiled = kept.get((make, len(args)))
        if compiled is None:
            compiled = kept[make, len(args)] = _Compiled(make, args)
        return compiled.rows(args)

    return ask


def insert(rows: Sequence[Model]) -> None:
    """Insert new rows of one model, and set their keys, which the database makes: as ``bulk_create``, without ``save`` and signals.

    What they refer to must have been saved before they were made.
    """
    if not rows:
        return
    connection = connections[DEFAULT_DB_ALIAS]
    model, meta = type(rows[0]), rows[0]._meta
    fields = [field for field in meta.concrete_fields if not field.primary_key]
    values = [field.get_db_prep_save(field.pre_save(row, True), connection) for row in rows for field in fields]
    with connection.cursor() as cursor:
        cursor.execute(_insertion(model, len(rows)), values)
        for row, (key,) in zip(rows, cursor.fetchall(), strict=True):
            row.pk, row._state.adding, row._state.db = key, False, DEFAULT_DB_ALIAS


@lru_cache(256)
def _insertion(model: type[Model], number: int) -> str:
    quote, meta = connections[DEFAULT_DB_ALIAS].ops.quote_name, model._meta
    columns = [quote(str(field.column)) for field in meta.concrete_fields if not field.primary_key]
    row = f"({', '.join(['%s'] * len(columns))})"
    table, key = quote(meta.db_table), quote(str(meta.pk.column))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * number)} RETURNING {key}"  # noqa: S608 (names of ours only)


class _Compiled(Generic[Row]):
    """A queryset whose compiler has done its work."""

    def __init__(self, make: Callable[..., QuerySet[Any, Row]], args: Sequence[Any]) -> None:
        stand_ins = [_stand_in(value, number) for number, value in enumerate(args)]
        self._queryset = make(*stand_ins)
        self._compiler = self._queryset.query.get_compiler(self._queryset.db)
        self._sql, params = self._compiler.as_sql()
        self._constants = list(params)
        stand_ins = self._adapted(stand_ins)
        self._places = [(place, stand_ins.index(value)) for place, value in enumerate(params) if value in stand_ins]
        if {number for _, number in self._places} != set(range(len(args))):
            raise TypeError(f"An argument of {make.__qualname__} does not go into the query as it is.")
        if any(isinstance(value, datetime) and value not in stand_ins for value in params):
            raise TypeError(f"A time in the query of {make.__qualname__} is none of its arguments, and would be the same for ever.")
        # From here on, whoever iterates over the queryset gets this compiler, and it has the SQL at hand.
        vars(self._queryset.query)["get_compiler"] = lambda *_, **__: self._compiler
        vars(self._compiler)["as_sql"] = lambda *_, **__: (self._sql, self._params)
        self._params: Sequence[Any] = ()
        self._turn = threading.Lock()  # threads may share a connection: a test's browser and the test do

    def rows(self, args: Sequence[Any]) -> list[Row]:
        if self._queryset.query.select_for_update and not self._compiler.connection.in_atomic_block:
            raise TransactionManagementError("Rows are locked until a transaction's end, and there is none.")
        args, params = self._adapted(args), self._constants.copy()
        for place, number in self._places:
            params[place] = args[number]
        iterable: Any = self._queryset._iterable_class
        with self._turn:
            self._params = params
            return list(iterable(self._queryset))

    def _adapted(self, args: Sequence[Any]) -> list[Any]:
        """As the database takes them: SQLite has times as text."""
        adapt = self._compiler.connection.ops.adapt_datetimefield_value
        return [adapt(value) if isinstance(value, datetime) else value for value in args]


def padded(values: Collection[T]) -> list[T]:
    """As many as the next power of two, the last one repeated: for the values of an ``IN``, so that there are few numbers of them."""
    found = list(values)
    return found + found[-1:] * ((1 << (len(found) - 1).bit_length()) - len(found)) if found else found


def _stand_in(value: Any, number: int) -> int | str | datetime:
    """A value of its type that no query has as a constant."""
    if isinstance(value, datetime):
        return datetime(1971, 2, 3, tzinfo=UTC) + timedelta(minutes=number)
    if isinstance(value, int):
        return -1_000_003_000 - number  # within the range of every integer column
    if isinstance(value, str):
        return f"slipway-argument-{number}"
    raise TypeError(f"{value!r} is neither an int nor a str nor a time.")
