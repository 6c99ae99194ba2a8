"""From the API's JSON to things, and back."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from slipway.errors import Problem, UnexpectedAnswer
from slipway.things import Tagged

T = TypeVar("T")


@cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)


def parse(cls: type[T], data: Any, etag: str = "") -> T:
    """The API's JSON as a ``cls``. Raises :class:`UnexpectedAnswer` when something of it is not there."""
    try:
        thing: T = _value(cls, data)
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise UnexpectedAnswer(f"Slipway’s answer is no {cls.__name__} that this version of the client understands: {error}") from None
    return dataclasses.replace(thing, etag=etag) if etag and isinstance(thing, Tagged) else thing


def _value(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return None if value is None else _value(next(one for one in arguments if one is not types.NoneType), value)
    if origin is tuple:
        return tuple(_value(arguments[0], item) for item in value)
    if hint is datetime:
        return datetime.fromisoformat(value.replace("Z", "+00:00"))  # Python 3.10 knows no Z
    if hint is Decimal:
        return Decimal(value)
    if hint is Problem:
        return Problem(**value)
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise TypeError(f"{value!r:.60} is no object")
        hints = _hints(hint)  # type: ignore[arg-type]
        return hint(**{name: _value(hints[name], value[name]) for name in hints if name in value and name != "etag"})  # type: ignore[operator]
    return value


def as_json(thing: Any) -> Any:
    """Any of these as what ``json.dumps`` takes, spelled as the API spells it."""
    if isinstance(thing, Problem):
        return thing._asdict()
    if dataclasses.is_dataclass(thing):
        values = {one.name: getattr(thing, one.name) for one in dataclasses.fields(thing) if one.name != "etag"}
        absent = {one.name for one in dataclasses.fields(thing) if one.default is None and values.get(one.name) is None}
        return {name: as_json(value) for name, value in values.items() if name not in absent}
    if isinstance(thing, (list, tuple)):
        return [as_json(item) for item in thing]
    if isinstance(thing, datetime):
        return thing.isoformat().replace("+00:00", "Z")
    return str(thing) if isinstance(thing, Decimal) else thing
