"""Whether a session may attach a Slurm cluster: who its owner is there, and whether that goes with the volumes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from compute.clusters import driver_for
from compute.clusters.base import ClusterError
from compute.errors import Problem
from compute.models import Cluster, SlurmCluster
from compute.slurm import Identity, NoIdentity, identity_of
from compute.workload import Account
from storage.models import Volume
from storage.slurm_keys import has_key

FIELD = "slurm_cluster"
OTHERWISE = "Choose another Slurm cluster or none."


def check(slurm: SlurmCluster, user: Any, cluster: Cluster, writable: Iterable[tuple[str, Volume]]) -> tuple[Account | None, list[Problem]]:
    """Whom a session with this Slurm cluster runs as, and why the user can't have one on the cluster, writing to these volumes.

    A volume comes with its field: a problem is where it can be mended, and a step of the wizard can't be left with problems of
    its own. At most two queries.
    """
    try:
        identity = identity_of(slurm, user)
    except NoIdentity as error:
        return None, [Problem(FIELD, error.code, f"{error} {OTHERWISE}")]
    found, account = [], Account(identity.uid, identity.gid)
    if not has_key(slurm):
        found.append(Problem(FIELD, "slurm_no_key", f"{slurm} has no signing key yet, which an admin has to set. {OTHERWISE}"))
    try:
        driver_for(cluster).runs_as(account)
    except ClusterError as error:
        found.append(Problem(FIELD, "slurm_account_refused", f"{slurm} knows you as “{identity.user}”. {error} {OTHERWISE}"))
    else:
        found += [_owned(slurm, identity, field, volume) for field, volume in writable if not belongs_to(volume, account)]
    return account, found


def _owned(slurm: SlurmCluster, identity: Identity, field: str, volume: Volume) -> Problem:
    message = (
        f"“{volume}” belongs to uid {volume.uid}, and with {slurm} the session runs as “{identity.user}”, which is uid {identity.uid}: "
        f"it could not use its files. Choose another {'home' if volume.kind == Volume.Kind.HOME else 'volume, mount it read-only'}, "
        "or attach no Slurm cluster."
    )
    return Problem(field, "slurm_volume_owner", message)


def belongs_to(volume: Volume, account: Account) -> bool:
    """Whether the account can work with the volume's files, as far as is known. A data volume is its group's as well."""
    return volume.uid in (None, account.uid) or (volume.kind == Volume.Kind.DATA and volume.gid == account.gid)


def usual_account(cluster: Cluster) -> Account | None:
    """Whom the cluster runs sessions as that attach no Slurm cluster; None when it can't tell now."""
    try:
        return driver_for(cluster).runs_as(None)
    except ClusterError:
        return None


def foreign(volume: Volume, cluster: Cluster) -> str:
    """A warning for a session without a Slurm cluster that is to write to the volume; empty if all is well."""
    account = usual_account(cluster) if volume.uid is not None else None
    if account is None or belongs_to(volume, account):
        return ""
    return (
        f"“{volume}” belongs to uid {volume.uid}, and this session runs as uid {account.uid}: it may not be able to use its files. "
        "(With a Slurm cluster attached a session runs as its owner there.)"
    )
