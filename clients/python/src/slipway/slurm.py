"""The Slurm cluster that is attached to a session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class SlurmNodes:
    """``in_use`` wholly or in part; ``other``: down, drained, reserved …"""

    idle: int
    in_use: int
    other: int


@dataclass(frozen=True)
class SlurmPartition:
    name: str
    state: str
    time_limit: str
    nodes: SlurmNodes


@dataclass(frozen=True)
class SlurmJob:
    """As Slurm writes it: the id of an array is ``12_[4-9]``."""

    id: str
    name: str
    state: str
    elapsed: str
    reason: str
    partition: str


@dataclass(frozen=True)
class AttachedSlurm:
    """As it was last heard of, at ``answered_at``. ``status`` is well, unwell, away, waiting or detached; ``cause`` says why.
    ``jobs`` are the session's owner's: None for anybody else."""

    cluster: str
    status: str
    cause: str
    token_problem: str
    reachable: bool | None
    since: datetime | None
    answered_at: datetime | None
    version: str
    skew: str
    nodes: SlurmNodes | None
    partitions: tuple[SlurmPartition, ...]
    jobs: tuple[SlurmJob, ...] | None
    jobs_total: int | None
