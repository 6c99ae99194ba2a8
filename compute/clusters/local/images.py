"""Images of recipes: venvs that are built once per lock, and never half.

``images/<key>/`` has one folder per attempt, ``current`` (a link to the finished one), ``build.json`` (the newest
attempt: who builds, how far), ``build.log`` and ``lock`` (held by the builder). An attempt never touches another's
folder, so a builder that is killed leaves rubbish for the next one to clear, and nothing else.
Standard library only: supervisors wait for images too.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compute.clusters.local import detach, layout
from compute.clusters.local.processes import Process

KILLED_TRIES = 4
POLL = 0.1


class BuildFailed(Exception):
    """The image could not be built; the message is a sentence, ``log`` the end of what pip wrote."""

    def __init__(self, message: str, log: str) -> None:
        super().__init__(message)
        self.log = log


@dataclass(frozen=True)
class Image:
    """The image of a recipe. ``requirements`` is its locked list of packages, ``user`` who must be able to run it."""

    root: Path
    key: str
    requirements: Path
    user: str = ""

    @property
    def folder(self) -> Path:
        return self.root / "images" / self.key

    @property
    def log(self) -> Path:
        return self.folder / "build.log"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def current(self) -> Path:
        return self.folder / "current"

    def venv(self) -> Path | None:
        """The finished venv, or None. One whose interpreter has left the machine does not count."""
        try:
            venv = self.folder / os.readlink(self.current)
        except OSError:
            return None
        return venv if os.access(venv / "bin" / "python", os.X_OK) else None

    def report(self) -> dict[str, Any]:
        """What the newest attempt says of itself: id, state (building or failed), message, builder."""
        return layout.read_json(self.folder / "build.json") or {}

    def write_report(self, **fields: Any) -> None:
        layout.write_json(self.folder / "build.json", fields)

    def start_build(self) -> str:
        """Start a builder, unless one is at work; returns the id of the attempt that it makes if it gets to."""
        layout.make_folder(self.folder, 0o755)
        attempt = uuid.uuid4().hex[:12]
        detach.start("builder", str(self.root), self.key, str(self.requirements), attempt, self.user, log=self.log)
        return attempt

    def build(self, on_progress: Callable[[str], None], keep_waiting: Callable[[], bool] = lambda: True) -> Path | None:
        """The finished venv, built now if need be; None if ``keep_waiting`` said no.

        ``on_progress`` hears each new sentence. Raises :class:`BuildFailed` when an attempt failed that was
        started or watched here, so that an old failure is always tried again.
        """
        ours: set[str] = set()
        started, told = 0, ""
        while (venv := self.venv()) is None:
            if not keep_waiting():
                return None
            report = self.report()
            builder = Process.load(report.get("builder"))
            if report.get("state") == "building" and builder and builder.alive():
                ours.add(report["id"])
                if report["message"] != told:
                    told = report["message"]
                    on_progress(told)
                time.sleep(POLL)
            elif report.get("state") == "failed" and report["id"] in ours:
                raise BuildFailed(report["message"], layout.tail(self.log, 40))
            elif started == KILLED_TRIES:
                raise BuildFailed(f"The build of {self.key} was ended {started} times from outside.", layout.tail(self.log, 40))
            else:
                started += 1
                ours.add(self.start_build())
        return venv
