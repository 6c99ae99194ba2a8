"""Documents to import, and Kubeflow's own schemas to hold exports against.

Kubeflow's files stay outside of the repository: in ``../shared/kubeflow``, or where ``SLIPWAY_TEST_KUBEFLOW`` says.
"""

from __future__ import annotations

import os
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from jsonschema import Draft7Validator

from presets.exchange import Options, Source, apply, export, preview
from presets.exchange.export import exported_configurations, exported_presets

KUBEFLOW = Path(os.environ.get("SLIPWAY_TEST_KUBEFLOW", Path(settings.BASE_DIR).parent / "shared" / "kubeflow"))
ANY = Options()
Json = dict[str, Any]


def kubeflow_file(name: str) -> Path:
    path = KUBEFLOW / name
    if not path.exists():
        told = f"Set SLIPWAY_TEST_KUBEFLOW to a folder with Kubeflow's own files: {path} is not there."
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    return path


@cache
def schema(name: str) -> Json:
    """A CRD's schema, stricter than Kubernetes is: a field that it does not know is an error here, not dropped."""
    crd = yaml.safe_load(kubeflow_file(name).read_text())
    found: Json = next(version["schema"]["openAPIV3Schema"] for version in crd["spec"]["versions"] if version["served"])
    found = deepcopy(found)
    _closed(found)
    metadata = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string", "pattern": "^[a-z0-9.-]{1,253}$"}}}
    return {**found, "properties": {**found["properties"], "metadata": metadata}}


def _closed(part: Any) -> None:
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _closed(value)
    if isinstance(part, dict) and part.get("type") == "object" and "properties" in part and part.get("properties"):
        part.setdefault("additionalProperties", False)


def schema_errors(document: Json) -> list[str]:
    name = "crd-workspacekinds.yaml" if document["kind"] == "WorkspaceKind" else "crd-poddefaults.yaml"
    found = [f"{error.json_path}: {error.message}" for error in Draft7Validator(schema(name)).iter_errors(document)]
    return [*found, *_twice(document, schema(name), "$")]


def _twice(value: Any, part: Json, path: str) -> list[str]:
    """List items with the same key, which JSON Schema has no word for."""
    found = []
    if isinstance(value, dict):
        for key, item in value.items():
            found += _twice(item, part.get("properties", {}).get(key, {}), f"{path}.{key}")
    elif isinstance(value, list):
        keys = part.get("x-kubernetes-list-map-keys")
        names = [tuple(str(item.get(key)) for key in keys) for item in value] if keys else []
        found = [f"{path}: {name} comes twice" for name in {name for name in names if names.count(name) > 1}]
        for number, item in enumerate(value):
            found += _twice(item, part.get("items", {}), f"{path}[{number}]")
    return found


def image(id_: str, reference: str = "", **more: Any) -> Json:
    spec = {"image": reference or f"quay.io/jupyter/{id_.replace(':', '-')}:1", "ports": [{"id": "jupyterlab", "port": 8888}]}
    return {"id": id_, "spawner": {"displayName": f"Image {id_}"}, "spec": spec, **more}


def pod(id_: str, cpu: str = "1", memory: str = "2Gi", **more: Any) -> Json:
    amounts = {"cpu": cpu, "memory": memory}
    spec = {"resources": {"requests": amounts, "limits": dict(amounts)}}
    return {"id": id_, "spawner": {"displayName": f"Pod {id_}"}, "spec": spec, **more}


def kind(name: str = "lab", images: list[Json] | None = None, pods: list[Json] | None = None, **template: Any) -> Json:
    """A WorkspaceKind that Slipway carries wholly, but for its pictures."""
    images, pods = images or [image("minimal")], pods or [pod("small")]
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "WorkspaceKind",
        "metadata": {"name": name},
        "spec": {
            "spawner": {
                "displayName": "Lab",
                "description": "A laboratory",
                "icon": {"url": "https://example.com/icon.svg"},
                "logo": {"url": "https://example.com/logo.svg"},
            },
            "podTemplate": {
                "volumeMounts": {"home": "/home/jovyan"},
                "ports": [{"id": "jupyterlab", "defaultDisplayName": "JupyterLab", "protocol": "HTTP"}],
                "options": {
                    "imageConfig": {"spawner": {"default": images[-1]["id"]}, "values": images},
                    "podConfig": {"spawner": {"default": pods[0]["id"]}, "values": pods},
                },
                **template,
            },
        },
    }


def pod_default(name: str = "proxy", metadata: Json | None = None, **spec: Any) -> Json:
    return {
        "apiVersion": "kubeflow.org/v1alpha1",
        "kind": "PodDefault",
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"selector": {"matchLabels": {name: "true"}}, "desc": "Use the proxy", **spec},
    }


def source(*documents: Any, name: str = "catalog.yaml") -> Source:
    return Source(name, yaml.safe_dump_all(documents, sort_keys=False))


def bring(*documents: Any, options: Options = ANY) -> Any:
    return apply(None, [source(*documents)], options)


def look(*documents: Any, options: Options = ANY) -> Any:
    return preview([source(*documents)], options)


def changes(plan: Any) -> list[tuple[str, str, str, str, str]]:
    """Every change: noun, name, field, old, new."""
    return [
        (row.noun, row.name, change.label, change.old, change.new) for item in plan.items for row in item.changes for change in row.fields
    ]


def lost(plan: Any) -> dict[str, str]:
    """What is not carried: path → why."""
    return {note.path: note.why for item in plan.items for note in item.notes}


def written() -> list[Json]:
    """The whole catalog, exported."""
    return [one.document for one in export(exported_presets(), exported_configurations()) if one.document]
