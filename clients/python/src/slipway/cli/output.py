"""What the command says, and how: tables and sentences for people, JSON for programs, progress for terminals."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import click

from slipway.shapes import as_json
from slipway.things import Session, Step

# What a cluster or a session says is shown as text: its control characters would be orders to the terminal.
CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
MARKS = {"done": click.style("✓", fg="green"), "failed": click.style("✗", fg="red")}
PHASE_COLOURS = {"Running": "green", "Failed": "red", "Pending": "yellow", "Terminating": "yellow", "Unknown": "magenta"}


def plain(text: str) -> str:
    return text.translate(CONTROLS)


def say(text: str = "") -> None:
    click.echo(plain(text))


def tell(text: str) -> None:
    """To people, beside what the command answers with."""
    click.echo(plain(text), err=True)


def show_json(thing: Any) -> None:
    click.echo(json.dumps(as_json(thing), indent=2, ensure_ascii=False))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Columns as wide as they need to be; those named in ``right`` are aligned there. Phases are coloured."""
    cells = [list(titles), *([plain(cell).replace("\n", " ") for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        padded = [
            cell.rjust(width) if title in right else cell.ljust(width) for title, cell, width in zip(titles, row, widths, strict=True)
        ]
        if number:
            padded = [click.style(cell, fg=PHASE_COLOURS[cell.strip()]) if cell.strip() in PHASE_COLOURS else cell for cell in padded]
        click.echo("  ".join(padded).rstrip())


def ago(then: datetime) -> str:
    """How long ago, in its largest unit: 3 d."""
    seconds = max(0, int((datetime.now(timezone.utc) - then).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


class Progress:
    """The steps of a start on standard error, each once it is over, the current one in a line that changes. For terminals only."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty()
        self._told: set[str] = set()
        self._line = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._rewrite("")

    def __call__(self, session: Session) -> None:
        current = f"{session.phase}: {session.message}" if session.message else session.phase
        for step in session.steps:
            if step.state in MARKS and step.step not in self._told:
                self._told.add(step.step)
                self._rewrite("")
                self._write(f"{MARKS[step.state]} {plain(_sentence(step))}\n")
            elif step.state == "active":
                current = _sentence(step)
        self._rewrite(plain(current).replace("\n", " "))

    def _rewrite(self, line: str) -> None:
        if line == self._line:
            return
        width = max(20, shutil.get_terminal_size().columns)
        self._write("\r\x1b[K" + (f"… {line}"[: width - 1] if line else ""))
        self._line = line

    def _write(self, text: str) -> None:
        if self.is_shown:
            click.echo(text, err=True, nl=False)


def _sentence(step: Step) -> str:
    seconds = ""
    if step.started_at and step.finished_at:
        seconds = f" ({(step.finished_at - step.started_at).total_seconds():.1f} s)"
    return f"{step.label}{seconds}" + (f": {step.message}" if step.message and step.state != "done" else "")
