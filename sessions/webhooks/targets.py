"""Which addresses a webhook may reach: public ones over https, and others only if an operator allows their networks.

The name of a host says nothing: what counts is the address that it stands for at the moment, and that very one is dialled.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from django.conf import settings

from compute.errors import Problem

Address = IPv4Address | IPv6Address
URL_MAX = 1000
PLAIN = re.compile(r"[\x21-\x7e]+")
HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
# What Python takes for public, and is not: Azure's metadata and DNS, Oracle's, translations of IPv4 addresses within a network.
OTHERS = tuple(map(ip_network, ("168.63.129.16/32", "192.0.0.0/24", "64:ff9b:1::/48")))
TRANSLATED = ip_network("64:ff9b::/96")


class Unreachable(Exception):
    """The address is not to be, or can't be, reached. The message is for the workspace's admins."""


@dataclass(frozen=True)
class Target:
    """``path`` with its query, as it is sent. ``authority`` is the Host header."""

    scheme: str
    host: str
    port: int
    path: str
    authority: str


def parse(url: str) -> Target:
    """The parts of a URL. Raises :class:`Unreachable` for one that could never be reached from here; asks no DNS."""
    if not PLAIN.fullmatch(url) or len(url) > URL_MAX:
        raise Unreachable(f"This is no URL: it takes at most {URL_MAX} plain characters without spaces.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Unreachable("This is no URL, such as https://ci.example.com/hooks/slipway.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unreachable("Use a whole address, such as https://ci.example.com/hooks/slipway.")
    if parts.scheme == "http" and not settings.SLIPWAY_WEBHOOK_ALLOW_PRIVATE:
        raise Unreachable("Use https: what is sent tells who works on what.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Unreachable("Leave out user names, passwords and fragments: the signature proves where an event comes from.")
    host = parts.hostname
    if (literal := _literal(host)) is not None:
        if why := refusal(literal, parts.scheme):
            raise Unreachable(why)
    elif not HOST.fullmatch(host) or len(host) > 253:
        raise Unreachable(f"“{host}” is no host name.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), path, parts.netloc)


def addresses(target: Target) -> list[str]:
    """What the target's name stands for now, without what may not be reached. Raises :class:`Unreachable` if nothing is left."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unreachable(f"The name {target.host} can't be resolved.") from None
    allowed: list[str] = []
    why = f"The name {target.host} stands for no address."
    for *_, where in found:
        if refused := refusal(ip_address(str(where[0])), target.scheme):
            why = refused
        elif where[0] not in allowed:
            allowed.append(str(where[0]))
    if not allowed:
        raise Unreachable(why)
    return allowed


def refusal(address: Address, scheme: str) -> str:
    """Why the address may not be reached; empty if it may."""
    if all(any(one in network for network in settings.SLIPWAY_WEBHOOK_ALLOW_PRIVATE) for one in _meant(address)):
        return ""
    if not all(_is_public(one) for one in _meant(address)):
        return f"{address} is not a public address. Operators allow others with SLIPWAY_WEBHOOK_ALLOW_PRIVATE."
    return "" if scheme == "https" else "Use https: without it, only networks of SLIPWAY_WEBHOOK_ALLOW_PRIVATE are reached."


def _is_public(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in OTHERS)


def _meant(address: Address) -> Iterator[Address]:
    """The address itself, unless it only wraps an IPv4 one; then that, and for tunnels both ends."""
    if not isinstance(address, IPv6Address):
        yield address
    elif address.ipv4_mapped:
        yield address.ipv4_mapped
    elif address in TRANSLATED:
        yield IPv4Address(int(address) & 0xFFFFFFFF)
    else:
        yield address
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield from address.teredo


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        pass
    # "localhost", and the spellings of 127.0.0.1 that only the C library knows (0x7f.1, 2130706433).
    if host.rstrip(".").lower() == "localhost" or host.lower().rstrip(".").endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def problem(url: str) -> Problem | None:
    """What is wrong with a URL that somebody typed."""
    try:
        parse(url)
    except Unreachable as error:
        return Problem("url", "url_not_allowed", str(error))
    return None
