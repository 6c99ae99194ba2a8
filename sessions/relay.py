"""Carries what stays open: WebSockets and event streams, byte for byte, for as long as they are allowed.

nginx decides once per request, and an open WebSocket is one request for hours. So nginx sends those here, each with the
id of its grant; the relay connects them to the session and asks for all grants with open connections, in one query
every ``interval`` seconds, whether they still hold (``sessions.gateway.live_endpoints``). What does not is cut.

No byte waits for the database, and nothing is buffered beyond one read per direction: a slow reader slows its writer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from secrets import compare_digest

log = logging.getLogger(__name__)

HEAD_LIMIT = 128 * 1024
HEAD_SECONDS = 10.0
CONNECT_SECONDS = 5.0
CHECK_SECONDS = 10.0
LINGER_SECONDS = 10.0
CHUNK = 256 * 1024
KEY_HEADER, GRANT_HEADER = b"x-slipway-key", b"x-slipway-grant"

Check = Callable[[Collection[int]], Awaitable[dict[int, str]]]


class Unanswerable(Exception):
    """The request can't be carried; nginx gets this status and closes."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass(eq=False)
class Link:
    """One open connection: whose it is, and where it goes."""

    grant: int
    endpoint: str
    task: asyncio.Task[None]


class Relay:
    """``check`` maps the grants that still hold to their session's endpoint. While it fails, open connections live on
    for ``grace`` seconds after its last answer, and new ones are refused."""

    def __init__(self, key: str, check: Check, *, interval: float = 2.0, grace: float = 30.0) -> None:
        self._key = key.encode()
        self._check = check
        self._interval = interval
        self._grace = grace
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Accept until ``stop`` is set, then cut everything and return."""
        listener.setblocking(False)
        accepting = asyncio.create_task(self._accept(listener))
        watching = asyncio.create_task(self._watch())
        try:
            await stop.wait()
        finally:
            for task in (accepting, watching, *self._tasks):
                task.cancel()
            await asyncio.gather(accepting, watching, *self._tasks, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listener)
            except OSError as error:  # out of file descriptors: the backlog waits until some are free
                log.warning("The relay can't accept a connection: %s", error)
                await asyncio.sleep(0.5)
                continue
            client.setblocking(False)
            if client.family != socket.AF_UNIX:
                _suit_network(client)
            task = asyncio.create_task(self._carry(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, client: socket.socket) -> None:
        """One connection from nginx, from its head to its end. Never raises but when cancelled."""
        loop = asyncio.get_running_loop()
        with client:
            try:
                async with asyncio.timeout(HEAD_SECONDS):
                    grant, head = self._admit(await _read_head(client))
                    endpoint = await self._endpoint_of(grant)
                upstream = await _connect(endpoint)
            except Unanswerable as error:
                with contextlib.suppress(OSError):
                    await loop.sock_sendall(client, _answer(error.status))
                return
            except (OSError, TimeoutError):
                return
            with upstream:
                await self._splice(client, upstream, head, grant, endpoint)

    def _admit(self, head: bytes) -> tuple[int, bytes]:
        """The grant that nginx named, and the request without Slipway's headers."""
        given = {}
        block, separator, rest = head.partition(b"\r\n\r\n")
        kept = []
        for line in block.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower().startswith(b"x-slipway-"):
                given[name.lower()] = value.strip()
            else:
                kept.append(line)
        if not compare_digest(given.get(KEY_HEADER, b""), self._key) or not given.get(GRANT_HEADER, b"").isdigit():
            raise Unanswerable("404 Not Found")
        return int(given[GRANT_HEADER]), b"\r\n".join(kept) + separator + rest

    async def _endpoint_of(self, grant: int) -> str:
        """Asked anew for every connection: nginx's decision may be seconds old."""
        try:
            endpoint = (await self._check([grant])).get(grant)
        except Exception as error:
            log.warning("The relay can't ask whether a connection is allowed: %r", error)
            raise Unanswerable("503 Service Unavailable") from None
        if endpoint is None:
            raise Unanswerable("404 Not Found")
        return endpoint

    async def _splice(self, client: socket.socket, upstream: socket.socket, head: bytes, grant: int, endpoint: str) -> None:
        """Both directions until they have ended or :meth:`_watch` cuts them."""
        link = Link(grant, endpoint, asyncio.create_task(_both_ways(client, upstream, head)))
        self._links.add(link)
        try:
            await asyncio.wait([link.task])
        finally:
            self._links.discard(link)
            link.task.cancel()
            # Its sockets may only be closed when it has let go of them.
            await asyncio.gather(link.task, return_exceptions=True)

    async def _watch(self) -> None:
        """Cut what is no longer allowed. Ends with the relay."""
        answered = time.monotonic()
        while True:
            await asyncio.sleep(self._interval)
            links = list(self._links)
            if not links:
                answered = time.monotonic()
                continue
            try:
                async with asyncio.timeout(CHECK_SECONDS):
                    endpoints = await self._check({link.grant for link in links})
                answered = time.monotonic()
            except Exception as error:
                log.warning("The relay can't ask whether %d open connections are still allowed: %r", len(links), error)
                if time.monotonic() - answered < self._grace:
                    continue
                endpoints = {}
            for link in links:
                if endpoints.get(link.grant) != link.endpoint:
                    link.task.cancel()


