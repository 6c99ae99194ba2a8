"""This machine and its processes in a few characters: so that a row can say who holds it, and others whether that one lives."""

from __future__ import annotations

import hashlib
import os
import socket

from compute.clusters.local.processes import Process

MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def this_process() -> str:
    """The machine, the pid, and what makes this process another one than any that has, had or will have that pid."""
    return _named(os.getpid()) or MACHINE


def has_ended(process: str) -> bool:
    """Whether it is a process of this machine that runs no more. Of other machines nothing is known."""
    machine, _, rest = process.partition("/")
    pid = rest.partition("/")[0]
    return machine == MACHINE and pid.isdigit() and _named(int(pid)) != process


def _named(pid: int) -> str:
    found = Process.of(pid)
    return f"{MACHINE}/{pid}/{found.started}/{found.boot[:8]}" if found else ""
