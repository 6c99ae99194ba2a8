"""A session's Slurm token: minted when it starts, renewed in time, taken away when it may not have one any more."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_q.models import OrmQ

from compute.clusters.base import ClusterError, Outdated
from compute.models import Membership, SlurmCluster, Workspace
from compute.slurm_models import SlurmAccount
from compute.workload import Account
from sessions import services, slurm_tickets, tasks
from sessions.models import Desired, Phase, Session
from sessions.slurm_models import SlurmTicket
from storage.models import SlurmKey, Volume
from storage.slurm_keys import replace_key
from tests.conftest import Cast
from tests.fakes import FakeDriver
from tests.slurm_cast import GID, UID, slurm_cluster

Launch = Callable[..., Session]


@pytest.fixture
def attached(launch: Launch, workspace: Workspace, cast: Cast) -> Session:
    """A session of the owner's that runs, with a Slurm cluster attached."""
    slurm_cluster(workspace, cast.owner, cast.colleague)
    return run(launch(slurm_cluster="hpc"))


def run(session: Session) -> Session:
    """Send it to its cluster, which makes it run."""
    tasks.reconcile(session.pk)
    Session.objects.filter(pk=session.pk).update(phase=Phase.RUNNING)
    OrmQ.objects.all().delete()
    session.refresh_from_db()
    return session


def claims_in(files: dict[str, str]) -> dict[str, Any]:
    """Of the token in a session's files; {} without one."""
    token = files["slurm"].splitlines()[0]
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")) if token else {}


def sweep() -> None:
    """What a controller and a worker do together."""
    queued = slurm_tickets.queue_due()
    assert OrmQ.objects.count() == queued
    for task in OrmQ.objects.all():
        assert task.task["func"] is slurm_tickets.refresh
        slurm_tickets.refresh(*task.task["args"])
    OrmQ.objects.all().delete()


def grow_old(session: Session, **fields: Any) -> None:
    SlurmTicket.objects.filter(session=session).update(look_at=timezone.now() - timedelta(seconds=1), **fields)


def test_a_session_starts_as_its_owner_with_a_token(attached: Session, driver: FakeDriver) -> None:
    (workload,) = driver.applied
    assert workload.account == Account(UID, GID, "slurm-owner")
    assert [account.name for account in workload.known_accounts] == ["slurm-owner", "slurm"]
    assert workload.env["SLURM_CONF_SERVER"] == "slurm.example.com:6817"
    assert {"sbatch", "squeue", "srun"} <= {program.name for program in workload.programs}
    claims = claims_in(workload.live_files)
    assert (claims["sun"], claims["exp"] - claims["iat"]) == ("slurm-owner", 1800)
    ticket = attached.slurm_ticket
    assert ticket.look_at - ticket.issued_at == pytest.approx(timedelta(minutes=24), abs=timedelta(seconds=1))
    assert ticket.expires_at.timestamp() == claims["exp"]
    assert [volume.uid for volume in Volume.objects.all()] == [UID]


def test_a_session_without_a_slurm_cluster_is_as_it_was(launch: Launch, driver: FakeDriver) -> None:
    run(launch())
    (workload,) = driver.applied
    assert (workload.account, workload.programs, workload.live_files, workload.supply) == (None, (), {}, None)
    assert not SlurmTicket.objects.exists()
    assert slurm_tickets.queue_due() == 0


def test_the_client_image_is_an_admins_to_name(launch: Launch, workspace: Workspace, cast: Cast, driver: FakeDriver) -> None:
    slurm_cluster(workspace, cast.owner, client_image="example.com/slurm:22.05")
    run(launch(slurm_cluster="hpc"))
    assert driver.applied[0].supply is not None
    assert driver.applied[0].supply.image == "example.com/slurm:22.05"


def test_a_token_is_renewed_at_80_percent_and_not_before(attached: Session, driver: FakeDriver) -> None:
    sweep()
    assert driver.written == []
    grow_old(attached)
    sweep()
    ((host, files),) = driver.written
    assert (host, claims_in(files)["sun"]) == (attached.host, "slurm-owner")
    assert SlurmTicket.objects.get().look_at > timezone.now() + timedelta(minutes=20)
    sweep()
    assert len(driver.written) == 1


