"""Processes as they are: a pid alone says nothing, a pid with its start time is one process and never another.

Start times are the kernel's ticks since boot, so a clock that jumps changes nothing; the boot's id tells whether the
machine was restarted since. Linux only (``/proc``). Standard library only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

MARK = "SLIPWAY_SESSION_ID"


@dataclass(frozen=True)
class Process:
    """One process of one boot of this machine."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now, or None."""
        stat = _stat(pid)
        return cls(pid, stat[1], boot_id()) if stat else None

    @classmethod
    def load(cls, value: Any) -> Process | None:
        """From JSON; None for anything that is not a process."""
        if isinstance(value, dict) and {"pid", "started", "boot"} <= value.keys():
            return cls(int(value["pid"]), int(value["started"]), str(value["boot"]))
        return None

    def dump(self) -> dict[str, Any]:
        return {"pid": self.pid, "started": self.started, "boot": self.boot}

    def alive(self) -> bool:
        """Whether it still runs. One that has ended and only waits for its parent does not."""
        stat = _stat(self.pid) if self.boot == boot_id() else None
        return stat is not None and stat[1] == self.started

    def send(self, number: int, group: bool = False) -> None:
        """Signal it (or the group it leads), if it is still the same process."""
        with suppress(ProcessLookupError, PermissionError):
            if group:
                if self.alive() and os.getpgid(self.pid) == self.pid:
                    os.killpg(self.pid, number)
                return
            descriptor = os.pidfd_open(self.pid)
            try:
                # The descriptor holds on to the process: nothing can take its pid between the check and the signal.
                if self.alive():
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                os.close(descriptor)


@lru_cache(maxsize=1)
def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> tuple[int, int] | None:
    """Parent and start time of a process that runs; None for one that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return int(fields[1]), int(fields[19])


def of_session(mark: str, ancestors: Iterable[int] = ()) -> list[Process]:
    """Every living process that carries the session's mark in its environment, or descends from ``ancestors``.

    The mark finds what has left its parent and its process group; descent finds what has dropped its environment.
    """
    needle = f"{MARK}={mark}".encode()
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        stat = _stat(pid)
        if stat is None:
            continue
        parents[pid] = stat[0]
        with suppress(OSError):
            if needle in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    tops = set(ancestors) | found
    found |= {pid for pid in parents if _descends(pid, tops, parents)}
    found.discard(os.getpid())
    return [process for process in map(Process.of, found) if process is not None]


def _descends(pid: int, tops: set[int], parents: dict[int, int]) -> bool:
    seen = 0
    while pid in parents and seen < 1000:
        pid, seen = parents[pid], seen + 1
        if pid in tops:
            return True
    return False
