"""Everything that `make demo` does to its database and files before it starts the programs. Safe to repeat."""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Migrate, collect static files, and bring the catalog and the demo's sample data."
    requires_system_checks = []  # made below, once there are tables to look at

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
        call_command("check", databases=["default"])
        call_command("collectstatic", verbosity=0, interactive=False)
        call_command("seed_catalog")
        call_command("seed_demo")
