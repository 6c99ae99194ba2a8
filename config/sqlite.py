"""SQLite databases that only Slipway's user can read: sessions are other users of the same machine."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import Any


class PrivateConnection(sqlite3.Connection):
    """Makes a database file that is missing with mode 0600, whatever the umask. SQLite gives its other files the same mode."""

    def __init__(self, database: str, *args: Any, **kwargs: Any) -> None:
        if not str(database).startswith((":memory:", "file:")):
            with suppress(OSError):  # it exists, or SQLite will say better what is wrong
                os.close(os.open(database, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        super().__init__(database, *args, **kwargs)
