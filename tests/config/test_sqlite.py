"""The database of a machine that sessions share is nobody else's to read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from django.conf import settings


def migrate(database: Path) -> None:
    environment = os.environ | {"DATABASE_URL": f"sqlite:///{database}"}
    command = [sys.executable, "manage.py", "migrate", "contenttypes", "--verbosity", "0"]
    subprocess.run(command, cwd=settings.BASE_DIR, env=environment, umask=0o022, check=True, timeout=60)


def test_a_new_database_can_be_read_by_its_owner_alone(tmp_path: Path) -> None:
    migrate(tmp_path / "new.sqlite3")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_the_mode_of_a_database_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old.sqlite3").touch()
    (tmp_path / "old.sqlite3").chmod(0o640)
    migrate(tmp_path / "old.sqlite3")
    assert (tmp_path / "old.sqlite3").stat().st_mode & 0o777 == 0o640
