"""What the API tells of, field by field as it names them. Fields that a newer server adds are left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from slipway.errors import Problem
from slipway.price import Price


@dataclass(frozen=True)
class Tagged:
    """``etag`` names the state that was read: give it as ``if_match``, and a write is done in that state only.
    Empty where the thing came in a list."""

    etag: str = field(default="", kw_only=True, repr=False, compare=False)


# Who you are


@dataclass(frozen=True)
class MyWorkspace:
    name: str
    display_name: str
    role: str


@dataclass(frozen=True)
class Token:
    """``workspaces`` is None for a token that reaches all of yours."""

    id: str
    name: str
    scopes: tuple[str, ...]
    workspaces: tuple[str, ...] | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True)
class Me:
    username: str
    name: str
    email: str
    is_staff: bool
    workspaces: tuple[MyWorkspace, ...]
    token: Token | None


# Workspaces and what they offer


@dataclass(frozen=True)
class Cluster:
    name: str
    display_name: str
    enabled: bool


@dataclass(frozen=True)
class Quota:
    """A limit. ``would_be`` and ``exceeded`` are those of a launch that is tried, and None else."""

    name: str
    unit: str
    used: Decimal
    limit: Decimal
    would_be: Decimal | None = None
    exceeded: bool | None = None


@dataclass(frozen=True)
class Workspace(Tagged):
    """``quota`` is None where the workspace came in a list."""

    name: str
    display_name: str
    role: str
    cluster: Cluster
    namespace: str
    default_pool: str | None
    created_at: datetime
    links: dict[str, str]
    quota: tuple[Quota, ...] | None = None


@dataclass(frozen=True)
class Image:
    name: str
    display_name: str
    description: str
    is_default: bool
    deprecated: bool
    deprecation_message: str
    reference: str
    port: int | None


@dataclass(frozen=True)
class PodSize:
    """``price_per_hour`` is the one on the workspace's default pool, None where it has none."""

    name: str
    display_name: str
    description: str
    is_default: bool
    deprecated: bool
    deprecation_message: str
    cpu: str
    memory: str
    gpus: int
    price_per_hour: Price | None


@dataclass(frozen=True)
class MountedVolume:
    claim: str
    mount_path: str
    read_only: bool


@dataclass(frozen=True)
class Probe:
    """How it is seen that an IDE answers: a GET of ``path``. The times are in seconds."""

    path: str
    period: int
    timeout: int
    failures: int
    delay: int


@dataclass(frozen=True)
class Preset(Tagged):
    """``idle_pause_seconds`` is None where idle sessions run on."""

    name: str
    display_name: str
    description: str
    ide: str
    deprecated: bool
    deprecation_message: str
    home_size: str
    home_claim: str
    idle_pause_seconds: int | None
    probe: Probe
    env: tuple[str, ...]
    data_volumes: tuple[MountedVolume, ...]
    images: tuple[Image, ...]
    pod_sizes: tuple[PodSize, ...]
    links: dict[str, str | None]


@dataclass(frozen=True)
class Prices:
    """Per hour: of a core, a GiB, a GPU."""

    cpu: Price
    memory: Price
    gpu: Price


@dataclass(frozen=True)
class ComputePool:
    name: str
    display_name: str
    description: str
    is_default: bool
    gpu_resource: str
    prices: Prices


@dataclass(frozen=True)
class SlurmCluster:
    name: str
    display_name: str


@dataclass(frozen=True)
class Configuration:
    """``env`` are the names of its variables."""

    name: str
    display_name: str
    description: str
    on_by_default: bool
    deprecated: bool
    deprecation_message: str
    env: tuple[str, ...]
    has_init_script: bool
    data_volumes: tuple[MountedVolume, ...]


# Volumes and secrets


@dataclass(frozen=True)
class VolumeUse:
    session: str
    phase: str
    mount_path: str
    read_only: bool


@dataclass(frozen=True)
class Volume(Tagged):
    """``owner`` is None for the workspace's own."""

    name: str
    pvc: str
    kind: str
    size: str
    access_mode: str
    storage_class: str
    owner: str | None
    created_at: datetime
    used_by: tuple[VolumeUse, ...]
    actions: dict[str, bool]
    links: dict[str, str]


@dataclass(frozen=True)
class TrashedVolume(Tagged):
    """Named by ``pvc``: several in the trash may have had the same name."""

    pvc: str
    name: str
    kind: str
    size: str
    owner: str | None
    trashed_at: datetime
    trashed_by: str | None
    purge_after: datetime
    links: dict[str, str]


