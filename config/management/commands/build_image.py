"""`manage.py build_image`: build a local image before anyone waits for it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from compute.clusters.base import ClusterError
from compute.clusters.local import LocalDriver


class Command(BaseCommand):
    help = "Build a local image, such as local:jupyterlab, unless it is built already."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("image")
        parser.add_argument("--background", action="store_true", help="Return at once; the build goes on.")

    def handle(self, *args: Any, **options: Any) -> None:
        driver = LocalDriver("build")
        if refusal := driver.offers(options["image"]):
            raise CommandError(refusal)
        try:
            if options["background"]:
                driver.ensure_image(options["image"])
            else:
                driver.build_image(options["image"], self.stdout.write)
        except ClusterError as error:
            raise CommandError(str(error)) from None
