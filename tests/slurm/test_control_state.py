"""Who a user is on a Slurm cluster, and what is kept of what it said: asked by a task, for each user as themselves."""

from __future__ import annotations

import pwd
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.utils import timezone
from django_q.models import OrmQ

from compute.models import Membership, SlurmAccount, SlurmCluster, Workspace
from compute.slurm import Identity, NoIdentity, identity_of
from sessions import slurm, slurm_state
from sessions.models import Desired, Phase, Session
from sessions.slurm_models import SlurmSight, SlurmState
from storage.models import SlurmKey
from tests.conftest import Cast
from tests.slurm.conftest import ask
from tests.slurm.fake import ZERO, FakeSlurm
from tests.slurm_cast import GID, UID

Attached = Callable[..., Session]
JOB = "{uid}|11|RUNNING|1:02|gpu|None|train\n"


def account(name: str, uid: int, gid: int = 2001) -> Callable[[str], pwd.struct_passwd]:
    def getpwnam(asked: str) -> pwd.struct_passwd:
        if asked != name:
            raise KeyError(asked)
        return pwd.struct_passwd((name, "x", uid, gid, "", "/", "/bin/sh"))

    return getpwnam


def test_by_user_name_a_user_is_who_the_control_planes_machine_says(cast: Cast, hpc: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    hpc.user_mapping = "username"
    monkeypatch.setattr(pwd, "getpwnam", account("owner", 2000))
    assert identity_of(hpc, cast.owner) == Identity("owner", 2000, 2001)
    with pytest.raises(NoIdentity, match="knows no such account") as nobody:
        identity_of(hpc, cast.colleague)
    assert nobody.value.code == "slurm_unknown_user"


@pytest.mark.parametrize(
    ("name", "uid", "gid"), [("root", 0, 0), ("slurm", 64030, 64030), ("daemon", 2, 2), ("nobody", 65534, 65534), ("x", 2000, 0)]
)
def test_a_system_account_is_nobody_whoever_has_chosen_its_name(
    cast: Cast, hpc: SlurmCluster, monkeypatch: pytest.MonkeyPatch, name: str, uid: int, gid: int
) -> None:
    hpc.user_mapping = "username"
    cast.owner.username = name
    monkeypatch.setattr(pwd, "getpwnam", account(name, uid, gid))
    with pytest.raises(NoIdentity, match="system account"):
        identity_of(hpc, cast.owner)


def test_by_account_a_user_is_who_an_admin_says(cast: Cast, hpc: SlurmCluster) -> None:
    assert identity_of(hpc, cast.owner) == Identity("slurm-owner", UID, GID)
    with pytest.raises(NoIdentity, match="viewer has no account on HPC yet"):
        identity_of(hpc, cast.viewer)


@pytest.mark.parametrize("broken", [{"uid": 0}, {"gid": 0}])
def test_the_database_lets_no_account_be_root(cast: Cast, hpc: SlurmCluster, broken: dict[str, int]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        SlurmAccount.objects.create(slurm_cluster=hpc, user=cast.viewer, slurm_user="v", **{"uid": 9, "gid": 9, **broken})


def sight_of(hpc: SlurmCluster, user: Any) -> SlurmSight:
    return SlurmSight.objects.get(slurm_cluster=hpc, user=user)


def due() -> int:
    """How many tasks the sweep has queued."""
    OrmQ.objects.all().delete()
    SlurmState.objects.update(queued_at=None)
    slurm_state.queue_due()
    return OrmQ.objects.count()


def test_each_owner_of_a_running_session_is_asked_for_as_themselves(
    cast: Cast, attached: Attached, hpc: SlurmCluster, fake: FakeSlurm
) -> None:
    attached()
    attached("more")
    attached("theirs", owner=cast.colleague)
    fake.says(jobs=JOB.format(uid=UID) + JOB.format(uid=UID + 1).replace("train", "other"))
    assert due() == 1
    ask(hpc)
    mine, theirs = sight_of(hpc, cast.owner), sight_of(hpc, cast.colleague)
    assert ([job["name"] for job in mine.seen["jobs"]], [job["name"] for job in theirs.seen["jobs"]]) == (["train"], ["other"])
    assert (mine.running_jobs, mine.problem, mine.seen["nodes"]) == (1, "", {"idle": 3, "in_use": 1, "other": 0})
    state = SlurmState.objects.get()
    assert (state.reachable, state.lease_until) == (True, None)
    assert len(fake.tokens) == 2
    assert due() == 0  # for a minute
    SlurmSight.objects.update(asked_at=timezone.now() - timedelta(seconds=61))
    assert due() == 1


@pytest.mark.parametrize("why", ["paused", "asked to pause", "disabled", "does not serve", "left", "viewer", "deactivated"])
def test_nobody_is_asked_for_who_may_not_use_the_cluster_now(cast: Cast, attached: Attached, hpc: SlurmCluster, why: str) -> None:
    session = attached()
    changes: dict[str, Callable[[], object]] = {
        "paused": lambda: Session.objects.update(phase=Phase.PAUSED),
        "asked to pause": lambda: Session.objects.update(desired=Desired.PAUSED),
        "disabled": lambda: SlurmCluster.objects.update(enabled=False),
        "does not serve": lambda: hpc.workspaces.clear(),
        "left": lambda: Membership.objects.filter(user=cast.owner).delete(),
        "viewer": lambda: Membership.objects.filter(user=cast.owner).update(role="viewer"),
        "deactivated": lambda: get_user_model().objects.filter(pk=cast.owner.pk).update(is_active=False),
    }
    assert due() == 1
    changes[why]()
    assert due() == 0
    session = Session.objects.select_related("slurm_cluster").get()
    assert bool(slurm.why_detached(session)) == (not why.endswith(("paused", "pause")))


def test_with_no_session_attached_the_sweep_costs_one_query(cast: Cast, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        slurm_state.queue_due()


def test_who_looks_is_told_at_once_what_is_known_and_soon_what_is_new(
    cast: Cast, hpc: SlurmCluster, fake: FakeSlurm, django_assert_max_num_queries: Any
) -> None:
    assert slurm_state.want(hpc.pk, cast.owner.pk).asked_at is None
    with django_assert_max_num_queries(1):
        slurm_state.want(hpc.pk, cast.owner.pk)
    assert OrmQ.objects.count() == 1
    assert not (fake.folder / "asked").exists()  # not in the request
    ask(hpc)
    with django_assert_max_num_queries(1):
        assert slurm_state.want(hpc.pk, cast.owner.pk).seen["version"] == "22.05.8"
    long_ago = timezone.now() - timedelta(seconds=16)
    SlurmSight.objects.update(asked_at=long_ago, wanted_at=long_ago)
    slurm_state.want(hpc.pk, cast.owner.pk)
    assert OrmQ.objects.count() == 2


def test_what_is_wrong_for_all_is_asked_once_and_told_to_all(cast: Cast, attached: Attached, hpc: SlurmCluster, fake: FakeSlurm) -> None:
    attached()
    attached("theirs", owner=cast.colleague)
    fake.says(jobs=JOB.format(uid=UID))
    ask(hpc)
    hpc.controllers = "127.0.0.1:1"
    hpc.save()
    SlurmSight.objects.update(asked_at=None)
    asked = len(fake.asked)
    ask(hpc)
    assert len(fake.asked) == asked
    mine, theirs = sight_of(hpc, cast.owner), sight_of(hpc, cast.colleague)
    assert mine.problem == theirs.problem == "The controller is down: nothing listens at 127.0.0.1:1."
    assert SlurmState.objects.get().reachable is False
    assert [job["name"] for job in mine.seen["jobs"]] == ["train"]  # what it said last


def test_a_token_that_is_refused_is_told_and_the_controller_counts_as_reached(
    cast: Cast, attached: Attached, hpc: SlurmCluster, fake: FakeSlurm
) -> None:
    attached()
    fake.says(error=ZERO)
    ask(hpc)
    assert sight_of(hpc, cast.owner).problem_code == "slurm_refused"
    assert SlurmState.objects.get().reachable is True


def test_a_key_that_is_missing_or_unreadable_is_told(cast: Cast, attached: Attached, hpc: SlurmCluster, settings: Any) -> None:
    attached()
    kept = settings.SLIPWAY_ENCRYPTION_KEYS
    settings.SLIPWAY_ENCRYPTION_KEYS = ["A" * 43 + "="]
    ask(hpc)
    assert sight_of(hpc, cast.owner).problem_code == "slurm_key_unreadable"
    settings.SLIPWAY_ENCRYPTION_KEYS = kept
    SlurmKey.objects.all().delete()
    SlurmSight.objects.update(asked_at=None)
    ask(hpc)
    assert sight_of(hpc, cast.owner).problem_code == "slurm_no_key"


def test_who_has_lost_the_account_sees_no_jobs_any_more(cast: Cast, attached: Attached, hpc: SlurmCluster, fake: FakeSlurm) -> None:
    session = attached()
    fake.says(jobs=JOB.format(uid=UID))
    ask(hpc)
    assert slurm.has_running_job(session)
    SlurmAccount.objects.all().delete()
    SlurmSight.objects.update(asked_at=None)
    ask(hpc)
    sight = sight_of(hpc, cast.owner)
    assert (sight.problem_code, sight.seen) == ("slurm_no_account", {})
    assert not slurm.has_running_job(session)


def test_a_running_job_counts_as_use_for_an_hour_after_the_controller_was_last_heard(
    cast: Cast, attached: Attached, hpc: SlurmCluster
) -> None:
    session, plain = attached(), attached("plain", slurm_cluster=None)
    theirs = attached("theirs", owner=cast.colleague)
    SlurmSight.objects.create(slurm_cluster=hpc, user=cast.owner, running_jobs=1, answered_at=timezone.now() - timedelta(minutes=59))
    assert [slurm.has_running_job(one) for one in (session, plain, theirs)] == [True, False, False]
    SlurmSight.objects.update(answered_at=timezone.now() - timedelta(minutes=61))
    assert not slurm.has_running_job(session)


def test_one_task_at_a_time_asks_a_cluster(attached: Attached, hpc: SlurmCluster, fake: FakeSlurm) -> None:
    attached()
    slurm_state.queue(hpc.pk)
    SlurmState.objects.update(lease_until=timezone.now() + timedelta(seconds=30))
    ask(hpc)
    assert fake.asked == []
    SlurmState.objects.update(lease_until=timezone.now() - timedelta(seconds=1))  # of a worker that died
    ask(hpc)
    assert fake.asked


def test_users_for_whom_there_was_no_time_are_next(
    cast: Cast, attached: Attached, hpc: SlurmCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    attached()
    attached("theirs", owner=cast.colleague)
    monkeypatch.setattr(slurm_state, "PATIENCE", -1.0)
    ask(hpc)
    assert (SlurmSight.objects.count(), OrmQ.objects.count()) == (1, 1)
    ask(hpc)
    assert (SlurmSight.objects.count(), OrmQ.objects.count()) == (2, 1)


def test_what_nobody_has_asked_for_in_a_week_is_forgotten(cast: Cast, attached: Attached, hpc: SlurmCluster, workspace: Workspace) -> None:
    attached()
    SlurmSight.objects.create(slurm_cluster=hpc, user=cast.viewer, asked_at=timezone.now() - timedelta(days=8))
    ask(hpc)
    assert set(SlurmSight.objects.values_list("user", flat=True)) == {cast.owner.pk}


def test_no_task_holds_anything_but_the_clusters_id(hpc: SlurmCluster, cast: Cast) -> None:
    slurm_state.want(hpc.pk, cast.owner.pk)
    assert OrmQ.objects.get().task["args"] == (hpc.pk,)
