"""What Slipway remembers of a cluster's objects: only the fields that a session's status needs.

Ten thousand sessions are held at once, so records have slots, no dictionaries, and share the strings that repeat. Two
records of one object are equal exactly when nothing that matters has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from sys import intern
from typing import Any

from compute.clusters.kubernetes import labels
from compute.clusters.kubernetes.objects import spec_hash

Key = tuple[str, str]  # namespace and name
Raw = Mapping[str, Any]

# What events can explain; anything else they say is in conditions and container states as well, or is no news.
EXPLAINED = {
    "Pod": {"Pulling", "Pulled", "Failed", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"},
    "StatefulSet": {"FailedCreate", "SuccessfulCreate"},
    "PersistentVolumeClaim": {"ProvisioningFailed", "FailedBinding"},
}
# What comes most often of the rest. The cluster is asked to leave it out: most of a launch's events are of these.
UNEXPLAINING = ("Scheduled", "FailedScheduling", "Created", "Started", "Killing", "BackOff", "Unhealthy", "ExternalProvisioning")
LONGEST_MESSAGE = 600


@dataclass(frozen=True, slots=True)
class StatefulSet:
    """``spec_generation`` counts changes of the spec; ``applied_hash`` and ``live_hash`` differ when somebody else made one."""

    namespace: str
    name: str
    uid: str
    created: datetime | None
    deleting: bool
    replicas: int
    revision: int
    spec_generation: int
    applied_hash: str
    live_hash: str

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def drifted(self) -> bool:
        return bool(self.applied_hash) and self.applied_hash != self.live_hash


@dataclass(frozen=True, slots=True)
class Ended:
    """One run of a container that is over."""

    exit_code: int
    reason: str
    message: str
    started: datetime | None
    finished: datetime | None


@dataclass(frozen=True, slots=True)
class Container:
    """``waiting`` is the reason why it does not run (empty: it runs, or has ended); ``last`` is the run before this one."""

    name: str
    ready: bool
    restarts: int
    pulled: bool
    waiting: str = ""
    message: str = ""
    started: datetime | None = None
    ended: Ended | None = None
    last: Ended | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    kind: str
    status: str
    reason: str
    message: str
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Pod:
    """``deadline``: when a pod that is being deleted should be gone; None for one that stays."""

    namespace: str
    name: str
    uid: str
    session: str
    revision: int
    created: datetime | None
    deadline: datetime | None
    node: str
    image: str
    port: int
    claims: tuple[str, ...]
    phase: str
    reason: str
    message: str
    ip: str
    conditions: tuple[Condition, ...]
    init: tuple[Container, ...]
    containers: tuple[Container, ...]

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def ide(self) -> Container | None:
        return next((container for container in self.containers if container.name == labels.CONTAINER), None)

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.kind == kind), None)

    def is_true(self, kind: str) -> bool:
        condition = self.condition(kind)
        return condition is not None and condition.status == "True"


@dataclass(frozen=True, slots=True)
class PVC:
    namespace: str
    name: str
    uid: str
    phase: str
    storage_class: str
    deleting: bool

    @property
    def key(self) -> Key:
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class Event:
    """The newest event of one reason about one object. ``about`` is that object's uid."""

    namespace: str
    uid: str
    kind: str
    name: str
    about: str
    reason: str
    message: str
    first: datetime | None
    at: datetime | None
    count: int

    @property
    def key(self) -> Key:
        return event_key(self.namespace, self.kind, self.name, self.reason)


def event_key(namespace: str, kind: str, name: str, reason: str) -> Key:
    return namespace, f"{kind}/{name}/{reason}"


