"""How much of the time the controller's work may take: what comes thick and fast is gathered, and costs less together.

Times are monotonic.
"""

from __future__ import annotations

import time

# Shares of the time, at most.
GATHER = 0.08  # for what the clusters say
LOOK = 0.05  # for what may have changed without a word
LONGEST_WAIT = 1.0  # seconds that either is put off for it
REST = 0.6  # seconds of rest that count: one launch alone waits for nothing


def after(began: float, share: float) -> float:
    """When to do again what began then and has just been done, so that it takes at most that share of all time; but soon."""
    now = time.monotonic()
    return now + min((now - began) * (1 / share - 1), LONGEST_WAIT)


def put_off(due: float, began: float) -> float:
    """When the next round is due after one that was due then, and began then: many take their share of the time, a few don't wait."""
    now = time.monotonic()
    return min(max(due, began - REST) + (now - began) / GATHER, now + LONGEST_WAIT)
