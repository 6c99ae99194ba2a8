"""What a supervisor knows of its session, as it is kept in ``status.json`` for the driver to read."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from compute.clusters.local import layout
from compute.clusters.local.processes import Process

STEPS = ("compute", "image", "storage", "server")  # compute.workload.Step
EVENTS_LIMIT = 256 * 1024


class State(StrEnum):
    STARTING = "starting"  # nothing that would survive its supervisor
    SERVING = "serving"  # the IDE runs, and has not answered yet
    RUNNING = "running"  # the IDE has answered
    FAILED = "failed"  # given up, and no process is left
    PAUSED = "paused"  # no process is left


@dataclass
class Status:
    """``main`` is the process whose end is the session's end. ``since`` is in seconds since boot."""

    revision: int = 0
    state: str = State.STARTING
    reason: str = ""
    message: str = ""
    log_tail: str = ""
    since: float = 0.0
    boot: str = ""
    isolated: bool = False
    main: dict[str, Any] | None = None
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Status | None:
        value = layout.read_json(path)
        return cls(**{name: value[name] for name in cls.__dataclass_fields__ if name in value}) if value is not None else None

    def save(self, path: Path) -> None:
        layout.write_json(path, asdict(self))

    @property
    def process(self) -> Process | None:
        return Process.load(self.main)

    def begin(self, step: str, message: str = "") -> None:
        """The step is at work now, every one before it is done."""
        for earlier in STEPS[: STEPS.index(step)]:
            self.finish(earlier)
        self.steps[step] = {"state": "active", "started_at": now(), "message": message}

    def finish(self, step: str, state: str = "done", message: str | None = None) -> None:
        """Close a step that is not closed yet."""
        told = self.steps.setdefault(step, {"state": "active", "started_at": now(), "message": ""})
        if told["state"] == "active":
            told |= {"state": state, "finished_at": now(), "message": told["message"] if message is None else message}

    @property
    def active(self) -> str:
        """The step that is at work or has failed, or the last one."""
        return next((step for step in STEPS if self.steps.get(step, {}).get("state") in ("active", "failed")), STEPS[-1])


def now() -> str:
    return datetime.now(UTC).isoformat()


def add_event(path: Path, reason: str, message: str, kind: str = "Normal") -> None:
    """Append to the session's events; the oldest half goes when there are very many."""
    line = json.dumps({"at": now(), "kind": kind, "reason": reason, "message": message}) + "\n"
    if path.exists() and path.stat().st_size > EVENTS_LIMIT:
        path.write_text(layout.tail(path, 10_000, EVENTS_LIMIT // 2).partition("\n")[2])
    with path.open("a") as file:
        file.write(line)


def read_events(path: Path) -> Iterable[dict[str, Any]]:
    for line in layout.tail(path, 1000).splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def ending(code: int | None) -> str:
    """How the IDE ended, as a sentence. A negative code is a signal, as is one above 128; None is unknown."""
    if code is None:
        return "The IDE ended while nothing watched it, so nobody knows why."
    number = -code if code < 0 else code - 128
    if number == signal.SIGKILL:
        return "Killed: the IDE was ended by force (SIGKILL), most likely because the machine ran out of memory."
    if number > 0 and number in signal.Signals._value2member_map_:
        return f"The IDE was ended by the signal {signal.Signals(number).name}."
    return f"The IDE ended with exit code {code}."