def test_a_new_signing_key_gives_running_sessions_new_tokens_at_once(attached: Session, driver: FakeDriver) -> None:
    replace_key(SlurmCluster.objects.get(), b"another signing key of the cluster, as long as it must be", None)
    sweep()
    assert len(driver.written) == 1
    sweep()
    assert len(driver.written) == 1


def test_a_renewal_is_queued_once(attached: Session) -> None:
    grow_old(attached)
    assert [slurm_tickets.queue_due(), slurm_tickets.queue_due()] == [1, 0]
    SlurmTicket.objects.update(queued_at=timezone.now() - timedelta(minutes=1))  # its task was lost
    assert slurm_tickets.queue_due() == 1


STOPS: dict[str, tuple[Callable[[Session], object], str]] = {
    "the cluster is disabled": (lambda session: SlurmCluster.objects.update(enabled=False), "switched HPC off"),
    "the cluster serves others": (lambda session: SlurmCluster.objects.get().workspaces.clear(), "does not serve Research"),
    "the owner has left": (lambda session: Membership.objects.filter(user=session.owner).delete(), "no longer a member"),
    "the owner became a viewer": (
        lambda session: Membership.objects.filter(user=session.owner).update(role="viewer"),
        "no longer a member",
    ),
}
LATER = {  # what only the renewal itself finds out
    "the mapping is lost": (lambda session: SlurmAccount.objects.filter(user=session.owner).delete(), "no account on HPC"),
    "the mapping is another": (lambda session: SlurmAccount.objects.update(uid=30000), "Pause and resume"),
    "the key is gone": (lambda session: SlurmKey.objects.all().delete(), "no signing key"),
}


@pytest.mark.parametrize("case", [*STOPS, *LATER])
def test_the_file_is_emptied_when_the_session_may_not_have_a_token(attached: Session, driver: FakeDriver, case: str) -> None:
    act, words = {**STOPS, **LATER}[case]
    act(attached)
    if case in LATER:
        grow_old(attached)
    sweep()
    ((_, files),) = driver.written
    assert claims_in(files) == {}
    assert words in files["slurm"].splitlines()[3]
    ticket = SlurmTicket.objects.get()
    assert (ticket.expires_at, ticket.problem) == (None, files["slurm"].splitlines()[3])
    assert ticket.since is not None
    sweep()
    assert len(driver.written) == 1
    assert Session.objects.get().phase == Phase.RUNNING


def test_a_cluster_that_is_switched_on_again_gets_its_sessions_tokens_again(attached: Session, driver: FakeDriver) -> None:
    SlurmCluster.objects.update(enabled=False)
    sweep()
    SlurmCluster.objects.update(enabled=True)
    grow_old(attached)
    sweep()
    assert [bool(claims_in(files)) for _, files in driver.written] == [False, True]
    assert SlurmTicket.objects.get().problem == ""


def test_a_paused_session_keeps_no_token_and_a_resumed_one_gets_its_own(attached: Session, cast: Cast, driver: FakeDriver) -> None:
    services.pause(cast.owner, attached)
    tasks.reconcile(attached.pk)
    OrmQ.objects.all().delete()
    Session.objects.update(phase=Phase.PAUSED, status_generation=2)
    sweep()
    assert [claims_in(files) for _, files in driver.written] == [{}]
    ticket = SlurmTicket.objects.get()
    assert (ticket.expires_at, ticket.problem) == (None, "")
    sweep()
    services.resume(cast.owner, attached)
    run(attached)
    assert claims_in(driver.applied[-1].live_files)["sun"] == "slurm-owner"
    assert len(driver.written) == 1


def test_a_deleted_session_is_left_alone(attached: Session, cast: Cast, driver: FakeDriver) -> None:
    grow_old(attached)
    services.delete(cast.owner, attached)
    tasks.reconcile(attached.pk)
    OrmQ.objects.all().delete()
    Session.objects.all().delete()
    sweep()
    slurm_tickets.refresh(attached.pk)
    assert driver.written == []


