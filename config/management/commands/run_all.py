"""`manage.py run_all`: everything on one machine, for a single-machine installation (its unit restarts this)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.runner import Runner, RunnerError, run_until_signalled


class Command(BaseCommand):
    help = "Run web, relay, worker, controller and nginx, and start each again when it ends, until SIGTERM or Ctrl-C."
    requires_system_checks = []  # made below, with the database

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8080, help="nginx listens on it, on 127.0.0.1.")
        parser.add_argument("--run-dir", type=Path, required=True, help="For sockets, logs and nginx's files.")

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("check", databases=["default"])
        try:
            runner = Runner(os.environ, options["run_dir"].absolute(), options["port"], self._say)
            run_until_signalled(runner, lambda: self._say("ready"))
        except RunnerError as error:
            raise CommandError(str(error)) from None

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
