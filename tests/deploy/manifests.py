"""deploy/kubernetes as objects: rendered as `kubectl kustomize` renders it, and asked about."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
BASE = KUBERNETES / "base"
EXAMPLE = KUBERNETES / "overlays" / "example"
SECRET_KEYS = {"SLIPWAY_SECRET_KEY", "SLIPWAY_ENCRYPTION_KEYS", "DATABASE_URL"}


def render(folder: Path) -> list[Object]:
    """What `kubectl kustomize` makes of a folder. kubectl must be 1.21 or newer: older ones know no overlays of this form."""
    result = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert not result.stderr, result.stderr  # above all its warnings of what is deprecated
    return [one for one in yaml.safe_load_all(result.stdout) if one]


def render_example() -> list[Object]:
    """The example overlay with its example secret in place."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(KUBERNETES, Path(folder) / "kubernetes")) / "overlays" / "example"
        shutil.copy(copy / "secret.env.example", copy / "secret.env")
        return render(copy)


def of_kind(objects: list[Object], *kinds: str) -> dict[str, Object]:
    """Those of the kinds, by name."""
    return {one["metadata"]["name"]: one for one in objects if one["kind"] in kinds}


def pods(objects: list[Object]) -> dict[str, Object]:
    """The pod templates of Deployments and Jobs, by the name of what owns them."""
    return {name: owner["spec"]["template"] for name, owner in of_kind(objects, "Deployment", "Job").items()}


def containers(template: Object) -> Iterator[Object]:
    """Init containers, too."""
    yield from template["spec"].get("initContainers", [])
    yield from template["spec"]["containers"]
