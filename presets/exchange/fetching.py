"""Pictures at web addresses, fetched for whoever has the server's shell and asks for it; nobody else makes Slipway fetch."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from django.core.exceptions import ValidationError

from presets.pictures import MAX_BYTES

SECONDS = 10.0


def fetch(url: str) -> bytes:
    """What is there, as far as a picture may be long. Raises ``ValidationError``, with the reason in words."""
    if not url.lower().startswith(("http://", "https://")):
        raise ValidationError("Pictures are fetched over http and https only.", code="picture_scheme")
    try:
        # A redirect leads to no file either.
        asking = urllib.request.Request(url, headers={"User-Agent": "Slipway"})  # noqa: S310
        with urllib.request.urlopen(asking, timeout=SECONDS) as answer:  # noqa: S310
            content: bytes = answer.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise ValidationError(f"It could not be fetched: the answer was {error.code}.", code="picture_fetch") from None
    except (OSError, http.client.HTTPException, ValueError):
        raise ValidationError("It could not be fetched: nothing answers there.", code="picture_fetch") from None
    return content
