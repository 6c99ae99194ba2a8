"""`manage.py wait_for_migrations`: hold a new version back until its database is migrated."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

LOOK_EVERY = 2.0


class Command(BaseCommand):
    help = "Return when the database can be reached and has every migration of this version; someone else runs `migrate`."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--timeout", type=float, default=600, help="Seconds until it gives up (default: %(default)s).")

    def handle(self, *args: Any, **options: Any) -> None:
        end = time.monotonic() + options["timeout"]
        while why := missing():
            if time.monotonic() >= end:
                raise CommandError(f"Gave up waiting: {why}")
            time.sleep(LOOK_EVERY)


def missing() -> str:
    """Empty if everything is there, else what is not."""
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        return f"the database can't be asked ({type(error).__name__})."
    finally:
        connection.close()
    return f"{len(plan)} migrations are not applied, the first is {plan[0][0]}." if plan else ""
