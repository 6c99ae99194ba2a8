"""The labels and annotations that Slipway writes, and how it finds its own objects by them."""

from __future__ import annotations

import re

from compute.workload import Workload

FIELD_MANAGER = "slipway"
CONTAINER = "ide"
SUPPLY, ACCOUNTS = "supply", "accounts"  # containers that run before the session: another image's programs, and who is who

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "slipway"
SELECTOR = f"{MANAGED_BY}={MANAGER}"

SESSION = "slipway.dev/session"
WORKSPACE = "slipway.dev/workspace"
OWNER = "slipway.dev/owner"  # a label where the name allows one, always an annotation
COMPONENT = "slipway.dev/component"  # of the pods that Slipway itself consists of

# Annotations of a StatefulSet (and, but for the first, of its pod).
GENERATION = "slipway.dev/generation"  # the newest intent that was written
REVISION = "slipway.dev/revision"  # the revision that the pod template is of
SPEC_HASH = "slipway.dev/spec-hash"  # of what was written, to tell when somebody else changes it


def value(text: str) -> str:
    """``text`` as a label's value: characters that are not allowed become "-"; at most 63; never empty."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", text)[:63].strip("-_.")
    return plain or "none"


def of_workload(workload: Workload) -> dict[str, str]:
    """The labels of every object of a workload."""
    return {**workload.labels, MANAGED_BY: MANAGER, SESSION: workload.name, OWNER: value(workload.owner)}


def is_ours(metadata: dict[str, dict[str, str]]) -> bool:
    """Whether Slipway made the object; anything else of the same name is left alone."""
    return (metadata.get("labels") or {}).get(MANAGED_BY) == MANAGER


def init_container(number: int, name: str) -> str:
    """The container of the ``number``-th init script (from 1): a DNS label that is the script's own."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:48].strip("-")
    return f"init-{number}-{slug}".rstrip("-")
