"""What receivers check: that an event comes from this Slipway, is unchanged, and is not an old one sent again."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any


def body_of(payload: dict[str, Any]) -> bytes:
    """The payload as it is sent: the same bytes at each try."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signature(secret: str, body: bytes, at: int) -> str:
    """The header ``Slipway-Signature``; ``at`` is in seconds since 1970."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"
