"""The contract between Slipway and a cluster: plain values, no Django rows, no Kubernetes objects.

A :class:`Workload` is everything a session asks of a cluster; an :class:`Observation` is everything a
cluster says of one workload. Drivers (``compute/clusters``) turn the first into running things and
produce the second; nothing else crosses the line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Step(StrEnum):
    """The four things that happen while a session is Pending, in their order."""

    COMPUTE = "compute"
    IMAGE = "image"
    STORAGE = "storage"
    SERVER = "server"


class StepState(StrEnum):
    WAITING = "waiting"
    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class Claim:
    """A persistent volume claim that must exist before the workload runs. ``size`` is a Kubernetes quantity."""

    name: str
    size: str
    access_mode: str = "ReadWriteOnce"
    storage_class: str = ""
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Mount:
    """Where a claim appears inside the session. ``path`` is absolute and normalised."""

    claim: str
    path: str
    read_only: bool = False
    home: bool = False


@dataclass(frozen=True)
class InitScript:
    """A POSIX shell script that runs to its end before the IDE starts; a non-zero exit fails the session."""

    name: str
    script: str


@dataclass(frozen=True)
class File:
    """A small read-only text file that the session sees at the absolute ``path``. Nothing secret."""

    path: str
    content: str


@dataclass(frozen=True)
class Program:
    """A small executable script that is found on PATH by its name, before anything of the image. Nothing secret."""

    name: str
    script: str


@dataclass(frozen=True)
class Supply:
    """Programs from another image: ``script``, run in it before the session starts, copies what is needed to ``$TARGET``."""

    image: str
    script: str


@dataclass(frozen=True)
class Namespace:
    """A workspace's slice of a cluster, and what all of its workloads together may use. None or empty: no limit.

    ``sessions`` counts running ones; ``cpu``, ``memory`` and ``storage`` are Kubernetes quantities; ``gpus`` counts every
    resource of ``gpu_resources``.
    """

    name: str
    workspace: str
    sessions: int | None = None
    cpu: str = ""
    memory: str = ""
    storage: str = ""
    gpus: int | None = None
    gpu_resources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Account:
    """Whom the session's processes run as, in numbers, and what programs call it."""

    uid: int = 1000
    gid: int = 100
    name: str = ""


@dataclass(frozen=True)
class Resources:
    """``cpu`` in cores and ``memory`` as Kubernetes quantities ("500m", "2Gi"); ``gpus`` counts ``gpu_resource``."""

    cpu: str
    memory: str
    gpus: int = 0
    gpu_resource: str = ""


@dataclass(frozen=True)
class Probe:
    """How to see that the IDE answers: a GET of ``path`` whose status is in ``statuses`` (empty: any from 200 to 399).

    ``quiet_path`` is asked instead once it has answered, where asking ``path`` would count as use of the IDE. In seconds:
    ``period``, ``timeout``, and the ``delay`` before the first question; ``failures`` in a row, and it does not answer.
    """

    path: str
    statuses: tuple[int, ...] = (200,)
    quiet_path: str = ""
    period: int = 1
    timeout: int = 5
    failures: int = 6
    delay: int = 0


@dataclass(frozen=True)
class Workload:
    """One session as a cluster is to run it. ``secret_env`` differs from ``env`` only in how it must be kept.

    ``revision`` changes exactly when the running thing must be replaced by a new one (each launch, resume or retry);
    applying the same revision again is a no-op on a cluster that already has it.
    ``generation`` says which intent asks for it, see ``Driver``. ``start_timeout`` is in seconds.
    ``command`` starts the IDE in a container image (a local recipe has its own); ``home`` is the home directory.
    ``account`` is who its processes run as; without one, whoever the cluster runs sessions as. ``known_accounts`` are those
    that programs must find by name where the image does not know them: its own, and others.

    ``programs`` are in a folder of their own, ``bin``. Beside it are ``live``, with the ``live_files`` (name → secret text)
    that ``Driver.write_files`` replaces while the session runs, and ``supply``, what the ``supply`` has copied.
    """

    name: str
    namespace: str
    revision: int
    image: str
    ide: str
    token: str
    port: int
    resources: Resources
    owner: str
    env: dict[str, str] = field(default_factory=dict)
    secret_env: dict[str, str] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    mounts: tuple[Mount, ...] = ()
    init_scripts: tuple[InitScript, ...] = ()
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, str], ...] = ()
    probe: Probe = Probe("/")
    labels: dict[str, str] = field(default_factory=dict)
    start_timeout: int = 300
    generation: int = 0
    command: tuple[str, ...] = ()
    home: str = ""
    files: tuple[File, ...] = ()
    account: Account | None = None
    known_accounts: tuple[Account, ...] = ()
    programs: tuple[Program, ...] = ()
    live_files: dict[str, str] = field(default_factory=dict)
    supply: Supply | None = None


@dataclass(frozen=True)
class StepStatus:
    """What the cluster knows of one step; times are aware datetimes, ``message`` one sentence or empty."""

    step: Step
    state: StepState
    started_at: datetime | None = None
    finished_at: datetime | None = None
    message: str = ""


NODE_LOST = "NodeLost"  # the node does not answer: nobody knows what runs there


@dataclass(frozen=True)
class Observation:
    """What a cluster says of one workload at one moment.

    ``exists``: the cluster holds anything of the workload that uses compute or is about to (processes, pods).
    ``retained``: the cluster still remembers the workload (a paused one has no processes but is retained).
    ``revision``: the revision of the workload that the rest of the fields speak of (0: none).
    ``ready``: the IDE answers its probe at ``endpoint`` (``IP:port`` or ``unix:/path``).
    ``failed``: the cluster has given up; ``reason`` is a CamelCase word (``NODE_LOST`` means the same of every driver),
    ``message`` a sentence for the user.
    ``warnings``: things the user should know that stop nothing (a read-only mount that cannot be enforced).
    ``drifted``: somebody else changed what was applied; applying it again puts it back.
    ``stuck``: it was told to end and should have ended by now; ``message`` says so.
    """

    name: str
    namespace: str
    at: datetime
    exists: bool
    retained: bool = True
    revision: int = 0
    ready: bool = False
    failed: bool = False
    reason: str = ""
    message: str = ""
    steps: tuple[StepStatus, ...] = ()
    endpoint: str = ""
    restarts: int = 0
    node: str = ""
    log_tail: str = ""
    warnings: tuple[str, ...] = ()
    drifted: bool = False
    stuck: bool = False
