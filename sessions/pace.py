"""How much of a core the controller's loop may take: what comes thick and fast is gathered, and costs less together.

What something cost is told in CPU seconds, so that a busy machine or a slow database does not count as work of its own.
"""

from __future__ import annotations

import time

# Shares of a core, at most.
GATHER = 0.1  # for what the clusters say
LOOK = 0.05  # for what may have changed without a word
LONGEST_WAIT = 1.0  # seconds that either is put off for it
REST = 1.0  # seconds of rest that count: one launch alone waits for nothing


def cost(began: float) -> float:
    """What this thread has done since ``began`` (``time.thread_time()``)."""
    return time.thread_time() - began


def after(spent: float, share: float) -> float:
    """When (monotonic) to do again what has just cost that much, so that it takes at most that share; but soon."""
    return time.monotonic() + min(spent / share, LONGEST_WAIT)


def put_off(due: float, spent: float) -> float:
    """When the next round is due after one that was due then and cost that much: many take their share, a few don't wait."""
    now = time.monotonic()
    return min(max(due, now - REST) + spent / GATHER, now + LONGEST_WAIT)
