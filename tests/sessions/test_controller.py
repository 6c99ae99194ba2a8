"""The controller: what clusters say becomes status and activity, and what is lost is queued again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import OrmQ

from compute.clusters.base import ClusterError, Health, Stop
from compute.models import Cluster, Workspace
from compute.workload import Observation
from sessions import pace, services, tasks
from sessions.cluster_reports import Checkup
from sessions.cluster_watch import ClusterWatch
from sessions.controller import LATE, Controller
from sessions.models import Activity, Phase, Session
from sessions.status import Status, View, derive
from storage.models import Volume
from tests.conftest import Cast
from tests.fakes import FakeDriver

Launch = Callable[..., Session]


@pytest.fixture
def controller() -> Controller:
    return Controller(threading.Event())


@pytest.fixture
def rounds(controller: Controller, cluster: Cluster, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Feed the controller what the fake cluster says now, and let it go round once; watch threads stay out of it."""
    monkeypatch.setattr(controller, "follow_clusters", lambda: None)
    monkeypatch.setattr("sessions.controller.TICK", 0.001)
    monkeypatch.setattr("sessions.pace.LOOK", 1.0)  # no look is put off
    monkeypatch.setattr("sessions.controller.LOOK_EVERY", 0.0)

    def go() -> None:
        for observation in driver.observations.values():
            controller.inbox.put((cluster.pk, observation))
        controller.round()

    return go


def phases(session: Session) -> list[str]:
    return list(Activity.objects.filter(host=session.host, verb="phase").order_by("pk").values_list("phase", flat=True))


def test_a_whole_life_is_told_in_order(launch: Launch, cast: Cast, reconciled: Any, observe: Any, rounds: Any) -> None:
    session = launch()
    rounds()
    reconciled(session)
    observe(session)
    rounds()
    observe(session, ready=True, endpoint="unix:/run/s")
    rounds()
    session.refresh_from_db()
    assert (session.phase, session.endpoint, session.observed_revision) == (Phase.RUNNING, "unix:/run/s", 1)
    assert session.running_since
    assert session.can_open
    services.pause(cast.owner, session)
    rounds()
    session.refresh_from_db()
    assert (session.phase, session.reason, session.endpoint) == (Phase.TERMINATING, "Pausing", "")
    reconciled(session)
    observe(session, exists=False)
    rounds()
    services.delete(cast.owner, session)
    rounds()
    reconciled(session)
    observe(session, exists=False, retained=False)
    rounds()
    assert phases(session) == ["Pending", "Running", "Terminating", "Paused", "Terminating"]
    assert not Session.objects.exists()
    assert Volume.objects.live().count() == 1
    assert Activity.objects.filter(host=session.host, verb="deleted").exists()


def test_nothing_is_written_when_nothing_changed(launch: Launch, reconciled: Any, observe: Any, rounds: Any) -> None:
    session = reconciled(launch())
    observe(session, ready=True, endpoint="unix:/run/s")
    rounds()
    before = Session.objects.get().observed_at
    rounds()
    assert Session.objects.get().observed_at == before


def test_a_failure_keeps_its_reason_and_last_lines(launch: Launch, reconciled: Any, observe: Any, rounds: Any) -> None:
    session = reconciled(launch())
    observe(session, exists=False, failed=True, reason="Crashed", message="Exit code 3.", log_tail="line 1\nline 2\n")
    rounds()
    session.refresh_from_db()
    assert (session.phase, session.reason, session.message, session.log_tail) == (
        Phase.FAILED,
        "Crashed",
        "Exit code 3.",
        "line 1\nline 2\n",
    )
    assert session.can_resume


def test_a_lost_task_is_queued_again_by_the_sweep(launch: Launch, controller: Controller, rounds: Any) -> None:
    launch()
    OrmQ.objects.all().delete()
    Session.objects.update(queued_at=timezone.now() - timedelta(minutes=1))
    rounds()
    assert OrmQ.objects.count() == 1


