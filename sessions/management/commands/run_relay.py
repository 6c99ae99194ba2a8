"""`manage.py run_relay`: carry the sessions' WebSockets and event streams (``sessions.relay``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import stat
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections, connection

from sessions import gateway
from sessions.relay import Relay

log = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Carry WebSockets between nginx and the sessions, and cut those that are no longer allowed."

    def add_arguments(self, parser: CommandParser) -> None:
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--socket", type=Path, help="The unix socket to listen on; nginx_conf's --relay.")
        where.add_argument("--bind", metavar="IP:PORT", help="The address to listen on, for an nginx on another machine.")

    def handle(self, *args: Any, **options: Any) -> None:
        # Two sockets per connection; the usual soft limit of 1024 would end at 500 notebooks.
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        if options["bind"]:
            with listen_tcp(options["bind"]) as listener:
                asyncio.run(serve(listener))
            return
        path: Path = options["socket"].absolute()
        with listen(path) as listener:
            try:
                asyncio.run(serve(listener))
            finally:
                path.unlink(missing_ok=True)


def listen(path: Path) -> socket.socket:
    """A listening socket at ``path``. A stale one is replaced; one that answers is another relay's, and refused."""
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise CommandError(f"{path} is there, and is no socket.")
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(ConnectionRefusedError):
            probe.connect(str(path))
            raise CommandError(f"A relay listens on {path} already.")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    # Whoever may enter the folder may connect; only nginx has the key that the relay asks for.
    before = os.umask(0o111)
    try:
        listener.bind(str(path))
    except OSError as error:
        raise CommandError(f"The relay can't listen on {path}: {error.strerror}.") from None
    finally:
        os.umask(before)
    listener.listen(1024)
    return listener


def listen_tcp(address: str) -> socket.socket:
    """A listening socket at ``IP:port`` or ``[IPv6]:port``. Who can reach it gets nothing without nginx's key."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=1024)
    except (OSError, ValueError, OverflowError) as error:
        raise CommandError(f"The relay can't listen on {address}: {error}.") from None


async def serve(listener: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # One thread, so one database connection, kept between questions.
    with ThreadPoolExecutor(1, thread_name_prefix="relay-database") as database:

        async def check(grants: Collection[int]) -> dict[int, str]:
            return await loop.run_in_executor(database, _live_endpoints, grants)

        log.info("The relay listens on %s.", listener.getsockname())
        await Relay(gateway.nginx_key(), check).serve(listener, stop)
        database.submit(connection.close)


def _live_endpoints(grants: Collection[int]) -> dict[int, str]:
    close_old_connections()
    try:
        return gateway.live_endpoints(grants)
    except Exception:
        connection.close()  # whatever is wrong with it, the next question starts afresh
        raise
