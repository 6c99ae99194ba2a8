"""The control plane and a real controller: what it sees of each user, and what it calls each thing that goes wrong."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from compute.models import SlurmAccount, SlurmCluster, Workspace
from compute.slurm import identity_of, mint
from compute.slurm_causes import SlurmError, cause_of
from compute.slurm_client import Client, answering
from sessions.slurm_models import SlurmSight, SlurmState
from storage.slurm_keys import key_of, replace_key
from storage.slurm_trial import try_out
from tests.conftest import Cast
from tests.laboratory import wait_until
from tests.slurm.conftest import ask
from tests.slurm.real import Slurm, user
from tests.slurm.whole.conftest import need_slurm
from tests.slurm_cast import slurm_cluster

pytestmark = pytest.mark.slurm
MINE, THEIRS = "slipway-slurm-a", "slipway-slurm-b"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    need_slurm()
    with Slurm() as slurm:
        yield slurm


@pytest.fixture
def hpc(cast: Cast, workspace: Workspace, slurm: Slurm) -> SlurmCluster:
    """The owner and the colleague are two of its users."""
    hpc = slurm_cluster(workspace, controllers=slurm.controller)
    replace_key(hpc, slurm.key, None)
    for person, name in ((cast.owner, MINE), (cast.colleague, THEIRS)):
        account = user(name)
        SlurmAccount.objects.create(slurm_cluster=hpc, user=person, slurm_user=name, uid=account.pw_uid, gid=account.pw_gid)
        SlurmSight.objects.create(slurm_cluster=hpc, user=person)
    return hpc


def look(hpc: SlurmCluster, *people: Any) -> list[SlurmSight]:
    """What they see now."""
    SlurmSight.objects.update(asked_at=None, wanted_at=timezone.now())
    ask(hpc)
    return [SlurmSight.objects.get(user=person) for person in people]


def submit(slurm: Slurm, name: str, title: str) -> None:
    told = slurm.ask(name, "sbatch", "-o", "/dev/null", "-J", title, "--wrap", "sleep 120")
    assert "Submitted batch job" in told, told


def test_each_user_sees_their_own_jobs_and_what_goes_wrong_has_its_name(cast: Cast, hpc: SlurmCluster, slurm: Slurm, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    submit(slurm, MINE, "mine")
    submit(slurm, THEIRS, "theirs")
    wait_until(lambda: look(hpc, cast.owner)[0].running_jobs == 1, 30, "the job runs")

    mine, theirs = look(hpc, cast.owner, cast.colleague)
    assert ([job["name"] for job in mine.seen["jobs"]], [job["name"] for job in theirs.seen["jobs"]]) == (["mine"], ["theirs"])
    assert [partition["name"] for partition in mine.seen["partitions"]] == ["debug"]
    assert mine.seen["version"] == mine.seen["client_version"] != ""
    assert mine.seen["nodes"] == {"idle": 0, "in_use": 1, "other": 0}

    trial = try_out(hpc, cast.owner)
    assert (trial.code, trial.slurm_user, trial.overview is not None) == ("", MINE, True)

    slurm.stop("slurmctld")
    assert look(hpc, cast.owner)[0].problem_code == "slurm_unreachable"
    assert SlurmState.objects.get().reachable is False
    assert try_out(hpc, cast.owner).field == "controllers"
    slurm.start("slurmctld")
    wait_until(lambda: look(hpc, cast.owner)[0].problem == "", 30, "the controller is back")
    assert SlurmState.objects.get().reachable is True

    slurm.rotate_key()
    wait_until(lambda: look(hpc, cast.owner)[0].problem_code == "slurm_refused", 30, "the old key is refused")
    assert try_out(hpc, cast.owner).field == "key"
    replace_key(hpc, slurm.key, None)
    mine = look(hpc, cast.owner)[0]
    assert (mine.problem, [job["name"] for job in mine.seen["jobs"]]) == ("", ["mine"])

    key = key_of(hpc)
    assert key is not None
    expired, _ = mint(key, MINE, timedelta(minutes=5), timezone.now() - timedelta(minutes=6))
    with pytest.raises(SlurmError) as error:
        Client(answering(hpc.controllers), expired).overview()
    assert error.value.code == "slurm_expired"
    assert key.hex() not in caplog.text and "eyJ" not in caplog.text


def test_another_uid_than_the_controllers_is_told_by_its_name(cast: Cast, hpc: SlurmCluster, slurm: Slurm) -> None:
    key = key_of(hpc)
    assert key is not None
    identity = identity_of(hpc, cast.owner)
    token, _ = mint(key, identity.user, timedelta(minutes=5), timezone.now())
    environment = {"PATH": os.environ["PATH"], "SLURM_CONF_SERVER": hpc.controllers, "SLURM_JWT": token}
    asked = subprocess.run(["sbatch", "--wrap", "true"], env=environment, user=user(THEIRS).pw_uid, cwd="/", capture_output=True, text=True)
    assert cause_of(asked.stderr, expired=False).code == "slurm_invalid_user"
