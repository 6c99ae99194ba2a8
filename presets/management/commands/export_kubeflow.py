"""The catalog as Kubeflow's WorkspaceKinds and PodDefaults."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from presets.exchange import export, report
from presets.exchange.export import exported_configurations, exported_presets, text_of


class Command(BaseCommand):
    help = (
        "Write presets as WorkspaceKinds and configurations as PodDefaults, one file each, and tell what Kubeflow has no place for. "
        "Secret values are never written."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("slugs", nargs="*", metavar="SLUG", help="of presets or configurations; none: all of them")
        parser.add_argument("--to", required=True, metavar="DIR", type=Path, help="where to write the files; made if it is not there")

    def handle(self, *args: Any, **options: Any) -> None:
        presets, configurations = exported_presets(), exported_configurations()
        if wanted := set(options["slugs"]):
            presets, configurations = presets.filter(slug__in=wanted), configurations.filter(slug__in=wanted)
            known = {row.slug for row in (*presets, *configurations)}
            if unknown := sorted(wanted - known):
                raise CommandError(f"There is no preset or configuration with this slug: {', '.join(unknown)}.")
        folder: Path = options["to"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for one in export(presets, configurations):
                if one.document is not None:
                    path = folder / one.file_name
                    path.write_text(text_of(one.document), encoding="utf-8")
                    self.stdout.write(f"wrote {path}")
                for line in report.note_lines(one.notes):
                    self.stdout.write(line)
        except OSError as error:
            raise CommandError(f"{error.filename}: {error.strerror}.") from None
