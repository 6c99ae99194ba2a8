"""Money as the API tells it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal


@dataclass(frozen=True)
class Price:
    """Per hour. ``currency`` is the installation's sign or code. As text it is rounded as on Slipway's pages: $0.025, $1.20."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        if 0 < self.amount < Decimal("0.001"):
            return f"<{self.currency}0.001"
        places = Decimal("0.001") if 0 < self.amount < 1 else Decimal("0.01")
        text = f"{self.amount.quantize(places, ROUND_HALF_UP):,}"
        return self.currency + (text[:-1] if places == Decimal("0.001") and text.endswith("0") else text)
