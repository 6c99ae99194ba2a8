"""Short marks of what a page shows: a poll brings the one it has, and is answered 204 while nothing has changed."""

from __future__ import annotations

from hashlib import blake2s


def mark_of(*shown: object, size: int = 8) -> str:
    """Changes with the ``repr`` of anything shown; ``size`` bytes as hexadecimal digits."""
    return blake2s(repr(shown).encode(), digest_size=size).hexdigest()
