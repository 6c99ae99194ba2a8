"""Encryption at rest: values are unreadable in the database, in dumps and in the admin's history.

Keys come from ``SLIPWAY_ENCRYPTION_KEYS`` (newest first); ``manage.py rotate_keys`` writes everything again with
the first one, after which older keys can be dropped.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import models


class UndecryptableValue(ImproperlyConfigured):
    """A stored value fits none of the configured keys."""


@lru_cache(maxsize=1)
def fernet() -> MultiFernet:
    """The configured keys, newest first."""
    return MultiFernet([Fernet(key) for key in settings.SLIPWAY_ENCRYPTION_KEYS])


def encrypt(plain: str) -> str:
    return fernet().encrypt(plain.encode()).decode()


def decrypt(token: str) -> str:
    """The plain text. Raises :class:`UndecryptableValue` when no key fits; the message holds nothing of the value."""
    try:
        return fernet().decrypt(token.encode()).decode()
    except InvalidToken:
        raise UndecryptableValue("A stored secret fits none of SLIPWAY_ENCRYPTION_KEYS. Add the key it was written with.") from None


def _forget_keys(*, setting: str, **_: object) -> None:
    if setting == "SLIPWAY_ENCRYPTION_KEYS":
        fernet.cache_clear()


setting_changed.connect(_forget_keys)


class EncryptedTextField(models.TextField):
    """Text that is stored as a Fernet token. It can't be searched or ordered by; empty text stays empty."""

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)
        return encrypt(value) if value else value

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        return decrypt(value) if value else value


class EncryptedJSONField(models.TextField):
    """JSON that is stored as a Fernet token. ``default`` must be a callable such as ``dict``."""

    # What django-stubs reads the Python type of the attribute from.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else encrypt(json.dumps(value, sort_keys=True))

    def from_db_value(self, value: str | None, *_: object) -> Any:
        return json.loads(decrypt(value)) if value else value

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, obj: models.Model) -> str:
        return json.dumps(self.value_from_object(obj))