def statefulset(raw: Raw, before: StatefulSet | None = None) -> StatefulSet:
    """``before`` is an older record of the same object: its hash is taken over while the spec is the same."""
    meta, spec = raw["metadata"], raw.get("spec") or {}
    notes = meta.get("annotations") or {}
    replicas = int(spec.get("replicas", 1))
    generation = int(meta.get("generation") or 0)
    applied = intern(notes.get(labels.SPEC_HASH, ""))
    if before is not None and (before.uid, before.spec_generation) == (meta.get("uid", ""), generation) and generation:
        live = before.live_hash
    elif not replicas or not applied:
        live = applied  # what does not run is written again before it does
    else:
        live = intern(spec_hash(raw))
    return StatefulSet(
        namespace=intern(meta["namespace"]),
        name=intern(meta["name"]),
        uid=meta.get("uid", ""),
        created=_time(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        replicas=replicas,
        revision=_number(notes.get(labels.REVISION)),
        spec_generation=generation,
        applied_hash=applied,
        live_hash=live,
    )


def pod(raw: Raw, before: Pod | None = None) -> Pod:
    meta, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    ide: Raw = next((c for c in spec.get("containers") or () if c["name"] == labels.CONTAINER), {})
    return Pod(
        namespace=intern(meta["namespace"]),
        name=meta["name"],
        uid=meta.get("uid", ""),
        session=intern((meta.get("labels") or {}).get(labels.SESSION, "")),
        revision=_number((meta.get("annotations") or {}).get(labels.REVISION)),
        created=_time(meta.get("creationTimestamp")),
        deadline=_time(meta.get("deletionTimestamp")),
        node=intern(spec.get("nodeName") or ""),
        image=intern(ide.get("image", "")),
        port=next((port["containerPort"] for port in ide.get("ports") or ()), 0),
        claims=tuple(v["persistentVolumeClaim"]["claimName"] for v in spec.get("volumes") or () if v.get("persistentVolumeClaim")),
        phase=intern(status.get("phase") or ""),
        reason=intern(status.get("reason") or ""),
        message=_short(status.get("message")),
        ip=status.get("podIP") or "",
        conditions=tuple(_condition(one) for one in status.get("conditions") or ()),
        init=tuple(_container(one) for one in status.get("initContainerStatuses") or ()),
        containers=tuple(_container(one) for one in status.get("containerStatuses") or ()),
    )


def pvc(raw: Raw, before: PVC | None = None) -> PVC:
    meta = raw["metadata"]
    return PVC(
        namespace=intern(meta["namespace"]),
        name=intern(meta["name"]),
        uid=meta.get("uid", ""),
        phase=intern((raw.get("status") or {}).get("phase") or ""),
        storage_class=intern((raw.get("spec") or {}).get("storageClassName") or ""),
        deleting=bool(meta.get("deletionTimestamp")),
    )


def event(raw: Raw, before: Event | None = None) -> Event | None:
    """None for an event that explains nothing of a session: most of a cluster's events."""
    about = raw.get("involvedObject") or {}
    kind, name, reason = about.get("kind") or "", about.get("name") or "", raw.get("reason") or ""
    message = raw.get("message") or ""
    if reason not in EXPLAINED.get(kind, ()) or (kind == "Pod" and not name.endswith("-0")):
        return None
    if reason == "Failed" and not message.startswith("Failed to pull"):  # "Error: ErrImagePull" says less than it hides
        return None
    series = raw.get("series") or {}
    made = raw["metadata"].get("creationTimestamp")
    latest = _time(series.get("lastObservedTime") or raw.get("lastTimestamp") or raw.get("eventTime") or made)
    return Event(
        namespace=intern(about.get("namespace") or raw["metadata"]["namespace"]),
        uid=raw["metadata"].get("uid", ""),
        kind=intern(kind),
        name=name,
        about=about.get("uid") or "",
        reason=intern(reason),
        message=_short(message),
        first=_time(raw.get("firstTimestamp") or raw.get("eventTime") or made) or latest,
        at=latest,
        count=int(series.get("count") or raw.get("count") or 1),
    )


def _condition(raw: Raw) -> Condition:
    return Condition(
        kind=intern(raw["type"]),
        status=intern(raw["status"]),
        reason=intern(raw.get("reason") or ""),
        message=_short(raw.get("message")),
        since=_time(raw.get("lastTransitionTime")),
    )


def _container(raw: Raw) -> Container:
    state = raw.get("state") or {}
    waiting, running, ended = state.get("waiting"), state.get("running"), _ended(state.get("terminated"))
    last = _ended((raw.get("lastState") or {}).get("terminated"))
    return Container(
        name=intern(raw["name"]),
        ready=bool(raw.get("ready")),
        restarts=int(raw.get("restartCount") or 0),
        pulled=bool(raw.get("imageID") or running or ended or last),
        waiting=intern((waiting.get("reason") or "ContainerCreating") if waiting is not None else ""),
        message=_short((waiting or {}).get("message")),
        started=_time((running or {}).get("startedAt")),
        ended=ended,
        last=last,
    )


def _ended(raw: Raw | None) -> Ended | None:
    if raw is None:
        return None
    return Ended(
        exit_code=int(raw.get("exitCode") or 0),
        reason=intern(raw.get("reason") or ""),
        message=_short(raw.get("message")),
        started=_time(raw.get("startedAt")),
        finished=_time(raw.get("finishedAt")),
    )


def _time(text: str | None) -> datetime | None:
    """Of a run that never began, container runtimes say that it did in 1970."""
    return datetime.fromisoformat(text) if text and not text.startswith("1970-") else None


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else 0


def _short(text: str | None) -> str:
    text = (text or "").strip()
    return intern(text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…")