def test_a_failed_session_has_no_token_until_it_runs_again(attached: Session, driver: FakeDriver) -> None:
    Session.objects.update(phase=Phase.FAILED)
    sweep()
    Session.objects.update(phase=Phase.RUNNING)
    sweep()
    assert [bool(claims_in(files)) for _, files in driver.written] == [False, True]


def test_a_refresh_that_fails_is_tried_again_later_and_shown(attached: Session, driver: FakeDriver) -> None:
    driver.error = ClusterError("Unreachable", "The cluster is away.")
    waits = []
    for _ in range(8):
        grow_old(attached)
        sweep()
        ticket = SlurmTicket.objects.get()
        waits.append(round((ticket.look_at - timezone.now()).total_seconds()))
    assert waits == [5, 10, 20, 40, 80, 120, 120, 120]
    assert "The cluster is away." in ticket.problem
    assert (Session.objects.get().phase, ticket.expires_at is None) == (Phase.RUNNING, False)
    since = ticket.since
    driver.error = None
    grow_old(attached)
    sweep()
    ticket = SlurmTicket.objects.get()
    assert (ticket.problem, ticket.since, ticket.failures) == ("", None, 0)
    assert since is not None


def test_a_refresh_that_was_overtaken_does_nothing(attached: Session, driver: FakeDriver) -> None:
    grow_old(attached)
    before = SlurmTicket.objects.get()
    driver.error = Outdated(7)
    sweep()
    assert SlurmTicket.objects.get().problem == before.problem == ""


def test_a_session_starts_without_a_token_when_there_can_be_none(
    launch: Launch, workspace: Workspace, cast: Cast, driver: FakeDriver
) -> None:
    slurm_cluster(workspace, cast.owner)
    session = launch(slurm_cluster="hpc")
    SlurmKey.objects.all().delete()
    run(session)
    assert claims_in(driver.applied[0].live_files) == {}
    assert "no signing key" in SlurmTicket.objects.get().problem


def test_the_look_for_what_is_due_is_one_query(attached: Session, launch: Launch, cast: Cast, django_assert_num_queries: Any) -> None:
    for number in range(3):
        run(launch(name=f"more-{number}", slurm_cluster="hpc"))
    with django_assert_num_queries(1):
        assert slurm_tickets.queue_due() == 0


def test_no_token_is_in_a_row_a_task_or_the_log(
    attached: Session, driver: FakeDriver, caplog: pytest.LogCaptureFixture, cast: Cast
) -> None:
    caplog.set_level(logging.DEBUG)
    grow_old(attached)
    slurm_tickets.queue_due()
    task = str([row.task for row in OrmQ.objects.all()])
    slurm_tickets.refresh(attached.pk)
    tokens = [files["slurm"].splitlines()[0] for _, files in driver.written] + [driver.applied[0].live_files["slurm"].splitlines()[0]]
    rows = str(list(Session.objects.values())) + str(list(SlurmTicket.objects.values())) + str(Session.objects.get().snapshot)
    for token in tokens:
        assert token
        for place in (task, rows, caplog.text, repr(replace(driver.applied[0], live_files={}))):
            assert token not in place


def test_what_the_owner_of_the_next_resume_is_shows_as_a_pending_change(attached: Session) -> None:
    from sessions.spec import pending_changes

    SlurmAccount.objects.update(uid=30000)
    assert ("User id", str(UID), "30000") in pending_changes(attached)


def test_a_volume_of_a_slurm_users_is_warned_of_without_slurm(launch: Launch, attached: Session, cast: Cast, workspace: Workspace) -> None:
    from sessions.spec import HomeInput, SpecInput, check

    Session.objects.update(desired=Desired.PAUSED, phase=Phase.PAUSED, status_generation=1)
    home = Volume.objects.get()
    spec = SpecInput("next", "jupyterlab", "minimal", "small", home=HomeInput(volume=home.name))
    found = check(cast.owner, workspace, spec)
    assert [(one.field, one.code) for one in found.warnings] == [("home.volume", "volume_owner")]
    assert f"uid {UID}" in found.warnings[0].message and "uid 1000" in found.warnings[0].message
