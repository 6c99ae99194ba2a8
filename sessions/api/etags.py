"""Which state of a thing a client has read: a hash of its representation, told as ``ETag``, asked for by ``If-Match``."""

from __future__ import annotations

import json
from hashlib import blake2s
from typing import Any

from rest_framework.request import Request
from rest_framework.utils.encoders import JSONEncoder

from sessions.api.problems import ProblemError


def etag_of(representation: Any) -> str:
    text = json.dumps(representation, cls=JSONEncoder, sort_keys=True)
    return f'"{blake2s(text.encode(), digest_size=12).hexdigest()}"'


def is_known(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` says that the client has this state already."""
    return _names(request.headers.get("If-None-Match", ""), etag)


def require_match(request: Request, etag: str) -> None:
    """Raises ``precondition_failed`` when ``If-Match`` names other states than this one."""
    if not _names(request.headers["If-Match"], etag):
        raise ProblemError("precondition_failed", "It has changed since you read it. Nothing has been done.", headers={"ETag": etag})


def _names(header: str, etag: str) -> bool:
    named = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in named or etag in named
