"""The OpenAPI description, made of the operations' declarations."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse
from rest_framework import serializers

from sessions.api.operations import Operation, operation_of
from sessions.api.problems import CONTENT_TYPE, KINDS, type_of
from sessions.api.renderers import PlainTextRenderer
from sessions.api.scopes import ANY
from sessions.api.serializers import Answer, Body, ProblemDetails, Thing

DESCRIPTION = """\
Everything that Slipway’s pages do, for programs: the same services, the same rules, the same words.

* **Who asks**: `Authorization: Bearer slw_…` with a token from the page API tokens, or a signed-in browser
  (then writes want the CSRF token as `X-CSRFToken`). What you may not see answers 404.
* **Errors** are problem details (RFC 9457) with a stable `code`; `errors` names each field with the sentence that the page
  would show.
* **Lists** come in pages: follow `next`, or the header `Link`. `ordering` sorts, `fields` narrows.
* **Creates** take an `Idempotency-Key`: sent again within 24 hours, the request does nothing and gets the same answer.
* **Writes** take `If-Match` with an ETag that you have read: 412 when the thing has changed since.
* **Limits**: so many requests a minute per token; `RateLimit-Remaining` says how many are left.
* Times are RFC 3339 in UTC, money is a decimal string with its currency, things are named by name and never by a number.
"""
EVERYWHERE = ("not_authenticated", "token_invalid", "token_expired", "token_revoked", "not_acceptable", "rate_limited", "server_error")


def refusals(operation: Operation, is_inside: bool) -> list[str]:
    """Every code that the operation may answer with. ``is_inside``: its address names a thing, which may not be there."""
    codes = [*EVERYWHERE, "invalid", *operation.refusals]
    codes += ["scope_missing"] if operation.scopes else ["browser_only"]
    codes += ["not_found"] if is_inside else []
    codes += ["malformed", "unsupported_media_type", "too_large"] if operation.body else []
    codes += ["idempotency_key_reused"] if operation.creates else []
    codes += ["precondition_failed"] if operation.conditional else []
    return sorted(set(codes), key=list(KINDS).index)


class OperationSchema(AutoSchema):
    """Reads the declaration of ``@operation``; nothing is guessed."""

    @property
    def declared(self) -> Operation:
        return operation_of(self.view, self.method)

    def get_operation_id(self) -> str:
        return self.declared.id

    def get_summary(self) -> str:
        return self.declared.summary

    def get_description(self) -> str:  # type: ignore[override]
        scopes = self.declared.scopes
        handler = getattr(self.view, self.method.lower())
        told = " ".join((handler.__doc__ or "").split())
        needs = f"Scope of a token: {' or '.join(f'`{scope.value}`' for scope in scopes)}." if scopes else "For signed-in browsers only."
        return f"{told}\n\n{'Any token.' if scopes == ANY else needs}".strip()

    def get_tags(self) -> list[str]:
        return [self.declared.id.rpartition("_")[0].replace("_", " ")]

    def get_extensions(self) -> dict[str, Any]:
        return {"x-required-scope": [scope.value for scope in self.declared.scopes]}

    def get_auth(self) -> list[dict[str, Any]]:
        super().get_auth()  # registers the schemes
        scopes = [scope.value for scope in self.declared.scopes]
        return [{"token": [scope]} for scope in scopes] + [{"browser": []}]

    def get_request_serializer(self) -> Any:
        return self.declared.body

    def get_override_parameters(self) -> list[Any]:
        operation = self.declared
        found: list[Any] = [operation.parameters] if operation.parameters().fields else []
        if operation.creates:
            found.append(_sent("Idempotency-Key", "Your own unique key, such as a UUID.", {"pattern": "^[!-~]{1,255}$"}))
        if operation.conditional:
            found.append(_sent("If-Match", "An ETag that you have read; 412 when the thing has another by now."))
        if operation.tagged and self.method == "GET":
            found.append(_sent("If-None-Match", "An ETag that you have read; 304 when it still holds."))
        return found + self._answered_headers()

    def _answered_headers(self) -> list[OpenApiParameter]:
        operation = self.declared
        told = {
            "RateLimit-Limit": "Requests a minute.",
            "RateLimit-Remaining": "Left of them.",
            "RateLimit-Reset": "Seconds until new ones.",
        }
        told |= {"Idempotency-Replayed": "true: the answer that an earlier request got."} if operation.creates else {}
        told |= {"ETag": "The state of the thing."} if operation.tagged else {}
        told |= {"Location": "The new thing’s address."} if operation.status == 201 else {}
        told |= {"Link": "The neighbouring pages (RFC 8288)."} if operation.orders else {}
        status = operation.status if operation.answer else 204
        return [OpenApiParameter(name, str, OpenApiParameter.HEADER, description=words, response=[status]) for name, words in told.items()]

    def get_response_serializers(self) -> Any:
        operation = self.declared
        answers: dict[Any, Any] = {}
        if operation.answer is None:
            answers[204] = OpenApiResponse(description="Done.")
        else:
            shape, example = operation.answer, operation.example
            if operation.orders:
                shape, example = _page_of(shape), {"items": [example], "next": None, "previous": None}
            answers[operation.status] = OpenApiResponse(shape, "Done.", [OpenApiExample(operation.id, example)])
        if operation.text_example:
            text = OpenApiExample(operation.id, operation.text_example, media_type=PlainTextRenderer.media_type)
            answers[(operation.status, PlainTextRenderer.media_type)] = OpenApiResponse(str, "Done.", [text])
        if operation.tagged and self.method == "GET":
            answers[304] = OpenApiResponse(description="It is as If-None-Match says.")
        by_status = defaultdict(list)
        for code in refusals(operation, is_inside="{" in self.path):
            by_status[KINDS[code].status].append(code)
        for status, codes in by_status.items():
            described = " ".join(f"`{code}`: {KINDS[code].title}." for code in codes)
            examples = [OpenApiExample(code, _example_of(code), media_type=CONTENT_TYPE) for code in codes]
            answers[(status, CONTENT_TYPE)] = OpenApiResponse(ProblemDetails, described, examples)
        return answers

    def get_examples(self) -> list[OpenApiExample]:
        operation = self.declared
        return [OpenApiExample(operation.id, operation.body_example, request_only=True)] if operation.body else []

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)
        if "__doc__" not in vars(type(serializer)):
            schema.pop("description", None)  # a base class's, which says nothing of this one
        if isinstance(serializer, Body):
            schema["additionalProperties"] = False
        if isinstance(serializer, Thing):
            schema.pop("required", None)
        return schema


def _sent(name: str, description: str, form: dict[str, str] | None = None) -> OpenApiParameter:
    return OpenApiParameter(name, {"type": "string", **(form or {})}, OpenApiParameter.HEADER, description=description)


@cache
def _page_of(item: type[Answer]) -> type[Answer]:
    name = f"{item.__name__.removesuffix('Serializer')}Page"
    fields = {"items": item(many=True), "next": serializers.URLField(allow_null=True), "previous": serializers.URLField(allow_null=True)}
    return type(name, (Answer,), fields)


def _example_of(code: str) -> dict[str, Any]:
    kind = KINDS[code]
    return {
        "type": type_of(code),
        "title": kind.title,
        "status": kind.status,
        "detail": kind.remedy,
        "code": code,
        "errors": [],
        "request_id": "3f0c6f3b2a6c4c2f9d2f6f0e8b1d7a55",
    }


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "sessions.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "slw_…"}


class BrowserScheme(OpenApiAuthenticationExtension):
    target_class = "sessions.api.authentication.BrowserAuthentication"
    name = "browser"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


@cache
def description() -> dict[str, Any]:
    """The whole document, the same for everybody; made once per process."""
    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    document["info"]["description"] = DESCRIPTION
    return document
