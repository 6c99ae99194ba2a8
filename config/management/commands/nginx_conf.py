"""`manage.py nginx_conf`: write nginx's configuration for this installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config.nginx import NginxOptionError, NginxOptions, write


class Command(BaseCommand):
    help = "Write nginx's configuration, from the settings and these flags. Start it with: nginx -e stderr -p RUN_DIR -c OUTPUT"
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
        parser.add_argument("--web", required=True, help="Where gunicorn listens: unix:/path, IP:port or name:port.")
        parser.add_argument("--relay", required=True, help="Where run_relay listens: unix:/path, IP:port or name:port.")
        parser.add_argument("--run-dir", required=True, type=Path, help="For nginx's own files; in memory (/run) if possible.")
        parser.add_argument("--output", required=True, type=Path)
        parser.add_argument("--user", default="", help="Whom nginx's workers run as; only when nginx is started as root.")
        parser.add_argument("--access-log", default="", help="A file, or off. Without it: access.log in the run directory.")
        parser.add_argument("--tls-certificate", default="")
        parser.add_argument("--tls-key", default="")
        parser.add_argument(
            "--trusted-proxy",
            action="append",
            default=[],
            metavar="NETWORKS",
            help="Networks, commas between, whose X-Forwarded-* headers are believed: what ends TLS in front. May be repeated.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            chosen = NginxOptions(
                listen=options["listen"],
                web=options["web"],
                relay=options["relay"],
                run_dir=options["run_dir"].absolute(),
                user=options["user"],
                access_log=options["access_log"],
                tls_certificate=options["tls_certificate"],
                tls_key=options["tls_key"],
                trusted_proxies=tuple(
                    network.strip() for given in options["trusted_proxy"] for network in given.split(",") if network.strip()
                ),
            )
            write(chosen, options["output"])
        except NginxOptionError as error:
            raise CommandError(str(error)) from None