def test_a_workload_that_the_cluster_lost_is_applied_again(launch: Launch, reconciled: Any, observe: Any, rounds: Any) -> None:
    session = reconciled(launch())
    observe(session, ready=True, endpoint="unix:/run/s")
    rounds()
    OrmQ.objects.all().delete()
    Session.objects.update(applied_at=timezone.now() - timedelta(seconds=5))
    observe(session, exists=False)
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.PENDING
    assert OrmQ.objects.count() == 1


def test_a_running_session_that_no_watch_mentions_is_asked_for(
    launch: Launch, reconciled: Any, controller: Controller, rounds: Any
) -> None:
    session = reconciled(launch())
    Session.objects.update(phase=Phase.RUNNING, status_generation=1, applied_at=timezone.now() - timedelta(minutes=1))
    OrmQ.objects.all().delete()
    controller.next_resync = 0
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.PENDING
    assert OrmQ.objects.count() == 1


def test_an_orphan_is_reported_once_and_left_alone(
    launch: Launch, reconciled: Any, observe: Any, rounds: Any, driver: FakeDriver, caplog: pytest.LogCaptureFixture
) -> None:
    session = reconciled(launch())
    observe(session)
    Session.objects.all().delete()
    rounds()
    rounds()
    assert caplog.text.count("Orphan") == 1
    assert driver.removed == []


def test_one_bad_row_does_not_block_the_rest(launch: Launch, reconciled: Any, observe: Any, rounds: Any) -> None:
    bad, good = launch(name="bad"), launch(name="good")
    Session.objects.filter(pk=bad.pk).update(snapshot=["not", "a", "snapshot"])
    reconciled(good)
    observe(good, ready=True, endpoint="unix:/run/s")
    rounds()
    good.refresh_from_db()
    assert good.phase == Phase.RUNNING


def test_a_watch_that_fails_is_tried_again_and_says_since_when(cluster: Cluster, driver: FakeDriver) -> None:
    controller = Controller(threading.Event())
    watch = ClusterWatch(cluster, controller.inbox, controller.stop)
    tries = []

    def fail_once(stop: Stop) -> Iterator[Any]:
        tries.append(1)
        if len(tries) == 1:
            raise ClusterError("Unreachable", "Connection refused.")
        controller.stop.set()
        yield from ()

    driver.watch = fail_once  # type: ignore[method-assign, assignment]
    watch.run()
    assert len(tries) == 2
    assert watch.unreachable_since is not None
    assert watch.problem == "Connection refused."


def test_an_unreachable_cluster_makes_its_sessions_unknown_and_back(
    launch: Launch, reconciled: Any, observe: Any, controller: Controller, rounds: Any, cluster: Cluster
) -> None:
    session = reconciled(launch())
    observe(session, ready=True, endpoint="unix:/run/s")
    rounds()
    watch = ClusterWatch(cluster, controller.inbox, controller.stop)
    watch.unreachable_since = timezone.now() - timedelta(minutes=1)
    watch.problem = "Connection refused."
    controller.watches[cluster.pk] = watch
    controller.next_resync = controller.next_sweep = 0
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.UNKNOWN
    assert "Connection refused" in session.message
    watch.unreachable_since = None
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.RUNNING


