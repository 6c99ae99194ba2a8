"""Session → Workload: pure. It reads the row's own fields only, so the same row always gives the same workload."""

from __future__ import annotations

from typing import Any

from compute.workload import Account, Claim, InitScript, Mount, Probe, Resources, Workload
from presets.ides import IDES
from sessions import slurm_programs
from sessions.models import Session


def build(session: Session) -> Workload:
    """What the session asks of its cluster, from its snapshot (``sessions.spec.resolve`` wrote it), token and revision."""
    snapshot = session.snapshot
    ide = IDES[snapshot["ide"]]
    port = snapshot.get("port") or ide.port  # snapshots of older versions have neither port nor probe
    return Workload(
        name=session.host,
        namespace=snapshot["namespace"],
        revision=session.revision,
        generation=session.generation,
        image=snapshot["image"],
        ide=ide.slug,
        token=session.ide_token,
        port=port,
        probe=_probe(snapshot["probe"]) if "probe" in snapshot else ide.probe,
        resources=Resources(**snapshot["resources"]),
        owner=snapshot["owner"],
        command=ide.command_on(port),
        files=ide.files,
        home=ide.home_path,
        env={**ide.env, **snapshot["env"]},
        secret_env={**snapshot["secret_env"], **ide.token_env(session.ide_token)},
        claims=tuple(Claim(**claim) for claim in snapshot["claims"]),
        mounts=tuple(Mount(**mount) for mount in snapshot["mounts"]),
        init_scripts=tuple(InitScript(**script) for script in snapshot["init_scripts"]),
        node_selector=dict(snapshot["node_selector"]),
        tolerations=tuple(dict(toleration) for toleration in snapshot["tolerations"]),
        labels={
            "slipway.dev/session": session.host,
            "slipway.dev/workspace": snapshot["workspace"],
            "slipway.dev/preset": snapshot["preset"],
        },
        start_timeout=snapshot["start_timeout"],
        **_slurm(snapshot.get("slurm")),
    )


def _slurm(attached: dict[str, Any] | None) -> dict[str, Any]:
    """What a session with a Slurm cluster has in addition. Its token is no part of the row: ``sessions.slurm_tickets`` adds it."""
    if attached is None:
        return {}
    account = Account(attached["uid"], attached["gid"], attached["user"])
    return {
        "account": account,
        "known_accounts": (account, slurm_programs.SLURM),
        "programs": slurm_programs.PROGRAMS,
        "supply": slurm_programs.supply(attached["client_image"]),
    }


def _probe(kept: dict[str, Any]) -> Probe:
    return Probe(**{**kept, "statuses": tuple(kept["statuses"])})
