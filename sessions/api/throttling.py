"""So many requests per minute and token, counted in the database: the limit holds across all processes."""

from __future__ import annotations

from rest_framework.request import Request

from compute import tokens
from sessions.api.authentication import token_of
from sessions.api.problems import ProblemError


def count(request: Request) -> dict[str, str]:
    """Count the request; returns the answer's ``RateLimit-*`` headers, none for a browser. Raises ``rate_limited``."""
    token = token_of(request)
    if token is None:
        return {}
    rate = tokens.count_request(token)
    headers = {
        "RateLimit-Limit": str(rate.limit),
        "RateLimit-Remaining": str(rate.remaining),
        "RateLimit-Reset": str(rate.reset_seconds),
    }
    if not rate.allowed:
        sentence = f"This token may ask {rate.limit} times a minute. Wait {rate.reset_seconds} s."
        raise ProblemError("rate_limited", sentence, headers={**headers, "Retry-After": str(rate.reset_seconds)})
    return headers
