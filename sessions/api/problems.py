"""Every error of the API as problem details (RFC 9457): one shape, stable codes, the wizard's own sentences.

``KINDS`` is the whole list of codes for a client to branch on; ``/api/errors`` shows it. What is wrong with single
fields is in ``errors``: there ``code`` is the service's (``name_taken``, ``quota_exceeded`` …).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import Forbidden, Problem, Refused

log = logging.getLogger(__name__)
CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Kind:
    """What a code means: its HTTP status, its title, and what a client should do about it."""

    status: int
    title: str
    remedy: str


KINDS = {
    "malformed": Kind(400, "The body is not JSON", "Mend the body at the line and column that detail names."),
    "invalid": Kind(400, "The request has the wrong shape", "Mend each field or parameter that errors names."),
    "not_authenticated": Kind(401, "Nobody is signed in", "Send “Authorization: Bearer” with an API token, or sign in."),
    "token_invalid": Kind(401, "The token is not valid", "Make a new token on the page API tokens."),
    "token_expired": Kind(401, "The token has expired", "Make a new token on the page API tokens."),
    "token_revoked": Kind(401, "The token has been revoked", "Make a new token on the page API tokens."),
    "forbidden": Kind(403, "Your role does not allow this", "Ask whom detail names."),
    "scope_missing": Kind(403, "The token lacks a scope", "Use a token with the scope that detail names."),
    "browser_only": Kind(403, "Only for people who are signed in", "Do this on Slipway’s pages: no token may do it."),
    "csrf_failed": Kind(403, "The CSRF token is missing or wrong", "Send the page’s CSRF token as X-CSRFToken, or use an API token."),
    "not_found": Kind(404, "There is no such thing", "Check the address; what you may not see looks the same."),
    "method_not_allowed": Kind(405, "The method is not allowed here", "Use a method of the header Allow."),
    "not_acceptable": Kind(406, "The answer has no such format", "Accept application/json."),
    "idempotency_key_reused": Kind(409, "The Idempotency-Key was used for another request", "Use a fresh key for another request."),
    "precondition_failed": Kind(412, "It has changed since you read it", "Read it again, and decide with its new ETag."),
    "too_large": Kind(413, "The body is too large", "Send less at once; keep large texts in a volume."),
    "unsupported_media_type": Kind(415, "The body has the wrong type", "Send application/json."),
    "refused": Kind(422, "It can’t be done as asked", "Mend each field that errors names; nothing has been changed."),
    "rate_limited": Kind(429, "Too many requests", "Wait for as many seconds as Retry-After says."),
    "server_error": Kind(500, "Slipway failed", "Try again; tell an administrator the request_id if it stays."),
}

# What Django and Django REST framework raise by themselves.
FRAMEWORKS: dict[type[Exception], str] = {
    Http404: "not_found",
    exceptions.NotFound: "not_found",
    exceptions.PermissionDenied: "forbidden",
    exceptions.MethodNotAllowed: "method_not_allowed",
    exceptions.NotAcceptable: "not_acceptable",
    exceptions.UnsupportedMediaType: "unsupported_media_type",
    exceptions.ParseError: "malformed",
    RequestDataTooBig: "too_large",
}


class ProblemError(exceptions.APIException):
    """An error of the API itself. ``code`` is one of ``KINDS``; ``detail`` a sentence for the user."""

    def __init__(self, code: str, detail: str = "", errors: Iterable[Problem] = (), headers: Mapping[str, str] | None = None) -> None:
        self.code, self.errors, self.headers = code, tuple(errors), dict(headers or {})
        self.status_code = KINDS[code].status
        super().__init__(detail or " ".join(problem.message for problem in self.errors) or KINDS[code].remedy, code)


def handle(exc: Exception, context: Mapping[str, Any]) -> Response:
    """Django REST framework's exception handler: whatever was raised, the answer is a problem and tells no internals."""
    request: Request = context["request"]
    problem = as_problem(exc)
    if problem.code == "server_error":
        # The message of an unexpected exception may hold what the user typed; the traceback has the place, without values.
        log.error("%s %s failed: %s", request.method, request.path, type(exc).__name__, exc_info=exc)
    return Response(document(problem, request._request), status=problem.status_code, headers=problem.headers, content_type=CONTENT_TYPE)


def as_problem(exc: Exception) -> ProblemError:
    """The problem that an exception is to its user."""
    match exc:
        case ProblemError():
            return exc
        case Refused():
            return ProblemError("refused", errors=exc.problems)
        case Forbidden():
            return ProblemError("forbidden", str(exc))
        case exceptions.ValidationError():
            return ProblemError("invalid", errors=flatten(exc.detail))
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return ProblemError("not_authenticated", headers={"WWW-Authenticate": str(getattr(exc, "auth_header", "Bearer"))})
    code = next((code for kind, code in FRAMEWORKS.items() if isinstance(exc, kind)), "server_error")
    return ProblemError(code, str(exc.detail) if isinstance(exc, exceptions.APIException) else "")


def document(problem: ProblemError, request: HttpRequest) -> dict[str, Any]:
    """The problem as its reader gets it."""
    return {
        "type": type_of(problem.code),
        "title": KINDS[problem.code].title,
        "status": problem.status_code,
        "detail": str(problem.detail),
        "code": problem.code,
        "errors": [vars(error) for error in problem.errors],
        "request_id": getattr(request, "request_id", ""),
    }


def type_of(code: str) -> str:
    return f"{settings.SLIPWAY_URL}/api/errors#{code}"


def flatten(detail: Any, path: str = "") -> list[Problem]:
    """A serializer's nested errors as problems: ``{"data_volumes": [{}, {"claim": […]}]}`` → ``data_volumes.1.claim``."""
    return list(_flatten(detail, path))


def _flatten(detail: Any, path: str) -> Iterator[Problem]:
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            step = "" if key == "non_field_errors" else str(key)
            yield from _flatten(value, ".".join(filter(None, (path, step))))
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for number, item in enumerate(detail):
            # A list of messages stands for the field itself, a list of nested errors for its rows.
            yield from _flatten(item, path if isinstance(item, str) else f"{path}.{number}")
    else:
        yield Problem(path, getattr(detail, "code", "invalid"), str(detail))
