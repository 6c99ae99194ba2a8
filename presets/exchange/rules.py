"""What becomes of each field of a foreign document, as a table in the shape of the document itself.

A leaf is either ``CARRIED`` (the parser reads it, and itself says what of it could not be taken) or the reason why it can't
be carried. ``"*"`` stands for any other key; lists are written like their items. A field that a table does not have is
reported as unknown, so nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from presets.exchange.drafts import Note, summary

Table = Mapping[str, Any]
CARRIED = ""
UNKNOWN = "Slipway does not know this field."

LABELS = "Slipway's catalog has no labels and annotations."
PICTURE = "Slipway fetches no picture: that place would learn who looks. Upload it on the preset's page, or write it as a data: URL."
NO_MAP = "Its ConfigMap is not among the files: add it to them, or upload the picture on the preset's page."
FILTERS = "Slipway limits a preset to workspaces by name, on the preset's page, not by labels."
BY_LABELS = "Slipway pauses idle sessions by preset, not by the labels of namespaces and pod sizes."
SCRIPT = "Slipway asks the IDE itself when it was used last; it runs no script in sessions for that."
RHYTHM = "Slipway asks more often the shorter the limit is: ten times within it, and every five minutes at least."
ACCOUNT = "Sessions get no service account token."
POD_LABELS = "Sessions' pods have Slipway's labels only."
PROBES = "Slipway ends no session for answering late: it may be a busy notebook."
STARTUP = "A preset has one probe, for its readiness. How long a start may take is said for all sessions."
PROXY = "Each session has an origin of its own, at whose root the IDE is served: there is no prefix to strip, and no header to set."
PORT_NAME = "A session has one button, Open."
MESSAGE = "A redirect in Slipway has no message: new sessions, and paused ones at their next resume, get the successor."
TAGS = "Slipway's catalog has no labels on its entries."
PULL = "Slipway leaves it to the cluster when to pull: Always for the tag latest, else IfNotPresent."
PLACEMENT = "Compute pools say where pods may land: put it into a pool."
DEVICES = "A pod size has CPU, memory and GPUs only."

SPAWNER_OPTION: Table = {"displayName": CARRIED, "description": CARRIED, "hidden": CARRIED, "labels": TAGS}
REDIRECT: Table = {"to": CARRIED, "message": MESSAGE}
METADATA: Table = {
    "name": CARRIED,
    "namespace": CARRIED,
    "labels": LABELS,
    "annotations": {"slipway.dev/ide": CARRIED, "kubectl.kubernetes.io/last-applied-configuration": CARRIED, "*": LABELS},
    # What the API server writes.
    **dict.fromkeys(("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "finalizers"), CARRIED),
}
POD_TEMPLATE: Table = {
    # Of alpha.3; the parser sees them where beta.0 has them.
    "culling": {
        "enabled": CARRIED,
        "maxInactiveSeconds": CARRIED,
        "activityProbe": {"exec": SCRIPT, "jupyter": {"lastActivity": CARRIED, "portId": CARRIED}},
    },
    "httpProxy": PROXY,
    "podMetadata": {"labels": POD_LABELS, "annotations": POD_LABELS},
    "serviceAccount": ACCOUNT,
    "activityProbe": {
        "jupyter": {"lastActivity": CARRIED, "portId": CARRIED},
        "podExec": SCRIPT,
        "minProbeIntervalSeconds": RHYTHM,
        "probeIntervalSeconds": RHYTHM,
    },
    "probes": {"readinessProbe": CARRIED, "livenessProbe": PROBES, "startupProbe": STARTUP},
    "volumeMounts": {"home": CARRIED},
    "ports": {"id": CARRIED, "protocol": CARRIED, "defaultDisplayName": PORT_NAME, "httpProxy": PROXY},
    "extraEnv": CARRIED,
    "extraVolumeMounts": CARRIED,
    "extraVolumes": CARRIED,
    "securityContext": CARRIED,
    "containerSecurityContext": CARRIED,
    "options": {
        "imageConfig": {
            "spawner": {"default": CARRIED},
            "values": {
                "id": CARRIED,
                "spawner": SPAWNER_OPTION,
                "redirect": REDIRECT,
                "spec": {"image": CARRIED, "imagePullPolicy": CARRIED, "ports": CARRIED},
            },
        },
        "podConfig": {
            "spawner": {"default": CARRIED},
            "values": {
                "id": CARRIED,
                "spawner": SPAWNER_OPTION,
                "redirect": CARRIED,
                "spec": {
                    "affinity": PLACEMENT,
                    "nodeSelector": PLACEMENT,
                    "tolerations": PLACEMENT,
                    "resources": {"requests": CARRIED, "limits": CARRIED, "claims": DEVICES},
                },
            },
        },
    },
}
WORKSPACE_KIND: Table = {
    "apiVersion": CARRIED,
    "kind": CARRIED,
    "metadata": METADATA,
    "status": CARRIED,
    "spec": {
        "spawner": {
            **dict.fromkeys(("displayName", "description", "hidden", "deprecated", "deprecationMessage"), CARRIED),
            "icon": CARRIED,
            "logo": CARRIED,
        },
        "filterRules": FILTERS,
        "activityRules": CARRIED,
        "podTemplate": POD_TEMPLATE,
    },
}

IMAGES_OWN = "Slipway starts the IDE itself, in the image that the user chose."
POD_DEFAULT: Table = {
    "apiVersion": CARRIED,
    "kind": CARRIED,
    "metadata": METADATA,
    "status": CARRIED,
    "spec": {
        # Which pods get it: in Slipway a user switches it on.
        "selector": CARRIED,
        "desc": CARRIED,
        "env": CARRIED,
        "envFrom": "Slipway reads no ConfigMaps and Secrets of the cluster: write variables, or put secrets into the workspace's bundle.",
        "volumes": CARRIED,
        "volumeMounts": CARRIED,
        "labels": POD_LABELS,
        "annotations": POD_LABELS,
        "tolerations": PLACEMENT,
        "serviceAccountName": ACCOUNT,
        "automountServiceAccountToken": CARRIED,
        "imagePullSecrets": "The cluster's nodes, or the namespace's default service account, must be able to pull the images.",
        "initContainers": "A configuration has an init script, which runs in the session's own image.",
        "sidecars": "A session is one container.",
        "command": IMAGES_OWN,
        "args": IMAGES_OWN,
    },
}


def left_out(content: Mapping[str, Any], table: Table, path: str = "") -> Iterator[Note]:
    """A note for each field that the table does not carry. Null and empty values say nothing, so nothing is said of them.

    ``content`` is what a document has at ``path``.
    """
    for key, value in content.items():
        if value is None or value in ({}, []):
            continue
        place = f"{path}.{key}" if path else key
        verdict = table.get(key, table.get("*", UNKNOWN))
        if isinstance(verdict, str):
            if verdict:
                yield Note(place, summary(value, secret=verdict in (UNKNOWN, LABELS)), verdict)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield from left_out(item, verdict, f"{place}[{item.get('id') or number}]")
        elif isinstance(value, Mapping):
            yield from left_out(value, verdict, place)


UNLISTED = "Users choose among the images that the catalog has."
NOT_HERE = "Slipway has no such setting of KubeSpawner."
AMOUNTS = ("cpu_guarantee", "cpu_limit", "mem_guarantee", "mem_limit", "extra_resource_guarantees", "extra_resource_limits")
OVERRIDE: Table = {
    **dict.fromkeys(("image", "environment", *AMOUNTS), CARRIED),
    **dict.fromkeys(("node_selector", "tolerations", "node_affinity_required", "node_affinity_preferred"), PLACEMENT),
    **dict.fromkeys(("volumes", "volume_mounts"), "Data volumes are the workspace's: mount them on the preset's page, by name."),
    **dict.fromkeys(("cmd", "args", "default_url", "port"), IMAGES_OWN),
    "image_pull_policy": PULL,
    "service_account": ACCOUNT,
    "*": NOT_HERE,
}
CHOICE: Table = {
    "display_name": CARRIED,
    "default": CARRIED,
    "kubespawner_override": {**OVERRIDE, "environment": "A choice among images or sizes sets no variables: publish a configuration."},
}
PROFILE: Table = {
    **dict.fromkeys(("display_name", "slug", "description"), CARRIED),
    "default": "No preset is chosen beforehand; the first of the gallery comes first.",
    "kubespawner_override": OVERRIDE,
    "profile_options": {"*": {"display_name": CARRIED, "choices": {"*": CHOICE}, "unlisted_choice": UNLISTED}},
}
