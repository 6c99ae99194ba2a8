"""The reconcile task: once is enough, twice is harmless, and nothing that goes wrong is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError
from django.db.models import QuerySet
from django.utils import timezone
from django_q.models import OrmQ

from compute.clusters.base import ClusterError
from compute.workload import Claim, Mount, Resources, Workload
from presets.ides import IDES
from sessions import services, tasks
from sessions.models import LEASE, Desired, Session
from sessions.spec import DataVolumeInput, EnvInput
from storage.models import Volume
from tests.conftest import Cast
from tests.fakes import FakeDriver

Launch = Callable[..., Session]


def test_the_workload_is_everything_the_session_asked_for(launch: Launch, reconciled: Any, driver: FakeDriver, shared_data: Volume) -> None:
    session = reconciled(launch(data_volumes=(DataVolumeInput("sales", "/data/sales", True),), env=(EnvInput("REGION", "north"),)))
    home = Volume.objects.get(kind="home")
    (workload,) = driver.prepared
    assert workload == Workload(
        name=session.host,
        namespace="research",
        revision=1,
        generation=1,
        image="local:jupyterlab",
        ide="jupyterlab",
        token=session.ide_token,
        port=8888,
        probe=workload.probe,
        resources=Resources("500m", "1Gi"),
        owner="owner",
        command=IDES["jupyterlab"].command_on(8888),
        home="/home/jovyan",
        files=IDES["jupyterlab"].files,
        env={"SLIPWAY_SESSION_NAME": "forecast", "SLIPWAY_WORKSPACE": "research", **IDES["jupyterlab"].env},
        secret_env={"REGION": "north", "JUPYTER_TOKEN": session.ide_token},
        claims=(Claim(home.claim, "5Gi"), Claim(shared_data.claim, "10Gi", "ReadWriteMany")),
        mounts=(Mount(home.claim, "/home/jovyan", home=True), Mount(shared_data.claim, "/data/sales", read_only=True)),
        labels={"slipway.dev/session": session.host, "slipway.dev/workspace": "research", "slipway.dev/preset": "jupyterlab"},
        start_timeout=900,
    )
    assert driver.applied == [replace(workload, claims=())]


def test_a_task_applies_the_newest_generation_and_frees_the_row(launch: Launch, reconciled: Any, cast: Cast, driver: FakeDriver) -> None:
    session = launch()
    services.pause(cast.owner, session)
    session = reconciled(session)
    assert (driver.applied, driver.paused) == ([], [session.host])
    assert (session.applied_generation, session.lease_until, session.queued_at) == (2, None, None)


def test_running_a_task_twice_changes_nothing(launch: Launch, reconciled: Any, driver: FakeDriver) -> None:
    session = reconciled(reconciled(launch()))
    assert len(driver.applied) == 1  # the second one finds it done a moment ago
    Session.objects.update(applied_at=timezone.now() - timedelta(minutes=1))
    session = reconciled(session)
    assert driver.applied[0] == driver.applied[1]
    assert (session.applied_generation, session.lease_until) == (1, None)


def test_a_row_that_another_task_holds_is_left_alone(launch: Launch, reconciled: Any, driver: FakeDriver) -> None:
    session = launch()
    Session.objects.update(lease_until=timezone.now() + LEASE, lease_holder="another")
    reconciled(session)
    assert driver.applied == []
    Session.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    reconciled(session)
    assert len(driver.applied) == 1


def test_what_a_dead_worker_of_this_machine_held_is_free_again(launch: Launch, reconciled: Any, driver: FakeDriver) -> None:
    session = launch()
    for holder, calls in (("another machine's", 0), (f"{tasks.MACHINE}0123", 1)):
        Session.objects.update(lease_until=timezone.now() + LEASE, lease_holder=holder)
        tasks.release_leases()
        reconciled(session)
        assert len(driver.applied) == calls


def test_a_task_leases_its_row_for_this_machine(
    launch: Launch, reconciled: Any, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = launch()
    holders = []
    monkeypatch.setattr(driver, "apply", lambda workload: holders.append(Session.objects.get().lease_holder))
    reconciled(session)
    assert holders[0].startswith(tasks.MACHINE)
    assert len(holders[0]) <= 40


def test_an_intent_that_comes_while_the_task_works_is_queued_again(
    launch: Launch, reconciled: Any, cast: Cast, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = launch()

    def apply_and_pause(workload: Workload) -> None:
        services.pause(cast.owner, session)
        OrmQ.objects.all().delete()
        Session.objects.update(queued_at=None)  # as the pause's own task does when it finds the row leased

    monkeypatch.setattr(driver, "apply", apply_and_pause)
    session = reconciled(session)
    assert (session.generation, session.applied_generation) == (2, 1)
    assert OrmQ.objects.count() == 1


def test_a_task_that_was_held_up_changes_nothing(
    launch: Launch, reconciled: Any, cast: Cast, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = launch()
    act = tasks._act

    def held_up(late: Session, ready: tasks.Ready) -> None:
        monkeypatch.setattr(tasks, "_act", act)
        services.delete(cast.owner, session)
        Session.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert reconciled(session).applied_generation == 2
        act(late, ready)

    monkeypatch.setattr(tasks, "_act", held_up)
    session = reconciled(session)
    assert (driver.applied, driver.removed) == ([], [session.host])
    assert (session.generation, session.applied_generation, session.lease_until, session.apply_reason) == (2, 2, None, "")


def test_a_cluster_that_is_slower_than_our_patience_gets_one_session_after_the_other(
    launch: Launch, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = launch(name="first"), launch(name="second")
    OrmQ.objects.all().delete()
    monkeypatch.setattr(tasks, "PATIENCE", 0.05)
    prepare = driver.prepare

    def slow(workload: Workload) -> Workload:
        time.sleep(0.1)
        return prepare(workload)

    monkeypatch.setattr(driver, "prepare", slow)
    tasks.reconcile(first.pk, second.pk)
    assert [workload.name for workload in driver.applied] == [first.host]
    assert OrmQ.objects.count() == 1  # for the second
    tasks.reconcile(second.pk)
    assert [workload.name for workload in driver.applied] == [first.host, second.host]


@pytest.mark.parametrize("desired", Desired)
def test_a_restored_database_that_is_behind_the_cluster_gets_its_way(
    launch: Launch, reconciled: Any, driver: FakeDriver, desired: Desired
) -> None:
    session = launch()
    driver.generations[session.host] = 9  # of what was asked after the backup
    Session.objects.update(desired=desired)
    session = reconciled(session)
    assert (session.generation, session.applied_generation) == (10, 0)
    assert session.revision == (10 if desired == Desired.RUNNING else 1)
    assert session in Session.objects.needing_reconcile()
    assert OrmQ.objects.count() == 2
    session = reconciled(session)
    assert session.applied_generation == 10
    assert len(driver.applied + driver.paused + driver.removed) == 1


@pytest.mark.django_db(transaction=True)
def test_what_a_task_held_when_the_database_went_away_is_due_again_when_it_is_back(
    launch: Launch, reconciled: Any, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = launch()
    away = [OperationalError("the server is gone"), InterfaceError("the connection is closed")]
    update = QuerySet.update

    def fails(self: QuerySet[Any], **values: Any) -> int:
        if away and "lease_holder" in values and values["lease_holder"] == "":
            raise away.pop()
        return update(self, **values)

    monkeypatch.setattr(QuerySet, "update", fails)
    monkeypatch.setattr(tasks, "AWAY", 0)
    session = reconciled(session)
    assert (away, session.applied_generation, session.lease_until) == ([], 0, None)
    assert session in Session.objects.needing_reconcile()
    assert reconciled(session).applied_generation == 1


def test_tasks_are_not_queued_twice_but_a_lost_one_is_replaced(launch: Launch) -> None:
    session = launch()
    assert not tasks.queue(session.pk)
    assert OrmQ.objects.count() == 1
    for stuck in (timezone.now() - timedelta(minutes=1), timezone.now() + timedelta(days=1)):
        Session.objects.update(queued_at=stuck)
        assert tasks.queue(session.pk)


def test_an_error_is_kept_shown_and_tried_again_later(launch: Launch, reconciled: Any, driver: FakeDriver) -> None:
    driver.error = ClusterError("DiskFull", "The disk is full.")
    session = reconciled(launch())
    assert (session.apply_reason, session.apply_final, session.attempts, session.applied_generation) == ("DiskFull", False, 1, 0)
    assert session.next_try_at is not None
    assert not Session.objects.needing_reconcile().exists()
    reconciled(session)
    assert session.activity.filter(verb="error").count() == 1  # the same error is said once
    Session.objects.update(next_try_at=timezone.now())
    assert Session.objects.needing_reconcile().exists()
    driver.error = None
    session = reconciled(session)
    assert (session.apply_reason, session.attempts, session.next_try_at, session.applied_generation) == ("", 0, None, 1)


def test_the_first_that_succeeds_again_brings_the_others_forward(launch: Launch, reconciled: Any, driver: FakeDriver) -> None:
    driver.error = ClusterError("Unreachable", "The cluster does not answer.")
    first, second = reconciled(launch()), reconciled(launch(name="report"))
    assert tasks.queue_due() == 0
    driver.error = None
    reconciled(first)
    assert tasks.queue_due() == 1
    second.refresh_from_db()
    assert second.queued_at


def test_an_error_that_cannot_heal_is_final_for_a_start_but_never_for_a_delete(
    launch: Launch, reconciled: Any, cast: Cast, driver: FakeDriver
) -> None:
    driver.error = ClusterError("NoSessionUser", "There is no user.", retryable=False)
    session = reconciled(launch())
    Session.objects.update(next_try_at=None)
    assert session.apply_final
    assert not Session.objects.needing_reconcile().exists()
    services.delete(cast.owner, session)
    session = reconciled(session)
    Session.objects.update(next_try_at=None)
    assert not session.apply_final
    assert Session.objects.needing_reconcile().exists()


def test_a_bug_in_a_driver_is_an_error_like_others_and_tells_no_values(
    launch: Launch, reconciled: Any, driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    driver.error = RuntimeError("boom")
    session = reconciled(launch(env=(EnvInput("MY_TOKEN", "hunter2-hunter2"),)))
    assert session.apply_reason == "InternalError"
    assert "hunter2" not in caplog.text
    assert "hunter2" not in str(OrmQ.objects.values_list("payload", flat=True))


def test_times_from_a_clock_that_jumped_hold_nothing_up(launch: Launch) -> None:
    launch()
    far = timezone.now() + timedelta(days=365)
    Session.objects.update(lease_until=far, next_try_at=far)
    assert Session.objects.needing_reconcile().exists()


def test_a_task_for_a_session_that_is_gone_does_nothing(db: None) -> None:
    tasks.reconcile(12345)


def test_what_waits_in_a_long_queue_is_not_queued_again(launch: Launch) -> None:
    session = launch()
    long_ago = timezone.now() - timedelta(minutes=1)
    Session.objects.update(queued_at=long_ago + timedelta(seconds=1))
    OrmQ.objects.update(lock=long_ago)
    assert tasks.queue_due() == 0  # its own task, or one that is older, has waited all the time
    OrmQ.objects.update(lock=timezone.now())
    assert tasks.queue_due() == 1
    session.refresh_from_db()
    assert session.queued_at > long_ago + timedelta(seconds=30)
    assert OrmQ.objects.count() == 2


def test_a_batch_costs_few_queries_and_each_session_fails_alone(
    launch: Launch, driver: FakeDriver, cast: Cast, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    sessions = [launch(name=f"s-{number}") for number in range(8)]
    bad, paused = sessions[0], sessions[1]
    services.pause(cast.owner, paused)
    apply = driver.apply

    def some(workload: Workload) -> None:
        if workload.name == bad.host:
            raise ClusterError("QuotaExceeded", "Nothing is left.")
        apply(workload)

    monkeypatch.setattr(driver, "apply", some)
    with django_assert_max_num_queries(22):  # a third of them for the one that fails
        tasks.reconcile(*(session.pk for session in sessions))
    reasons = dict(Session.objects.values_list("host", "apply_reason"))
    assert reasons.pop(bad.host) == "QuotaExceeded"
    assert set(reasons.values()) == {""}
    assert set(Session.objects.needing_apply()) == {bad}
    assert not Session.objects.exclude(lease_until=None).exists()
    assert (len(driver.applied), driver.paused) == (6, [paused.host])


def test_all_of_a_batch_are_prepared_before_the_first_is_applied(
    launch: Launch, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [launch(name=f"s-{number}") for number in range(3)]
    bad, *good = [session.host for session in sessions]
    done: list[str] = []
    prepare, apply = driver.prepare, driver.apply

    def prepared(workload: Workload) -> Workload:
        if workload.name == bad:
            raise ClusterError("QuotaExceeded", "Nothing is left.")
        done.append(f"prepare {workload.name}")
        return prepare(workload)

    def applied(workload: Workload) -> None:
        done.append(f"apply {workload.name}")
        apply(workload)

    monkeypatch.setattr(driver, "prepare", prepared)
    monkeypatch.setattr(driver, "apply", applied)
    tasks.reconcile(*(session.pk for session in sessions))
    assert done == [f"{step} {host}" for step in ("prepare", "apply") for host in good]
    assert [workload.claims for workload in driver.applied] == [(), ()]  # no claim is asked for twice
    assert dict(Session.objects.values_list("host", "apply_reason")) == {bad: "QuotaExceeded", **dict.fromkeys(good, "")}


def test_a_slow_cluster_keeps_no_other_session_of_the_batch(launch: Launch, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = launch(name="first"), launch(name="second")
    OrmQ.objects.all().delete()
    monkeypatch.setattr(tasks, "PATIENCE", -1)
    tasks.reconcile(first.pk, second.pk)
    assert driver.applied == []
    assert not Session.objects.exclude(lease_until=None).exists()
    assert OrmQ.objects.count() == 2
