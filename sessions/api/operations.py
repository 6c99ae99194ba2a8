"""What an operation is, declared once: the request is handled by it, and the OpenAPI schema is made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.response import Response

from compute.models import Scope
from sessions.api import idempotency
from sessions.api.pagination import DEFAULT_LIMIT, MAX_LIMIT
from sessions.api.serializers import Answer, Body, Query, Thing

ATTRIBUTE = "operation"


@dataclass(frozen=True)
class Operation:
    """``id`` is ``<things>_<verb>``. One of ``scopes`` is enough for a token; none at all: for browsers only.

    ``answer``: None for 204. ``orders`` makes it a list: the orderings it offers, the usual one first. ``tagged``: the answer
    carries an ETag. ``creates``: takes an Idempotency-Key. ``conditional``: takes If-Match; the view calls ``unchanged``.
    ``refusals``: codes of ``problems.KINDS`` beyond those that every such operation has. ``shown_once``: fields that a
    repeated create does not show again. ``example`` is of the answer (of one item, for a list), ``body_example`` of the body.
    ``text_example``: answers text/plain as well, to those who prefer that.
    """

    id: str
    summary: str
    scopes: tuple[Scope, ...]
    answer: type[Answer] | None = None
    example: Any = None
    status: int = 200
    body: type[Body] | None = None
    body_example: Any = None
    query: type[Query] | None = None
    orders: tuple[str, ...] = ()
    tagged: bool = False
    creates: bool = False
    conditional: bool = False
    refusals: tuple[str, ...] = ()
    shown_once: tuple[str, ...] = ()
    text_example: str = ""

    @property
    def is_sparse(self) -> bool:
        """Whether ``?fields=`` narrows the answer: reading things, not writing them."""
        writes = self.creates or self.conditional or self.body is not None
        return not writes and self.answer is not None and issubclass(self.answer, Thing)

    @cached_property
    def parameters(self) -> type[Query]:
        """The operation's own query parameters with those that every list, and every sparse answer, has."""
        extra: dict[str, Any] = {}
        if self.orders:
            extra["limit"] = serializers.IntegerField(min_value=1, max_value=MAX_LIMIT, default=DEFAULT_LIMIT, help_text="Items per page.")
            extra["cursor"] = serializers.CharField(required=False, help_text="From next or previous of another page.")
            extra["ordering"] = serializers.ChoiceField(self.orders, default=self.orders[0], help_text="A minus in front is descending.")
        if self.is_sparse and self.answer is not None:
            extra["fields"] = FieldNames(self.answer)
        return type("Parameters", (self.query or Query,), extra)


class FieldNames(serializers.CharField):
    """``name,phase``: which fields of the answer are wanted."""

    def __init__(self, answer: type[Answer], **options: Any) -> None:
        self.answer = answer
        names = ", ".join(answer().fields)
        super().__init__(required=False, help_text=f"Only these fields, with commas between: {names}.", **options)
        self.error_messages["unknown_field"] = f"There is no field “{{name}}”. The fields are {names}."

    def __deepcopy__(self, memo: Any) -> FieldNames:
        return FieldNames(self.answer)

    def to_internal_value(self, data: Any) -> Any:
        names = [name.strip() for name in super().to_internal_value(data).split(",")]
        for name in names:
            if name not in self.answer().fields:
                self.fail("unknown_field", name=name[:63])
        return names


def operation(**declared: Any) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
    """Declare what a view's method is: the arguments are those of :class:`Operation`."""
    declaration = Operation(**declared)

    def decorate(method: Callable[..., Response]) -> Callable[..., Response]:
        @wraps(method)
        def handler(view: Any, request: Any, **kwargs: Any) -> Response:
            if not declaration.creates:
                return method(view, request, **kwargs)
            return idempotency.once(request, lambda: method(view, request, **kwargs), declaration.shown_once)

        setattr(handler, ATTRIBUTE, declaration)
        return handler

    return decorate


def operation_of(view: Any, method: str) -> Operation:
    """The operation behind a view's method. HEAD is GET without its body."""
    handler = getattr(view, "get" if method == "HEAD" else method.lower(), None)
    declared: Operation | None = getattr(handler, ATTRIBUTE, None)
    if declared is None:
        raise MethodNotAllowed(method)
    return declared
