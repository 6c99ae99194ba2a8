"""One limit of a workspace, what is used of it, and what would be."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class QuotaLine:
    """One limit of a workspace, in ``unit`` (cores, GiB, or a count). ``field`` is where a user can do something about it."""

    label: str
    field: str
    unit: str
    used: Decimal
    would_be: Decimal
    limit: Decimal

    @property
    def exceeded(self) -> bool:
        return self.would_be > self.limit and self.would_be > self.used

    @property
    def percent(self) -> int:
        return min(100, int(100 * self.would_be / self.limit)) if self.limit else 100

    @property
    def sentence(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"This would exceed the workspace's quota of {self.label}: {_plain(self.used)} of {_plain(self.limit)}{unit} are used, "
            f"and this makes it {_plain(self.would_be)}. Choose less, or pause or delete something."
        )


def _plain(number: Decimal) -> str:
    return f"{number.quantize(Decimal('0.01')).normalize():f}"
