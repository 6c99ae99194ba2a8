"""`make bench`: launches, pages and the controller, measured on this machine. Exit code 1 when a target is missed."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench import launches
from tests.run import postgresql

RATIO = 1.5


def on_database(url: str) -> dict[str, Any]:
    """What ``tests.bench.database`` measures there, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.bench.database"],
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def show_launches(found: dict[str, Any]) -> list[str]:
    """Prints, and returns the targets that were missed."""
    ratio = found["running"] / found["bare"]
    print("\nLaunch of a built local image (medians)")
    print(f"  click to Running              {found['running']:6.2f} s   {ratio:.2f} × bare (target {RATIO})")
    print(f"  click to JupyterLab's page    {found['opened']:6.2f} s   {found['opened'] / found['bare']:.2f} × bare")
    print(f"  bare jupyter lab              {found['bare']:6.2f} s")
    print("\nCPU at rest, one session running (percent of one core)")
    print("  " + "   ".join(f"{name} {percent:.1f}" for name, percent in found["idle"].items()))
    return [f"click to Running took {ratio:.2f} times a bare start"] if ratio > RATIO else []


def show_database(name: str, found: dict[str, Any], verbose: bool) -> list[str]:
    """Prints, and returns the targets that were missed."""
    print(f"\nPages with 10,000 sessions on {name}")
    print(f"  {'':22} queries (100 / 10,000)    p50 ms   p95 ms")
    missed = []
    for page in found["pages"]:
        wrong = page["limit"] and (page["many"] > page["limit"] or page["many"] > page["few"])
        print(
            f"  {page['name']:22} {page['few']:9} / {page['many']:<10} {page['p50'] * 1000:10.1f} {page['p95'] * 1000:8.1f}{'  !' * wrong}"
        )
        if verbose:
            print(f"      slowest query: {page['slowest'][:400]}")
        if wrong:
            missed.append(f"{page['name']} on {name}: {page['few']} queries, then {page['many']} (limit {page['limit']})")
    print(f"\nController at its start on {name}")
    for catch_up in found["controller"]:
        print(f"  {catch_up['name']:32} {catch_up['seconds']:6.2f} s  {catch_up['queries']} queries")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", choices=("launches", "sqlite", "postgresql"), help="measure only this part")
    parser.add_argument("--rounds", type=int, default=5, help="launches to take the median of (default 5)")
    parser.add_argument("--verbose", action="store_true", help="show each page's slowest query")
    arguments = parser.parse_args()
    started = time.monotonic()
    missed: list[str] = []
    if arguments.only in (None, "launches"):
        missed += show_launches(launches.measure(arguments.rounds))
    if arguments.only in (None, "sqlite"):
        with tempfile.TemporaryDirectory(prefix="slipway-bench-") as folder:
            missed += show_database("SQLite", on_database(f"sqlite:///{Path(folder) / 'bench.sqlite3'}"), arguments.verbose)
    if arguments.only in (None, "postgresql"):
        with postgresql() as server:
            missed += show_database("PostgreSQL", on_database(server), arguments.verbose)
    print(f"\n{'; '.join(missed) or 'Every target is met'} ({time.monotonic() - started:.0f} s).")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
