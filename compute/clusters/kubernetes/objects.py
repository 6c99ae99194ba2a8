"""Workload → whole Kubernetes objects. Pure: values in, dictionaries out."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from compute.clusters.kubernetes import accounts, labels
from compute.workload import Account, Claim, InitScript, Resources, Supply, Workload

Json = dict[str, Any]

# A type of our own: the API server refuses to apply it onto a Secret of another type, so none is ever taken over.
SECRET_TYPE = "slipway.dev/session"  # noqa: S105
SCRIPT_PATH = "/run/slipway/init.sh"
KEPT = "slipway"  # the volume of the session's Secret: scripts and files
TOOLS = "/opt/slipway"  # has the folders bin, live and supply, each a volume
PROFILE_PATH = "/etc/profile.d/slipway.sh"
PROFILE = f'case ":$PATH:" in *:{TOOLS}/bin:*) ;; *) PATH="{TOOLS}/bin:$PATH" ;; esac\n'
LIVE = "live."  # what the keys of live files start with
GRACE_SECONDS = 15
READABLE = 0o444
FOR_EVER = 1_000_000  # failures in a row
EXECUTABLE = 0o555
OWN = 0o440  # of the pod's group, which is the session's alone


def secret(workload: Workload) -> Json:
    """Everything that the pod's spec must not show: env of every kind, scripts, files. Keys are ``env.*``, ``init.N``,
    ``file.N``, ``program.*``, ``profile``, ``live.*``."""
    scripts = {f"init.{n}": script.script for n, script in enumerate(workload.init_scripts, 1)}
    files = {f"file.{n}": file.content for n, file in enumerate(workload.files, 1)}
    programs = {f"program.{program.name}": program.script for program in workload.programs}
    if programs:
        programs["profile"] = PROFILE
    texts = {f"env.{name}": value for name, value in _env(workload).items()} | scripts | files | programs
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(workload, {labels.GENERATION: str(workload.generation)}),
        "type": SECRET_TYPE,
        # Not stringData: server-side apply would not take away what is no longer in it.
        "data": encoded(texts) | live(workload.live_files),
    }


def live(files: Mapping[str, str]) -> Json:
    """Live files, as they are in the Secret's data."""
    return encoded({f"{LIVE}{name}": text for name, text in files.items()})


def encoded(texts: Mapping[str, str]) -> Json:
    return {key: b64encode(text.encode()).decode() for key, text in texts.items()}


def statefulset(workload: Workload, replicas: int = 1) -> Json:
    """The session itself. ``OnDelete``: writing a new template never ends a pod that runs."""
    built: Json = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": _metadata(workload, {labels.GENERATION: str(workload.generation), labels.REVISION: str(workload.revision)}),
        "spec": {
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 1,
            "serviceName": workload.name,
            "selector": {"matchLabels": {labels.SESSION: workload.name}},
            "template": {
                "metadata": {
                    "labels": labels.of_workload(workload),
                    "annotations": {labels.REVISION: str(workload.revision), labels.OWNER: workload.owner},
                },
                "spec": _pod(workload),
            },
        },
    }
    built["metadata"]["annotations"][labels.SPEC_HASH] = spec_hash(built)
    return built


def claim(claim: Claim) -> Json:
    """A persistent volume claim; without a storage class the cluster's default one is used."""
    spec: Json = {"accessModes": [claim.access_mode], "resources": {"requests": {"storage": claim.size}}}
    if claim.storage_class:
        spec["storageClassName"] = claim.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim.name, "labels": {**claim.labels, labels.MANAGED_BY: labels.MANAGER}},
        "spec": spec,
    }


def _metadata(workload: Workload, annotations: Json) -> Json:
    return {
        "name": workload.name,
        "namespace": workload.namespace,
        "labels": labels.of_workload(workload),
        "annotations": {labels.OWNER: workload.owner, **annotations},
    }


def _env(workload: Workload) -> dict[str, str]:
    return {**workload.env, **workload.secret_env}


def _pod(workload: Workload) -> Json:
    account = workload.account or Account()
    pod: Json = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": account.uid,
            "runAsGroup": account.gid,
            "fsGroup": account.gid,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_ide(workload)],
        "volumes": _volumes(workload),
    }
    before = [_supply(workload, workload.supply)] if workload.supply else []
    before += [_accounts(workload)] if workload.known_accounts else []
    if first := before + [_init(workload, n, script) for n, script in enumerate(workload.init_scripts, 1)]:
        pod["initContainers"] = first
    if workload.node_selector:
        pod["nodeSelector"] = dict(workload.node_selector)
    if workload.tolerations:
        pod["tolerations"] = [dict(toleration) for toleration in workload.tolerations]
    return pod


def _container(workload: Workload, name: str, mounts: Sequence[Json]) -> Json:
    """What the IDE and its init scripts have in common."""
    container: Json = {
        "name": name,
        "image": workload.image,
        "env": _env_refs(workload),
        "resources": _resources(workload.resources),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [*_mounts(workload), *mounts],
    }
    if workload.home:
        container["workingDir"] = workload.home
    return container