async def _read_head(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > HEAD_LIMIT:
            raise Unanswerable("431 Request Header Fields Too Large")
        data = await loop.sock_recv(client, 64 * 1024)
        if not data:
            raise Unanswerable("400 Bad Request")
        head += data
    return head


async def _connect(endpoint: str) -> socket.socket:
    """A connection to ``unix:/path``, ``IP:port`` or ``[IPv6]:port``."""
    address: str | tuple[str, int]
    if endpoint.startswith("unix:"):
        family, address = socket.AF_UNIX, endpoint.removeprefix("unix:")
    else:
        host, _, port = endpoint.rpartition(":")
        family, address = (socket.AF_INET6 if host.startswith("[") else socket.AF_INET), (host.strip("[]"), int(port))
    upstream = socket.socket(family, socket.SOCK_STREAM)
    try:
        upstream.setblocking(False)
        if family != socket.AF_UNIX:
            _suit_network(upstream)
        async with asyncio.timeout(CONNECT_SECONDS):
            with _the_socket_itself(address) if isinstance(address, str) else contextlib.nullcontext(address) as target:
                await asyncio.get_running_loop().sock_connect(upstream, target)
    except (OSError, TimeoutError):
        upstream.close()
        raise Unanswerable("502 Bad Gateway") from None
    except BaseException:
        upstream.close()
        raise
    return upstream


def _suit_network(connection: socket.socket) -> None:
    """For a TCP connection: send what is small at once, and notice a peer that is gone. Quiet for hours is normal for a
    notebook, so only the kernel's own probes can tell."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


@contextlib.contextmanager
def _the_socket_itself(path: str) -> Iterator[str]:
    """A path to the socket that follows no link: sessions own the folder, and a link of theirs must not make us connect,
    with our rights, to any other socket of this machine."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise ConnectionRefusedError(f"{path} is no socket.")
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


async def _both_ways(client: socket.socket, upstream: socket.socket, head: bytes) -> None:
    """Copy in both directions. When one has ended, the other gets ``LINGER_SECONDS`` to bring its rest: nginx never
    half-closes, so whoever ended, nobody reads for long."""
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(upstream, head)
    ways = [asyncio.create_task(_one_way(client, upstream)), asyncio.create_task(_one_way(upstream, client))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ways, timeout=LINGER_SECONDS)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _one_way(source: socket.socket, target: socket.socket) -> None:
    """Copy until ``source`` has said all or either is gone; then tell ``target`` so."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(source, CHUNK):
            await loop.sock_sendall(target, data)
        target.shutdown(socket.SHUT_WR)


def _answer(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
