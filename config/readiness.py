"""Whether this process can serve: its database answers and is migrated, and its keys read what is stored."""

from __future__ import annotations

from functools import cache

from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import TextField
from django.db.models.functions import Cast

from sessions.models import Session
from storage.encryption import UndecryptableValue, decrypt, encrypt

LOOKED_AT = 3  # stored values: one that is damaged must not take every web process away


def problems() -> dict[str, str]:
    """What stands in the way, by part (database, migrations, encryption); empty when nothing does. Three queries."""
    try:
        if count := len(_migrations() - set(MigrationRecorder(connection).applied_migrations())):
            return {"migrations": f"{count} not applied: the database is of an older version than this process."}
        why = _encryption()
        return {"encryption": why} if why else {}
    except DatabaseError as error:
        return {"database": f"It can't be asked ({type(error).__name__})."}


@cache
def _migrations() -> frozenset[tuple[str, str]]:
    """The newest migrations of this version, one per app; all others come before them."""
    return frozenset(MigrationLoader(None).graph.leaf_nodes())


def _encryption() -> str:
    try:
        decrypt(encrypt("ready"))
    except ValueError:
        return "One of SLIPWAY_ENCRYPTION_KEYS is no Fernet key."
    stored = _stored()
    if stored and not any(_fits(value) for value in stored):
        return "SLIPWAY_ENCRYPTION_KEYS do not fit what is stored: the key that it was written with is missing."
    return ""


def _stored() -> list[str]:
    """The newest encrypted values, as they are in the database."""
    return list(Session.objects.order_by("-pk").values_list(Cast("ide_token", TextField()), flat=True)[:LOOKED_AT])


def _fits(value: str) -> bool:
    try:
        decrypt(value)
    except UndecryptableValue:
        return False
    return True
