"""The shapes that go in and out. A serializer checks shape and nothing else: what may be, the services say.

Three kinds, never mixed: :class:`Body` (JSON that comes in), :class:`Query` (parameters of the address), :class:`Answer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError


def absolute(route: str, *args: object) -> str:
    """The whole address of a route, as links have it."""
    return f"{settings.SLIPWAY_URL}{reverse(route, args=args)}"


class _Strict(serializers.Serializer[Any]):
    """Refuses names that it does not know: a misspelled field must not pass for an absent one."""

    unknown_code = "unknown_field"
    unknown_message = "There is no field “{name}” here."

    def to_internal_value(self, data: Any) -> Any:
        unknown = {}
        if isinstance(data, Mapping):
            sentence = self.unknown_message
            unknown = {str(name): [ErrorDetail(sentence.format(name=name), self.unknown_code)] for name in data if name not in self.fields}
        try:
            value = super().to_internal_value(data)
        except ValidationError as error:
            raise ValidationError({**error.detail, **unknown} if isinstance(error.detail, dict) else error.detail) from None
        if unknown:
            raise ValidationError(unknown)
        return value


class Body(_Strict):
    """What a client sends. Absent fields are absent from ``validated_data``: the view says what that means."""


class Query(_Strict):
    """Parameters of the address, such as filters."""

    unknown_code = "unknown_parameter"
    unknown_message = "There is no parameter “{name}” here."


class Answer(serializers.Serializer[Any]):
    """What a client gets. ``context["membership"]`` and ``context["token"]`` say who asks."""


class Thing(Answer):
    """An answer that ``?fields=`` may narrow, so that the schema promises none of its fields."""


class Text(serializers.CharField):
    """Text, exactly as typed: no number is taken for text. Emptiness and form are the services' to judge."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_blank": True, "trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        text: str = super().to_internal_value(data)
        return text


class Flag(serializers.BooleanField):
    """true or false: neither "yes" nor 1."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Time(serializers.DateTimeField):
    """RFC 3339, in UTC on the way out; on the way in, with its offset."""

    def __init__(self, **options: Any) -> None:
        super().__init__(default_timezone=UTC, **options)

    def to_internal_value(self, value: Any) -> Any:
        if not isinstance(value, str):
            self.fail("invalid", format="YYYY-MM-DDThh:mm:ssZ")
        return super().to_internal_value(value)


class Money(serializers.Serializer[Any]):
    """An amount as a decimal string, with the sign or code of the installation's currency."""

    amount = serializers.RegexField(r"^\d+\.\d{5}$")
    currency = serializers.CharField()

    def to_representation(self, instance: Decimal) -> dict[str, str]:
        return {"amount": f"{instance:.5f}", "currency": settings.SLIPWAY_CURRENCY}


@extend_schema_field({"type": "string"})
class Amount(serializers.Field[Any, Any, str, Decimal]):
    """A decimal number as plain text: without exponent, and without zeros that say nothing. Only on the way out."""

    def to_representation(self, value: Decimal) -> str:
        return f"{value.normalize():f}"


class ProblemField(Answer):
    field = serializers.CharField(help_text="Where it was typed, such as data_volumes.0.claim; empty when it is no field’s.")
    code = serializers.CharField(help_text="Stable: what a program may branch on.")
    message = serializers.CharField(help_text="A sentence for people, the same as on Slipway’s pages.")


class ProblemDetails(Answer):
    """An error (RFC 9457)."""

    type = serializers.URLField(help_text="Where the code is explained.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField(help_text="Stable: what a program may branch on.")
    errors: Any = ProblemField(many=True)  # the base class has a property of this name
    request_id = serializers.CharField(help_text="What to tell an administrator; also in the header X-Request-ID.")
