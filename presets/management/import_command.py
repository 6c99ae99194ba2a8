"""What the import commands share: read the files, look or do it, tell."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any, ClassVar

from django.core.management.base import BaseCommand, CommandError

from compute.errors import Refused
from presets import ides
from presets.exchange import MAX_BYTES, Format, Options, Source, apply, preview, report
from presets.exchange.fetching import fetch

WOULD_CHANGE = 2


class ImportCommand(BaseCommand):
    """Exit status: 0 when there is nothing (more) to do, 2 when a preview would change something, 1 on any mistake."""

    formats: ClassVar[Format]

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE", type=Path, help="YAML, with one document or several")
        parser.add_argument("--apply", action="store_true", help="do it; without this option nothing is changed")
        parser.add_argument(
            "--ide", choices=sorted(ides.IDES), default="", help="which IDE the presets are of, where the files do not tell"
        )
        parser.add_argument("--prefix", default="", help="what the slugs of all imported rows begin with, such as team-")

    def handle(self, *args: Any, **options: Any) -> None:
        sources = [Source(path.name, _text(path)) for path in options["files"]]
        wanted = Options(self.formats, options["ide"], options["prefix"], fetch if options.get("fetch_pictures") else None)
        try:
            plan = apply(None, sources, wanted) if options["apply"] else preview(sources, wanted)
        except Refused as refused:
            told = "\n".join(f"{problem.field}: {problem.message}" if problem.field else problem.message for problem in refused.problems)
            raise CommandError(f"Nothing was imported.\n{told}") from None
        for line in report.lines(plan, done=options["apply"]):
            self.stdout.write(line)
        if plan.is_change and not options["apply"]:
            raise SystemExit(WOULD_CHANGE)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{path}: this is not UTF-8 text.") from None
