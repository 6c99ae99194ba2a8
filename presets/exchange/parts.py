"""Parts of pods that several kinds of documents share: amounts, variables, volumes. Each says what it could not take."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError

from compute.validators import overlapping_paths, parse_quantity, validate_cpu, validate_env_name, validate_memory
from presets.exchange.drafts import MountDraft, Note, limit, summary
from presets.exchange.reading import Node
from presets.models import ConfigurationVolume, PodSize
from presets.variables import is_understood

CPU, MEMORY = "500m", "1Gi"
MAX_VALUE = 32 * 1024
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE|(^|_)(KEY|PWD)($|_)", re.IGNORECASE)
NO_LIMIT_ABOVE = "A session may use what it is given, and no more: what it requests is its limit as well."


def note(notes: list[Note], node: Node, why: str, value: str | None = None) -> None:
    notes.append(Note(node.path, summary(node.value) if value is None else value, why))


def refusal(validate: Callable[[str], None], value: str) -> str:
    """What the validator has against the value; empty when it takes it."""
    try:
        validate(value)
    except ValidationError as error:
        return " ".join(error.messages)
    return ""


# Amounts


def amounts(resources: Node, notes: list[Note]) -> dict[str, Any] | None:
    """CPU, memory and GPUs of a pod size; None, and a note, when no pod size can be made of them."""
    requests, limits = resources.get("requests"), resources.get("limits")
    found: dict[str, Any] = {}
    for name, fallback, validate in (("cpu", CPU, validate_cpu), ("memory", MEMORY, validate_memory)):
        asked, most = requests.get(name).quantity(), limits.get(name).quantity()
        found[name] = asked or most or fallback
        if not asked and not most:
            note(notes, resources, f"A pod size needs CPU and memory, and none is said: it gets {name} {fallback}.", f"no {name}")
        elif why := refusal(validate, found[name]) or (len(found[name]) > limit(PodSize, name) and "Write it shorter."):
            note(notes, (requests if asked else limits).get(name), f"The pod size is left out. {why}", found[name][:40])
            return None
        if asked and not (most and _equal(asked, most)):
            note(notes, limits.get(name), NO_LIMIT_ABOVE, most[:40] or "no limit")
    found["gpus"] = _gpus(requests, limits, notes)
    return found


def _equal(one: str, other: str) -> bool:
    try:
        return parse_quantity(one) == parse_quantity(other)
    except (ValueError, ArithmeticError):
        return one == other


def _gpus(requests: Node, limits: Node, notes: list[Note]) -> int:
    """How many, of the first resource that is one; the compute pool says what it is called."""
    count, counted = 0, ""
    for key, node in [*limits.entries(), *requests.entries()]:
        if key in ("cpu", "memory", counted):
            continue
        text = node.quantity()
        if "gpu" in key.lower() and not counted and re.fullmatch("[0-9]{1,2}", text, re.ASCII) and int(text) <= 64:
            count, counted = int(text), key
        elif text != "0":
            note(notes, node, "A pod size has CPU, memory and up to 64 GPUs of one kind only.", text[:40])
    return count


# Variables


@dataclass
class Variables:
    """``carried`` are values by name; ``kept`` are the entries, as they came, that an export writes again."""

    carried: dict[str, str] = field(default_factory=dict)
    kept: list[dict[str, Any]] = field(default_factory=list)


def variables(entries: Node, notes: list[Note], templates: bool) -> Variables:
    """Environment variables. ``templates``: the values may be Go templates, as those of a WorkspaceKind are."""
    found = Variables()
    for node in entries.items("name"):
        name, value = node.get("name").text(), node.get("value")
        raw = value.value if isinstance(value.value, str) else value.text()
        if why := _why_no_variable(node, name, raw, templates):
            note(notes, node, why, f"{len(raw)} characters" if value else "a reference")
            found.kept.append(node.value)
        else:
            found.carried[name] = raw.replace("$$", "$")
    return found


def _why_no_variable(node: Node, name: str, value: str, templates: bool) -> str:
    if name == "NB_PREFIX":
        return "Not needed: Slipway serves each session at the root of an origin of its own."
    if node.get("valueFrom"):
        return "Slipway reads no fields, ConfigMaps and Secrets of the cluster: put secrets into the workspace's bundle, under this name."
    if why := refusal(validate_env_name, name):
        return why
    if len(value) > MAX_VALUE:
        return "A value may have at most 32 KiB."
    if "$(" in value.replace("$$", ""):
        return "Slipway takes values as they are: it does not put other variables into them, as Kubernetes does with $(NAME)."
    if templates and not is_understood(value):
        return "Of Go's templates, Slipway knows httpPathPrefix only."
    return ""


def looks_secret(name: str) -> bool:
    """Whether a variable of this name is stored as a secret one: write-only."""
    return bool(SECRET_NAME.search(name))


# Volumes


@dataclass
class Volumes:
    """``carried`` are claims by name; the kept lists are the volumes and mounts, as they came, that an export writes again."""

    carried: list[MountDraft] = field(default_factory=list)
    kept_volumes: list[dict[str, Any]] = field(default_factory=list)
    kept_mounts: list[dict[str, Any]] = field(default_factory=list)


def volumes(volume_list: Node, mount_list: Node, notes: list[Note]) -> Volumes:
    """Mounted claims become data volumes of the same name, and shared memory is there anyway; all else is named."""
    found = Volumes()
    by_name = {node.get("name").text(): node for node in volume_list.items("name")}
    used: set[str] = set()
    for mount in mount_list.items("mountPath"):
        name = mount.get("name").text(required=True)
        volume = by_name.get(name)
        draft = MountDraft(
            volume=volume.get("persistentVolumeClaim", "claimName").text() if volume else "",
            mount_path=mount.get("mountPath").text(),
            read_only=mount.get("readOnly").flag() or bool(volume and volume.get("persistentVolumeClaim", "readOnly").flag()),
        )
        if why := _why_no_mount(mount, volume, draft, found.carried):
            found.kept_mounts.append(mount.value)
            used.add(name)
            if why != SHARED_MEMORY:
                note(notes, mount, why, name)
        else:
            found.carried.append(draft)
    mounted = {mount.get("name").text() for mount in mount_list.items("mountPath")}
    for name, node in by_name.items():
        if name not in mounted:
            note(notes, node, "Nothing mounts it.", name)
        if name in used or name not in mounted:
            found.kept_volumes.append(node.value)
    return found


SHARED_MEMORY = "shared memory"  # every session has it


def _why_no_mount(mount: Node, volume: Node | None, draft: MountDraft, others: list[MountDraft]) -> str:
    if volume is None:
        return "There is no such volume in the file."
    scratch = volume.get("emptyDir").mapping()
    if draft.mount_path == "/dev/shm" and scratch.get("medium") == "Memory":  # noqa: S108
        return SHARED_MEMORY if set(scratch) == {"medium"} else "Every session has its own shared memory, with no size limit of its own."
    if not draft.volume:
        kind = next((key for key in volume.mapping() if key != "name"), "volume")
        return f"A session mounts the workspace's data volumes, and nothing of the cluster: no {kind}."
    if extra := set(mount.mapping()) - {"name", "mountPath", "readOnly"}:
        return f"A data volume is mounted whole and plainly: no {', '.join(sorted(extra))}."
    row = ConfigurationVolume(volume=draft.volume, mount_path=draft.mount_path, read_only=draft.read_only)
    try:
        row.clean_fields(exclude={"configuration"})
        row.clean()
    except ValidationError as error:
        return " ".join(error.messages)
    if any(draft.volume == other.volume or overlapping_paths([draft.mount_path, other.mount_path]) for other in others):
        return "Another mount has this volume, or a path in its way."
    return ""


# What every session's pod has

ACCOUNT = "Every session runs as the account 1000, group 100, without privileges, under the runtime's seccomp profile."
SAME: Mapping[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 100,
    "fsGroup": 100,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
    "allowPrivilegeEscalation": False,
    "privileged": False,
    "readOnlyRootFilesystem": False,
    "capabilities": {"drop": ["ALL"]},
}


def security(context: Node, notes: list[Note]) -> None:
    """A note for each thing that Slipway would do otherwise."""
    for key, node in context.entries():
        if node and node.value != SAME.get(key) and node.value not in ({}, []):
            note(notes, node, ACCOUNT)
