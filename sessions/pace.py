"""How often the controller's loop goes round: what comes thick and fast is gathered, and costs less together.

What something cost is told in CPU seconds, so that a busy machine or a slow database does not count as work of its own.
"""

from __future__ import annotations

import time

PER_SESSION = 0.01  # seconds that news is gathered for each further session that moves
LONGEST_WAIT = 1.0
LOOK = 0.005  # share of a core, at most, for what may have changed without a word: seldom anything
LONGEST_LOOK = 4.0  # seconds that a look is put off for it


def gather(moving: int) -> float:
    """When (monotonic) news is to be taken again while so many sessions move: one launch alone waits for nothing."""
    return time.monotonic() + min(PER_SESSION * max(0, moving - 1), LONGEST_WAIT)


def cost(began: float) -> float:
    """What this thread has done since ``began`` (``time.thread_time()``)."""
    return time.thread_time() - began


def next_look(spent: float) -> float:
    """When (monotonic) to look again after a look that has cost that much."""
    return time.monotonic() + min(spent / LOOK, LONGEST_LOOK)