def test_the_sessions_of_a_cluster_that_goes_away_are_told_in_batches(
    launch: Launch, reconciled: Any, controller: Controller, rounds: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions.controller.BATCH", 2)
    for number in range(3):
        reconciled(launch(name=f"forecast-{number}"))
    Session.objects.update(phase=Phase.RUNNING, status_generation=1)
    watch = controller.watches[cluster.pk] = ClusterWatch(cluster, controller.inbox, controller.stop)

    def told_in_each_round(phase: str) -> list[int]:
        told = []
        for _ in range(3):
            controller.follow_outages()
            told.append(Session.objects.filter(phase=phase).count())
        return told

    watch.unreachable_since = timezone.now() - timedelta(minutes=1)
    assert told_in_each_round(Phase.UNKNOWN) == [2, 3, 3]
    watch.unreachable_since = None
    assert told_in_each_round(Phase.PENDING) == [2, 3, 3]


def test_what_a_cluster_did_not_answer_is_tried_as_soon_as_it_answers(
    launch: Launch, reconciled: Any, controller: Controller, rounds: Any, cluster: Cluster, driver: FakeDriver
) -> None:
    watch = controller.watches[cluster.pk] = ClusterWatch(cluster, controller.inbox, controller.stop)
    driver.error = ClusterError("Unreachable", "Connection refused.")
    session = reconciled(launch())
    watch.unreachable_since = timezone.now()
    OrmQ.objects.all().delete()
    rounds()
    assert not OrmQ.objects.exists()
    watch.unreachable_since = None
    rounds()
    assert OrmQ.objects.get().task["args"] == (session.pk,)


def test_a_row_that_no_key_can_read_stops_neither_the_controller_nor_the_worker(
    launch: Launch, reconciled: Any, observe: Any, rounds: Any
) -> None:
    unreadable, good = launch(name="unreadable"), launch(name="good")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE notebook_sessions_session SET snapshot = 'x', env = 'x', ide_token = 'x' WHERE name = 'unreadable'")
    tasks.reconcile(unreadable.pk)
    reconciled(good)
    observe(good, ready=True, endpoint="unix:/run/s")
    rounds()
    states = dict(Session.objects.for_status().values_list("name", "phase"))
    assert states == {"unreadable": Phase.PENDING, "good": Phase.RUNNING}
    assert Session.objects.values_list("apply_reason", flat=True).get(pk=unreadable.pk) == "InternalError"


def test_a_clock_that_jumps_ahead_does_not_empty_the_trash(
    workspace: Workspace, cast: Cast, controller: Controller, rounds: Any, driver: FakeDriver
) -> None:
    volume = Volume.objects.create(workspace=workspace, owner=cast.owner, name="old", kind="data")
    volume.trash(cast.owner)
    volume.purge_after = timezone.now() - timedelta(seconds=1)
    volume.save()
    controller.started_at -= timedelta(days=30)
    rounds()
    assert driver.deleted_claims == []
    controller.started_at += timedelta(days=30)
    controller.next_sweep = controller.next_housekeeping = 0
    rounds()
    assert driver.deleted_claims == [("research", volume.claim)]


def test_a_paused_session_is_none_the_worse_for_a_cluster_that_is_away(
    launch: Launch, cast: Cast, reconciled: Any, observe: Any, controller: Controller, rounds: Any, cluster: Cluster
) -> None:
    session = reconciled(launch())
    services.pause(cast.owner, session)
    observe(reconciled(session), exists=False)
    rounds()
    controller.watches[cluster.pk] = watch = ClusterWatch(cluster, controller.inbox, controller.stop)
    watch.unreachable_since = timezone.now() - timedelta(minutes=1)
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.PAUSED


def test_what_comes_back_after_its_session_was_deleted_is_removed_again(
    launch: Launch, cast: Cast, reconciled: Any, observe: Any, controller: Controller, rounds: Any, cluster: Cluster, driver: FakeDriver
) -> None:
    controller.watches[cluster.pk] = ClusterWatch(cluster, controller.inbox, controller.stop)
    session = reconciled(launch())
    came_late = observe(session)
    services.delete(cast.owner, session)
    observe(reconciled(session), exists=False, retained=False)
    rounds()
    assert not Session.objects.exists()
    driver.removed.clear()
    driver.observations["research", session.host] = came_late
    rounds()
    assert driver.removed == [session.host]


def test_what_came_late_and_can_not_be_seen_is_removed_when_nothing_is_on_its_way_any_more(
    launch: Launch, cast: Cast, reconciled: Any, observe: Any, controller: Controller, rounds: Any, driver: FakeDriver, cluster: Cluster
) -> None:
    session = reconciled(launch())
    host = session.host
    services.delete(cast.owner, session)
    observe(reconciled(session), exists=False, retained=False)
    rounds()
    OrmQ.objects.all().delete()
    driver.removed.clear()
    now = time.monotonic()
    controller.remove_late(now)
    controller.silent = {cluster.pk}
    controller.remove_late(now + LATE)
    assert not OrmQ.objects.exists()
    controller.silent = set()
    controller.remove_late(now + LATE * 2)
    task = OrmQ.objects.get().task
    assert task["args"] == (cluster.pk, "research", host)
    tasks.remove_again(*task["args"])
    assert driver.removed == [host]
    assert not controller.deleted


def test_what_no_session_ever_owned_is_left_alone(observe: Any, launch: Launch, rounds: Any, driver: FakeDriver) -> None:
    session = launch()
    observe(session)
    Session.objects.all().delete()
    rounds()
    assert driver.removed == []


def test_what_somebody_else_changed_is_applied_again(launch: Launch, reconciled: Any, observe: Any, rounds: Any) -> None:
    session = reconciled(launch())
    Session.objects.update(applied_at=timezone.now() - timedelta(minutes=1))
    observe(session, ready=True, endpoint="10.0.0.7:8888", drifted=True)
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.RUNNING
    assert session.queued_at is not None


def test_a_cluster_that_is_reached_in_another_way_gets_a_new_watch(cluster: Cluster, driver: FakeDriver) -> None:
    controller = Controller(threading.Event())
    try:
        controller.follow_clusters()
        first = controller.watches[cluster.pk]
        controller.follow_clusters()
        assert controller.watches[cluster.pk] is first
        Cluster.objects.update(context="elsewhere")
        controller.follow_clusters()
        assert first.is_set()
        assert controller.watches[cluster.pk] is not first
    finally:
        controller.stop.set()


def test_which_cluster_it_is_is_remembered_from_its_first_answer(cluster: Cluster, driver: FakeDriver) -> None:
    controller = Controller(threading.Event())
    try:
        for said, known in (("", ""), ("one", "one"), ("another", "one")):
            controller.follow_clusters()
            controller.watches[cluster.pk].checkup = Checkup(Health(ok=True, version="v1", identity=said), timezone.now())
            controller.follow_clusters()
            assert Cluster.objects.get().identity == known
        first = controller.watches[cluster.pk]
        assert first.cluster.identity == "one", "it is watched as this cluster and no other"
        Cluster.objects.update(identity="")  # confirmed
        controller.follow_clusters()
        assert first.is_set()
    finally:
        controller.stop.set()


def test_what_was_said_before_costs_nothing(
    launch: Launch, reconciled: Any, observe: Any, rounds: Any, controller: Controller, driver: FakeDriver, cluster: Cluster
) -> None:
    session = reconciled(launch())
    same = observe(session, ready=True, endpoint="unix:/run/s")
    rounds()
    for _ in range(3):
        controller.inbox.put((cluster.pk, replace(same, at=timezone.now())))
    assert controller.read_inbox() == set()
    controller.inbox.put((cluster.pk, replace(same, ready=False)))
    assert controller.read_inbox() == {session.host}


def test_news_of_many_sessions_is_read_and_told_together(
    launch: Launch, reconciled: Any, observe: Any, rounds: Any, controller: Controller
) -> None:
    sessions = [reconciled(launch(name=f"s-{number}")) for number in range(20)]
    rounds()
    for session in sessions:
        observe(session, ready=True, endpoint="unix:/run/s")
    controller.next_sweep = controller.next_due = controller.next_look = controller.next_glance = time.monotonic() + 60
    with CaptureQueriesContext(connection) as captured:
        rounds()
    said = [query["sql"] for query in captured]
    assert sum(sql.startswith('UPDATE "notebook_sessions_session"') for sql in said) == len(sessions)
    assert sum(sql.startswith('INSERT INTO "notebook_sessions_activity"') for sql in said) == 1
    assert sum('"notebook_sessions_session"' in sql and sql.startswith("SELECT") for sql in said) == 1
    assert set(Session.objects.values_list("phase", flat=True)) == {Phase.RUNNING}
    assert Activity.objects.filter(verb="phase", phase=Phase.RUNNING).count() == 20


def test_a_status_that_the_database_refuses_does_not_keep_back_the_others(
    launch: Launch, reconciled: Any, observe: Any, rounds: Any
) -> None:
    bad, good = reconciled(launch(name="bad")), reconciled(launch(name="good"))
    observe(bad, ready=True, endpoint="unix:/run/s", restarts=-1)
    observe(good, ready=True, endpoint="unix:/run/s")
    rounds()
    assert dict(Session.objects.values_list("name", "phase")) == {"bad": Phase.PENDING, "good": Phase.RUNNING}


def test_a_pause_that_comes_while_a_status_is_derived_is_not_written_over(
    launch: Launch, cast: Cast, reconciled: Any, observe: Any, rounds: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = reconciled(launch())
    observe(session, ready=True, endpoint="unix:/run/s")

    def paused_meanwhile(view: View) -> Status:
        monkeypatch.undo()
        services.pause(cast.owner, session)
        return derive(view)

    monkeypatch.setattr("sessions.controller.derive", paused_meanwhile)
    rounds()
    session.refresh_from_db()
    assert (session.generation, session.status_generation, session.phase) == (2, 1, Phase.PENDING)
    assert not Activity.objects.filter(verb="phase", phase=Phase.RUNNING).exists()


def test_what_has_just_been_dear_is_put_off_to_keep_its_share_of_the_time_but_not_for_long() -> None:
    now = time.monotonic()
    assert pace.next_look(0.01) - now == pytest.approx(0.01 / pace.LOOK, abs=0.3)
    assert pace.next_look(10) - now == pytest.approx(pace.LONGEST_LOOK, abs=0.5)


def test_a_pause_that_awaits_only_the_workers_record_is_looked_at_soon(
    launch: Launch, cast: Cast, reconciled: Any, observe: Any, rounds: Any, controller: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions.pace.LOOK", 1e-9)  # every look is put off for as long as can be
    monkeypatch.setattr("sessions.controller.LOOK_EVERY", 0.5)
    session = reconciled(launch())
    services.pause(cast.owner, session)
    rounds()
    assert controller.next_look - time.monotonic() > 1
    observe(session, exists=False)
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.TERMINATING
    assert controller.next_look - time.monotonic() < 0.6
    reconciled(session)
    time.sleep(0.6)
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.PAUSED


def test_one_launch_alone_waits_for_nothing_but_many_are_gathered(
    launch: Launch, reconciled: Any, observe: Any, rounds: Any, controller: Controller
) -> None:
    session = reconciled(launch())
    observe(session)
    rounds()
    assert controller.next_round <= time.monotonic()
    others = [reconciled(launch(name=f"s-{number}")) for number in range(20)]
    for other in others:
        observe(other)
    rounds()
    assert controller.next_round - time.monotonic() > 0.1
    assert pace.gather(10_000) - time.monotonic() <= pace.LONGEST_WAIT
    for other in [session, *others]:
        observe(other, ready=True, endpoint="unix:/run/s")
    rounds()
    assert not controller.moving


def test_news_is_gathered_until_the_next_round_is_due(controller: Controller, cluster: Cluster, observe: Any, launch: Launch) -> None:
    controller.next_round = time.monotonic() + 0.2
    for name in ("first", "second"):
        controller.inbox.put((cluster.pk, observe(launch(name=name))))
    assert len(controller.read_inbox()) == 2
    assert time.monotonic() >= controller.next_round


def test_a_running_session_of_which_nothing_can_be_learned_is_not_said_to_have_stopped(
    launch: Launch, reconciled: Any, controller: Controller, rounds: Any, driver: FakeDriver
) -> None:
    session = reconciled(launch())
    Session.objects.update(phase=Phase.RUNNING, status_generation=1, applied_at=timezone.now() - timedelta(minutes=1))
    driver.error = ClusterError("Unreachable", "Connection refused.")
    controller.next_resync = 0
    rounds()
    session.refresh_from_db()
    assert session.phase == Phase.RUNNING


def test_a_full_inbox_is_not_left_waiting(controller: Controller, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions.controller.FULL", 3)
    controller.next_round = time.monotonic() + 60
    for number in range(4):
        controller.inbox.put((cluster.pk, Observation(name=f"s-{number}", namespace="research", at=timezone.now(), exists=True)))
    assert len(controller.read_inbox()) == 3
