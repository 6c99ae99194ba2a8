"""A session's own programs and live files: ``bin`` and ``live``, side by side. Written by the driver, read by the session."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from compute.clusters.local import layout
from compute.workload import Account

EXECUTABLE, OWN = 0o555, 0o400


def write_programs(folder: Path, programs: Mapping[str, str]) -> None:
    """Make ``folder/bin`` with these programs, name → script. What else is in it stays."""
    if programs:
        _make(folder)
        layout.make_folder(folder / "bin", 0o755)
        for name, script in programs.items():
            _write(folder / "bin" / _plain(name), script, EXECUTABLE, None)


def write_live(folder: Path, files: Mapping[str, str], owner: Account) -> None:
    """Replace files of ``folder/live``, each at once: only their owner may read them."""
    if files:
        _make(folder)
        layout.make_folder(folder / "live", 0o711)
        for name, text in files.items():
            _write(folder / "live" / _plain(name), text, OWN, owner)


def _make(folder: Path) -> None:
    layout.make_folder(folder, 0o711)


def _plain(name: str) -> str:
    if "/" in name or name.startswith("."):
        raise ValueError(f"“{name}” is not the name of a file.")
    return name


def _write(path: Path, text: str, mode: int, owner: Account | None) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        if owner is not None and os.getuid() == 0:
            os.fchown(file.fileno(), owner.uid, owner.gid)
        os.fchmod(file.fileno(), mode)
    new.replace(path)
