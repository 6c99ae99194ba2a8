"""All of Slipway on this machine with a real Slurm beside it. The stack's member and admin are two of Slurm's users.

``world``: the stack, the Slurm cluster and its row, which serves the demo's workspace and is not enabled yet.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from compute.models import SlurmCluster, Workspace
from compute.slurm_models import SlurmAccount, UserMapping
from storage.slurm_keys import replace_key
from tests.laboratory import models_of
from tests.live.conftest import need
from tests.slurm.real import NEEDS, Slurm, is_there, user
from tests.stack import Stack

USERS = {"member": "slipway-slurm-a", "admin": "slipway-slurm-b"}


@dataclass
class World:
    stack: Stack
    slurm: Slurm
    cluster: SlurmCluster


def register(slurm: Slurm, workspace: Workspace, **fields: Any) -> SlurmCluster:
    """What an admin does in the admin's pages."""
    values = {"display_name": "HPC", "controllers": slurm.controller, "user_mapping": UserMapping.ACCOUNT, **fields}
    cluster = SlurmCluster.objects.create(name="hpc", **values)
    cluster.workspaces.set([workspace])
    replace_key(cluster, slurm.key, None)
    for username, name in USERS.items():
        account = user(name)
        person = get_user_model().objects.get(username=username)
        SlurmAccount.objects.create(slurm_cluster=cluster, user=person, slurm_user=name, uid=account.pw_uid, gid=account.pw_gid)
    return cluster


def need_slurm() -> None:
    if not is_there():
        pytest.fail(NEEDS) if os.environ.get("CI") else pytest.skip(NEEDS)


@pytest.fixture(scope="session")
def django_db_setup() -> None:
    """No test database: these tests use the stack's."""


@pytest.fixture(scope="session")
def world(django_db_blocker: Any) -> Iterator[World]:
    need_slurm()
    need("nginx", "nginx-light")
    with ExitStack() as cleanup:
        patch = cleanup.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("SLIPWAY_SWEEP_SECONDS", "1")
        slurm = cleanup.enter_context(Slurm())
        stack = cleanup.enter_context(Stack())
        cleanup.enter_context(django_db_blocker.unblock())
        cleanup.enter_context(models_of(stack))
        yield World(stack, slurm, register(slurm, Workspace.objects.get(name="research")))
