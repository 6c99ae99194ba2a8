"""From rows to the snapshot that a revision runs, and what has changed in the rows since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.db.models import Prefetch, QuerySet, Value, prefetch_related_objects

from compute.prepared import prepared
from compute.slurm import NoIdentity, identity_of
from presets.ides import IDES
from presets.models import Configuration, PresetVariable
from presets.variables import render
from sessions.models import Session, SessionVolume
from storage.models import Secret


def load_parts(session: Session) -> None:
    """Volumes and configurations into ``session.mounts.all()`` and ``session.configurations.all()``; 3 queries, the first time only."""
    mounts = Prefetch("mounts", SessionVolume.objects.select_related("volume"))
    prefetch_related_objects([session], mounts, "configurations__variables")


def resolve(session: Session) -> dict[str, Any]:
    """The snapshot of a saved session as its rows are now. About 6 queries, 3 less when :func:`load_parts` was called."""
    load_parts(session)
    return snapshot(session, list(session.mounts.all()), list(session.configurations.all()))


def snapshot(session: Session, mounts: Sequence[SessionVolume], configurations: Sequence[Configuration]) -> dict[str, Any]:
    """The session's spec with every name looked up, as JSON: what ``sessions.workload.build`` needs and nothing else.

    The session need not be saved: its mounts (with their volumes) and configurations (with their variables) are given.
    Variables follow the precedence inline > configuration > bundle > preset. One query for the last two; more for what is not
    loaded yet.
    """
    workspace, pool, size = session.workspace, session.compute_pool, session.pod_size
    image = session.image.successor()
    env, secret_env = _variables(session, configurations)
    return {
        "workspace": workspace.name,
        "namespace": workspace.namespace,
        "owner": session.owner.get_username(),
        "preset": session.preset.slug,
        "ide": session.preset.ide,
        "image": image.reference,
        "port": image.port,
        "probe": asdict(session.preset.probe),
        "resources": {
            "cpu": size.cpu,
            "memory": size.memory,
            "gpus": size.gpus,
            "gpu_resource": pool.gpu_resource if pool and size.gpus else "",
        },
        "node_selector": pool.node_selector if pool else {},
        "tolerations": pool.tolerations if pool else [],
        "env": env,
        "secret_env": secret_env,
        "claims": [
            {
                "name": mount.volume.claim,
                "size": mount.volume.size,
                "access_mode": mount.volume.access_mode,
                "storage_class": mount.volume.storage_class,
            }
            for mount in mounts
        ],
        "mounts": [
            {"claim": mount.volume.claim, "path": mount.mount_path, "read_only": mount.read_only, "home": mount.is_home} for mount in mounts
        ],
        "init_scripts": [{"name": item.slug, "script": item.init_script} for item in configurations if item.init_script.strip()],
        "start_timeout": settings.SLIPWAY_START_TIMEOUT,
        "slurm": _slurm(session),
    }


def _slurm(session: Session) -> dict[str, Any] | None:
    """Who the owner is on the attached Slurm cluster, and where its client comes from. None without one, and while the owner is
    nobody there (which keeps a session from starting, see ``sessions.spec.slurm_check``). At most one query."""
    if session.slurm_cluster is None:
        return None
    try:
        identity = identity_of(session.slurm_cluster, session.owner)
    except NoIdentity:
        return None
    return {"cluster": session.slurm_cluster.name, **asdict(identity), "client_image": session.slurm_cluster.client_image}


def _variables(session: Session, configurations: Sequence[Configuration]) -> tuple[dict[str, str], dict[str, str]]:
    """Plain and secret variables. What the user typed counts as secret: it may be a token."""
    env, secret_env = _of_preset_and_bundle(session)
    env |= {"SLIPWAY_SESSION_NAME": session.name, "SLIPWAY_WORKSPACE": session.workspace.name}
    if session.slurm_cluster is not None:
        env["SLURM_CONF_SERVER"] = session.slurm_cluster.controllers.replace(" ", "")
    for item in configurations:
        for variable in item.variables.all():
            env.pop(variable.name, None)
            secret_env.pop(variable.name, None)
            (secret_env if variable.is_secret else env)[variable.name] = variable.value
    for name, value in session.env.items():
        env.pop(name, None)
        secret_env[name] = value
    return env, secret_env


def _of_preset_and_bundle(session: Session) -> tuple[dict[str, str], dict[str, str]]:
    """Plain and secret variables of the preset, and the workspace's bundle, which is secret and wins. One query for both."""
    rows = _inherited(session.preset_id, session.workspace_id)
    secrets = {name: value for name, value, _, is_bundle in rows if is_bundle}
    plain = {name: render(value) for name, value, is_secret, is_bundle in rows if not is_secret and name not in secrets}
    return plain, {name: render(value) for name, value, is_secret, is_bundle in rows if is_secret and not is_bundle} | secrets


@prepared
def _inherited(preset: int, workspace: int) -> QuerySet[PresetVariable, tuple[str, str, bool, bool]]:
    """Name, value, whether it is secret, and whether it is the bundle's."""
    columns = ("name", "value", "is_secret", "is_bundle")
    bundle = Secret.objects.filter(bundle__workspace=workspace).annotate(is_secret=Value(True), is_bundle=Value(True))
    own = PresetVariable.objects.filter(preset=preset).annotate(is_bundle=Value(False))
    return own.order_by().values_list(*columns).union(bundle.order_by().values_list(*columns), all=True)


def pending_changes(session: Session) -> list[tuple[str, str, str]]:
    """What the next resume would change: (label, now, then). Secret values are compared, never shown. About 6 queries."""
    now, then = session.snapshot, resolve(session)
    if not now:
        return []
    changes = []
    for key, label in (("image", "Image"), ("node_selector", "Node selector"), ("tolerations", "Tolerations")):
        if now[key] != then[key]:
            changes.append((label, _words(now[key]), _words(then[key])))
    for key, label in (("cpu", "CPU"), ("memory", "Memory"), ("gpus", "GPUs")):
        if now["resources"][key] != then["resources"][key]:
            changes.append((label, str(now["resources"][key]), str(then["resources"][key])))
    changes += _of_serving(now, then)
    if now["init_scripts"] != then["init_scripts"]:
        changes.append(("Init scripts", _names(now["init_scripts"]), _names(then["init_scripts"]) + " (edited)"))
    for key, label in (("user", "Slurm user"), ("uid", "User id"), ("client_image", "Slurm client")):
        was, will = (str((spec.get("slurm") or {}).get(key) or "none") for spec in (now, then))
        if was != will:
            changes.append((label, was, will))
    before, after = {**now["env"], **now["secret_env"]}, {**then["env"], **then["secret_env"]}
    for name in sorted(set(before) | set(after)):
        if before.get(name) != after.get(name):
            changes.append((name, "set" if name in before else "not set", "new value" if name in after else "removed"))
    return changes


def _of_serving(now: dict[str, Any], then: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Port and probe. A snapshot of an older version has neither, and runs on what its IDE usually has."""
    ide = IDES[now["ide"]]
    before, after = now.get("port") or ide.port, then["port"] or ide.port
    changes = [("Port", str(before), str(after))] if before != after else []
    was, becomes = now.get("probe", {}).get("path", ide.probe.path), then["probe"]["path"]
    return changes + ([("Readiness path", was, becomes)] if was != becomes else [])


def _words(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else ", ".join(f"{k}={v}" for k, v in value.items())
        if isinstance(value, dict)
        else f"{len(value)} set"
    )


def _names(scripts: list[dict[str, str]]) -> str:
    return ", ".join(script["name"] for script in scripts) or "none"
