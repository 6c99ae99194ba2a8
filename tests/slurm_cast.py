"""A Slurm cluster as tests want one."""

from __future__ import annotations

from typing import Any

from compute.models import SlurmCluster, Workspace
from compute.slurm_models import SlurmAccount, UserMapping
from storage.slurm_keys import replace_key

KEY = b"a signing key of a Slurm cluster, canary-signing-key"
UID, GID = 20001, 20002


def slurm_cluster(workspace: Workspace, *users: Any, name: str = "hpc", **fields: Any) -> SlurmCluster:
    """One that serves the workspace, with a key, and an account for each of the users: uids from ``UID`` on, one group."""
    values = {"display_name": name.upper(), "controllers": "slurm.example.com:6817", "enabled": True, **fields}
    slurm = SlurmCluster.objects.create(name=name, user_mapping=UserMapping.ACCOUNT, **values)
    slurm.workspaces.set([workspace])
    replace_key(slurm, KEY, None)
    for number, user in enumerate(users):
        SlurmAccount.objects.create(slurm_cluster=slurm, user=user, slurm_user=f"slurm-{user}", uid=UID + number, gid=GID)
    return slurm