def _ide(workload: Workload) -> Json:
    container = _container(workload, labels.CONTAINER, ())
    if workload.command:
        container["command"] = [_literal(word) for word in (*_with_programs(workload), *workload.command)]
    container["ports"] = [{"name": "http", "containerPort": workload.port, "protocol": "TCP"}]
    # No liveness probe: a notebook that is too busy to answer must not be killed for it. A few slow answers are no outage.
    probe = workload.probe
    container["readinessProbe"] = {
        "httpGet": {"path": probe.quiet_path or probe.path, "port": workload.port, "scheme": "HTTP"},
        "periodSeconds": probe.period,
        "timeoutSeconds": probe.timeout,
        "failureThreshold": probe.failures,
    }
    first = container["readinessProbe"]
    if probe.quiet_path:
        # It never ends the container: how long a start may take is the controller's to say.
        first = container["startupProbe"] = {
            **first,
            "httpGet": {**first["httpGet"], "path": probe.path},
            "failureThreshold": FOR_EVER,
        }
    if probe.delay:
        first["initialDelaySeconds"] = probe.delay
    return container


def _with_programs(workload: Workload) -> tuple[str, ...]:
    """The image alone knows its PATH, so that it is the container's first process that puts the programs before it."""
    return ("sh", "-c", f'PATH="{TOOLS}/bin:$PATH" exec "$@"', "sh") if workload.programs else ()


def _supply(workload: Workload, supply: Supply) -> Json:
    """Copies from another image what the session's own lacks."""
    return _copier(workload, labels.SUPPLY, supply.image, supply.script, "supply")


def _accounts(workload: Workload) -> Json:
    """Makes lists of accounts and groups that are the image's own, and name what it does not know."""
    return _copier(workload, labels.ACCOUNTS, workload.image, accounts.script(workload.known_accounts, workload.home), "accounts")


def _copier(workload: Workload, name: str, image: str, script: str, volume: str) -> Json:
    """Fills a volume before the session starts. It sees nothing of the session: no variable, no other volume."""
    return {
        "name": name,
        "image": image,
        "command": ["sh", "-c", _literal(script)],
        "env": [{"name": "TARGET", "value": f"{TOOLS}/{volume}"}],
        "resources": _resources(replace(workload.resources, gpus=0)),
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": volume, "mountPath": f"{TOOLS}/{volume}"}],
    }


def _init(workload: Workload, number: int, script: InitScript) -> Json:
    name = labels.init_container(number, script.name)
    mount = {"name": KEPT, "mountPath": SCRIPT_PATH, "subPath": f"init.{number}", "readOnly": True}
    return {**_container(workload, name, [mount]), "command": ["sh", SCRIPT_PATH]}


def _env_refs(workload: Workload) -> list[Json]:
    """One reference per variable: with ``envFrom`` scripts and files would be variables, too."""
    home = [{"name": "HOME", "value": _literal(workload.home)}] if workload.home else []
    refs = ({"name": name, "valueFrom": {"secretKeyRef": {"name": workload.name, "key": f"env.{name}"}}} for name in sorted(_env(workload)))
    return [*home, *refs]


def _resources(resources: Resources) -> Json:
    amounts = {"cpu": resources.cpu, "memory": resources.memory}
    if resources.gpus and resources.gpu_resource:
        amounts[resources.gpu_resource] = str(resources.gpus)
    return {"requests": amounts, "limits": dict(amounts)}


def _claim_names(workload: Workload) -> dict[str, str]:
    """The pod's volume of each mounted claim."""
    return {name: f"claim-{n}" for n, name in enumerate(dict.fromkeys(mount.claim for mount in workload.mounts), 1)}


def _mounts(workload: Workload) -> list[Json]:
    names = _claim_names(workload)
    mounts: list[Json] = []
    for mount in workload.mounts:
        path = workload.home if mount.home and workload.home else mount.path
        one: Json = {"name": names[mount.claim], "mountPath": path}
        mounts.append({**one, "readOnly": True} if mount.read_only else one)
    if _needs_scratch_home(workload):
        mounts.append({"name": "home", "mountPath": workload.home})
    mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    for n, file in enumerate(workload.files, 1):
        mounts.append({"name": KEPT, "mountPath": file.path, "subPath": f"file.{n}", "readOnly": True})
    return mounts + _tool_mounts(workload)


def _tool_mounts(workload: Workload) -> list[Json]:
    """Whole volumes: a file that is mounted by ``subPath`` stays as it was when the container started."""
    mounts: list[Json] = []
    if workload.programs:
        mounts.append({"name": "bin", "mountPath": f"{TOOLS}/bin", "readOnly": True})
        # A login shell, such as JupyterLab's terminals, sets PATH anew on some systems; they all read this folder then.
        mounts.append({"name": KEPT, "mountPath": PROFILE_PATH, "subPath": "profile", "readOnly": True})
    if workload.live_files:
        mounts.append({"name": "live", "mountPath": f"{TOOLS}/live", "readOnly": True})
    if workload.supply:
        mounts.append({"name": "supply", "mountPath": f"{TOOLS}/supply", "readOnly": True})
    if workload.known_accounts:
        mounts += [{"name": "accounts", "mountPath": f"/etc/{file}", "subPath": file, "readOnly": True} for file in ("passwd", "group")]
    return mounts