@dataclass(frozen=True)
class Secret(Tagged):
    """Without its value, which nobody can read."""

    name: str
    description: str
    updated_at: datetime
    updated_by: str | None
    links: dict[str, str]


# Sessions


@dataclass(frozen=True)
class SessionPodSize:
    name: str
    cpu: str
    memory: str
    gpus: int


@dataclass(frozen=True)
class Claim:
    claim: str


@dataclass(frozen=True)
class Step:
    """Of the start. ``state`` is waiting, active, done or failed."""

    step: str
    label: str
    state: str
    message: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class Session(Tagged):
    """``env`` are names. ``is_settled``: ``phase`` speaks of what was asked for last, which is ``desired``."""

    name: str
    host: str
    workspace: str
    owner: str
    preset: str
    image: str
    pod_size: SessionPodSize
    compute_pool: str | None
    slurm_cluster: str | None
    home: Claim | None
    data_volumes: tuple[MountedVolume, ...]
    configurations: tuple[str, ...]
    env: tuple[str, ...]
    desired: str
    phase: str
    is_settled: bool
    reason: str
    message: str
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    price_per_hour: Price
    created_at: datetime
    phase_since: datetime
    running_since: datetime | None
    last_activity: datetime | None
    pauses_at: datetime | None
    node: str
    restarts: int
    actions: dict[str, bool]
    links: dict[str, str]

    def is_at(self, phase: str) -> bool:
        """Whether it has come to ``phase``, and not from an earlier wish."""
        return self.is_settled and self.phase == phase

    def can_reach(self, phase: str) -> bool:
        """Whether it is on its way to ``phase``, or may still get there by itself."""
        if phase == "Running":
            return self.desired == "running" and not self.is_at("Failed")
        if phase == "Paused":
            return self.desired == "paused"
        if phase == "Deleted":
            return self.desired == "deleted"
        return True


@dataclass(frozen=True)
class ResolvedMount:
    """``source`` is the configuration that mounts it, empty for your own."""

    claim: str
    mount_path: str
    read_only: bool
    source: str


@dataclass(frozen=True)
class ResolvedSpec:
    """What would run. None is what was not found, or not asked for."""

    name: str
    preset: str | None
    image: str | None
    pod_size: SessionPodSize | None
    compute_pool: str | None
    slurm_cluster: str | None
    home: dict[str, Any] | None
    data_volumes: tuple[ResolvedMount, ...]
    configurations: tuple[str, ...]
    env: tuple[str, ...]


@dataclass(frozen=True)
class Validation:
    """Of a launch that was tried: it would be done when ``errors`` is empty."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    spec: ResolvedSpec
    price_per_hour: Price
    quota: tuple[Quota, ...]


@dataclass(frozen=True)
class OpenedSession:
    """``url`` leads into the session, once, within ``expires_in`` seconds. It is a secret until then."""

    url: str = field(repr=False)
    expires_in: int


@dataclass(frozen=True)
class Log:
    """``problem`` says why the cluster would not tell; then ``text`` is the last that was kept."""

    text: str
    previous: bool
    has_previous: bool
    problem: str


@dataclass(frozen=True)
class Event:
    at: datetime
    kind: str
    reason: str
    message: str


@dataclass(frozen=True)
class Events:
    """The last hundred, newest first, of ``total``."""

    items: tuple[Event, ...]
    total: int
    problem: str


@dataclass(frozen=True)
class Activity:
    """``actor`` is None where it was the cluster, or Slipway itself."""

    at: datetime
    verb: str
    actor: str | None
    phase: str
    reason: str
    message: str


# Webhooks


@dataclass(frozen=True)
class Webhook(Tagged):
    """Without its secret. It is told of all phases where ``phases`` is empty; ``failures`` are tries in a row."""

    name: str
    url: str = field(repr=False)  # an address may be a key
    phases: tuple[str, ...]
    enabled: bool
    failures: int
    created_at: datetime
    created_by: str | None
    links: dict[str, str]


@dataclass(frozen=True)
class WebhookWithSecret(Webhook):
    """``secret``, which its events are signed with, is shown this once. None when the first answer got lost: renew it then."""

    secret: str | None = field(repr=False)


@dataclass(frozen=True)
class Delivery(Tagged):
    """What was, or is to be, sent. ``session`` is its host, empty for a test event; ``duration`` is in seconds."""

    id: str
    type: str
    session: str
    status: str
    attempts: int
    created_at: datetime
    tried_at: datetime | None
    next_try_at: datetime | None
    response_code: int | None
    response_text: str
    error: str
    duration: float | None
    payload: dict[str, Any]
