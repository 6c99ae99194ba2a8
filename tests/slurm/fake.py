"""Slurm's client commands as scripts that say what a test wants, and something that listens where the controller would."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = """#!/bin/sh
env >> {folder}/environments
echo "$(basename "$0") $*" >> {folder}/asked
if [ -s {folder}/error ]; then cat {folder}/error >&2; exit 1; fi
case "$(basename "$0") $*" in
  "sinfo -h -o %R"*) cat {folder}/partitions ;;
  "sinfo -h -o %T"*) cat {folder}/nodes ;;
  "squeue -h -u "*) cat {folder}/jobs ;;
  "scontrol show config") echo "SLURM_VERSION           = $(cat {folder}/version)" ;;
  "scontrol --version") echo "slurm-wlm 22.05.8" ;;
  *) echo "unexpected: $*" >&2; exit 2 ;;
esac
"""
ZERO = "sinfo: error: _fetch_child: failed to fetch remote configs: Zero Bytes were transmitted or received"


class FakeSlurm:
    """``controller`` takes connections and says nothing; the commands say what stands in files of ``folder``."""

    def __init__(self, folder: Path, controller: str) -> None:
        self.folder, self.controller = folder, controller
        for command in ("sinfo", "squeue", "scontrol"):
            (folder / command).write_text(SCRIPT.format(folder=folder))
            (folder / command).chmod(0o755)
        self.says(
            partitions="debug|up|10:00|idle|3\ndebug|up|10:00|mixed|1\n", nodes="idle|3\nmixed|1\n", jobs="", version="22.05.8", error=""
        )

    def says(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text)

    @property
    def asked(self) -> list[str]:
        """Every command line so far."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def tokens(self) -> set[str]:
        """Every token that a command has had in its environment."""
        lines = (self.folder / "environments").read_text().splitlines()
        return {line.removeprefix("SLURM_JWT=") for line in lines if line.startswith("SLURM_JWT=")}


@contextmanager
def fake_slurm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    folder.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        yield FakeSlurm(folder, f"127.0.0.1:{listener.getsockname()[1]}")