def _volumes(workload: Workload) -> list[Json]:
    volumes: list[Json] = [
        {"name": volume, "persistentVolumeClaim": {"claimName": name}} for name, volume in _claim_names(workload).items()
    ]
    if _needs_scratch_home(workload):
        volumes.append({"name": "home", "emptyDir": {}})
    volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": _shm_size(workload.resources)}})
    if items := _items(workload):
        volumes.append({"name": KEPT, "secret": {"secretName": workload.name, "defaultMode": READABLE, "items": items}})
    return volumes + _tool_volumes(workload)


def _tool_volumes(workload: Workload) -> list[Json]:
    volumes: list[Json] = []
    if workload.programs:
        items = [{"key": f"program.{program.name}", "path": program.name} for program in workload.programs]
        volumes.append({"name": "bin", "secret": {"secretName": workload.name, "defaultMode": EXECUTABLE, "items": items}})
    if workload.live_files:
        items = [{"key": f"{LIVE}{name}", "path": name} for name in workload.live_files]
        volumes.append({"name": "live", "secret": {"secretName": workload.name, "defaultMode": OWN, "items": items}})
    if workload.supply:
        volumes.append({"name": "supply", "emptyDir": {}})
    if workload.known_accounts:
        volumes.append({"name": "accounts", "emptyDir": {}})
    return volumes


def _shm_size(resources: Resources) -> str:
    """Half of the memory, as on any Linux: it counts as the session's, and outlives a restart for want of it."""
    return str(int(parse_quantity(resources.memory) / 2))


def _items(workload: Workload) -> list[Json]:
    """The keys that are files; the values of variables don't belong in the volume."""
    keys = [f"init.{n}" for n in range(1, len(workload.init_scripts) + 1)] + [f"file.{n}" for n in range(1, len(workload.files) + 1)]
    if workload.programs:
        keys.append("profile")
    return [{"key": key, "path": key} for key in keys]


def _needs_scratch_home(workload: Workload) -> bool:
    """Without a home volume the image's own folder may belong to somebody else, and the IDE could not start."""
    return bool(workload.home) and not any(mount.home for mount in workload.mounts)


def _literal(text: str) -> str:
    """Kubernetes expands ``$(NAME)`` in commands and values; nobody asked it to."""
    return text.replace("$", "$$")


# What somebody else might change


def spec_hash(statefulset: Mapping[str, Any]) -> str:
    """A digest of what matters in a StatefulSet: the same for one as built and as the API server keeps it (with defaults
    filled in and quantities rewritten), another one when a person has changed something that a session would notice."""
    spec = statefulset["spec"]
    template = spec["template"]
    pod = template["spec"]
    matters = {
        "replicas": spec.get("replicas", 1),
        "revision": (template["metadata"].get("annotations") or {}).get(labels.REVISION),
        "pod": _some(
            pod, "securityContext", "nodeSelector", "tolerations", "affinity", "hostNetwork", "hostPID", "hostIPC", "runtimeClassName"
        ),
        "token": pod.get("automountServiceAccountToken", True),
        "account": pod.get("serviceAccountName") or "default",
        "containers": [_container_matters(one) for one in pod.get("containers") or ()],
        "init": [_container_matters(one) for one in pod.get("initContainers") or ()],
        "volumes": sorted((_volume_matters(one) for one in pod.get("volumes") or ()), key=lambda one: str(one["name"])),
    }
    return hashlib.sha256(json.dumps(matters, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:32]


def _container_matters(container: Mapping[str, Any]) -> Json:
    probes = [(container.get(name) or {}).get("httpGet") or {} for name in ("readinessProbe", "startupProbe")]
    resources = container.get("resources") or {}
    return {
        **_some(container, "name", "image", "command", "args", "workingDir", "envFrom", "securityContext", "lifecycle", "livenessProbe"),
        "env": [_some(one, "name", "value", "valueFrom") for one in container.get("env") or ()],
        "resources": {
            kind: {name: str(parse_quantity(amount).normalize()) for name, amount in (resources.get(kind) or {}).items()}
            for kind in ("requests", "limits")
        },
        "mounts": [_some(one, "name", "mountPath", "subPath", "readOnly") for one in container.get("volumeMounts") or ()],
        "ports": [port["containerPort"] for port in container.get("ports") or ()],
        "probe": [probe.get(key) for probe in probes if probe for key in ("path", "port")],
    }


def _volume_matters(volume: Mapping[str, Any]) -> Json:
    """Every source is kept as it is: those that Slipway writes have no defaults that it does not set itself."""
    matters = {name: value for name, value in volume.items() if value is not None}
    if size := (matters.get("emptyDir") or {}).get("sizeLimit"):
        matters["emptyDir"] = {**matters["emptyDir"], "sizeLimit": str(parse_quantity(size).normalize())}
    return matters


def _some(whole: Mapping[str, Any], *names: str) -> Json:
    """The named fields that say something: an absent one, null, false, and empty are the same to Kubernetes."""
    return {name: whole[name] for name in names if whole.get(name)}
