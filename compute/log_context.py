"""What every log line of a piece of work says beside its message: the request's id, the user, the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

# A value may be asked for only when a line is written, such as a user whom nobody has looked up yet.
Value = str | Callable[[], str]
_bound: ContextVar[Mapping[str, Value]] = ContextVar("log_context", default=MappingProxyType({}))


@contextmanager
def bound(**fields: Value) -> Iterator[None]:
    """Log lines from inside have these fields, beside those that are bound already."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def add(**fields: Value) -> None:
    """Add fields until the end of the innermost :func:`bound`."""
    _bound.set({**_bound.get(), **fields})


def current() -> dict[str, str]:
    """The bound fields that have a value."""
    found = {name: value() if callable(value) else value for name, value in _bound.get().items()}
    return {name: value for name, value in found.items() if value}
