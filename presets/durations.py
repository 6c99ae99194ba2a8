"""Lengths of time as people write them: "4 h", "90 min", "1 h 30 min"."""

from __future__ import annotations

import re

UNITS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
SPELLINGS = {
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("hour", "hours"), "h"),
    **dict.fromkeys(("", "m", "mins", "minute", "minutes"), "min"),
    **dict.fromkeys(("sec", "second", "seconds"), "s"),
}
PART = re.compile(r"([0-9]{1,9})\s*([a-z]*)[\s,]*")


def parse(text: str) -> int:
    """Seconds. A number alone counts minutes. Raises ``ValueError``."""
    rest, total = text.strip().lower(), 0
    if not rest:
        raise ValueError("empty")
    while rest:
        found = PART.match(rest)
        unit = SPELLINGS.get(found[2], found[2]) if found else ""
        if found is None or unit not in UNITS:
            raise ValueError(f"no length of time: {text!r}")
        total += int(found[1]) * UNITS[unit]
        rest = rest[found.end() :]
    return total


def spell(seconds: int) -> str:
    """All of it: "4 h", "1 h 30 min", "1 min 30 s". :func:`parse` reads it again."""
    parts, left = [], max(0, seconds)
    for unit, length in UNITS.items():
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}\N{NO-BREAK SPACE}{unit}")
    return " ".join(parts) or "0\N{NO-BREAK SPACE}s"
