"""System checks: what is configured wrongly, each with an id (``docs/operators.md``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError

SECRET_KEY_LEAST = 50


def is_this_machine(host: str) -> bool:
    """Whether only this machine's own browsers can mean this host: localhost, what is below it, loopback addresses."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def public_host() -> str:
    """Slipway's host name if others than this machine can mean it, else nothing."""
    host = urlsplit(settings.SLIPWAY_URL).hostname or ""
    return "" if is_this_machine(host) else host


@register(Tags.security)
def encryption_keys(**_: Any) -> list[CheckMessage]:
    for position, key in enumerate(settings.SLIPWAY_ENCRYPTION_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError:
            return [
                Error(
                    f"Key {position} of SLIPWAY_ENCRYPTION_KEYS is no Fernet key.",
                    hint="`python -m config.new_key` makes one. Keep every key that stored values were written with.",
                    id="slipway.E001",
                )
            ]
    return []


@register(Tags.security)
def secret_key(**_: Any) -> list[CheckMessage]:
    key = settings.SECRET_KEY
    if len(key) >= SECRET_KEY_LEAST and len(set(key)) >= 5:
        return []
    return [
        Error(
            f"SLIPWAY_SECRET_KEY must be random and have at least {SECRET_KEY_LEAST} characters: it signs cookies and tasks.",
            hint="`openssl rand -base64 48` makes one.",
            id="slipway.E002",
        )
    ]


@register(Tags.security)
def session_origins(**_: Any) -> list[CheckMessage]:
    """Code in a session may set cookies for the domain its origin is in: that must never be the control plane's."""
    control = urlsplit(settings.SLIPWAY_URL).hostname or ""
    apps = urlsplit(settings.SLIPWAY_APPS_URL).hostname or ""
    if control != apps and not control.endswith(f".{apps}"):
        return []
    return [
        Error(
            f"Sessions would live below {apps}, which is or contains Slipway's own host {control}: their code could set its cookies.",
            hint="Set SLIPWAY_APPS_URL to a domain of its own, or to one below Slipway's, such as https://apps.slipway.example.com.",
            id="slipway.E003",
        )
    ]


@register(Tags.security)
def debug(**_: Any) -> list[CheckMessage]:
    if not (settings.DEBUG and public_host()):
        return []
    return [
        Error(
            f"SLIPWAY_DEBUG is on at {public_host()}: error pages would show settings and code to everyone.",
            hint="Unset SLIPWAY_DEBUG.",
            id="slipway.E004",
        )
    ]


@register(Tags.security)
def demo(**_: Any) -> list[CheckMessage]:
    if not (settings.SLIPWAY_DEMO and public_host()):
        return []
    return [
        Error(
            f"SLIPWAY_DEMO is on at {public_host()}: the sign-in page would tell everyone the demo's passwords.",
            hint="Unset SLIPWAY_DEMO and start with an empty database.",
            id="slipway.E005",
        )
    ]


@register(Tags.database)
def local_driver(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Only where databases are looked at (`check --database default`, `migrate`, `run_all`): clusters are rows."""
    from compute.models import Cluster

    if not databases or settings.SLIPWAY_LOCAL_ALLOW_PUBLIC or not public_host():
        return []
    try:
        names = list(Cluster.objects.filter(driver="local", enabled=True).values_list("name", flat=True))
    except DatabaseError:  # not migrated yet
        return []
    return [
        Error(
            f"Cluster {name} runs sessions as processes of this machine, and {public_host()} is a public host.",
            hint="The local driver keeps users apart no better than one account of this machine does. Use a Kubernetes cluster, disable this "
            "one, or set SLIPWAY_LOCAL_ALLOW_PUBLIC=1 if everyone who can sign in trusts everyone else.",
            id="slipway.E006",
        )
        for name in names
    ]


@register(Tags.database)
def sqlite_behind_public_host(**_: Any) -> list[CheckMessage]:
    if not public_host() or not settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        return []
    return [
        Warning(
            "SQLite is the embedded database: every part of Slipway must run on this one machine.",
            hint="Set DATABASE_URL to a PostgreSQL database for production.",
            id="slipway.W001",
        )
    ]
