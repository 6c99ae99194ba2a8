"""The queue's broker: what waits together is done together, and nothing is taken twice, lost, or left waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ
from django_q.signing import SignedPackage

from sessions import heartbeat, tasks
from sessions.broker import Broker
from sessions.models import Session
from tests.fakes import FakeDriver

Launch = Callable[..., Session]


@pytest.fixture
def broker(db: None, monkeypatch: pytest.MonkeyPatch) -> Broker:
    monkeypatch.setattr(Conf, "POLL", 0.01)
    return Broker(list_key=Conf.CLUSTER_NAME)


def run(payload: str) -> None:
    task = SignedPackage.loads(payload)
    task["func"](*task["args"])


def test_reconciles_that_wait_are_shared_out_evenly_in_batches(launch: Launch, broker: Broker, driver: FakeDriver) -> None:
    sessions = [launch(name=f"s-{number}") for number in range(10)]
    taken = broker.dequeue()
    assert [len(rows) for rows, _ in taken] == [3, 3, 3, 1]
    assert heartbeat.in_hand() == Conf.WORKERS == 4
    assert broker.dequeue() == []
    for rows, payload in taken:
        run(payload)
        broker.acknowledge(rows)
    assert {workload.name for workload in driver.applied} == {session.host for session in sessions}
    assert not Session.objects.needing_apply().exists()
    assert not OrmQ.objects.exists()


def test_a_long_queue_is_taken_in_order_and_not_all_at_once(launch: Launch, broker: Broker) -> None:
    for number in range(40):
        tasks.async_task(tasks.reconcile, number)
    taken = [SignedPackage.loads(payload)["args"] for _, payload in broker.dequeue()]
    assert [list(ids) for ids in taken] == [list(range(start, start + 8)) for start in (0, 8, 16, 24)]
    assert heartbeat.in_hand() == 4


def test_many_that_come_one_by_one_are_gathered(launch: Launch, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessions.broker.LONGEST_GATHER", 0.2)
    waited = []
    for number in range(6):
        tasks.async_task(tasks.reconcile, number)
        began = time.monotonic()
        assert len(broker.dequeue()) == 1
        waited.append(time.monotonic() - began)
    assert max(waited[:3]) < 0.1  # nobody alone waits
    assert min(waited[4:]) >= 0.04
    for number in range(12):
        tasks.async_task(tasks.reconcile, number)
    assert [len(rows) for rows, _ in broker.dequeue()] == [8, 4]


def test_other_tasks_travel_alone(launch: Launch, broker: Broker) -> None:
    row = heartbeat.queue_beat()
    launch()
    OrmQ.objects.create(key=Conf.CLUSTER_NAME, payload="not signed", lock=timezone.now())
    taken = broker.dequeue()
    assert [row] in [rows for rows, _ in taken]
    assert [len(rows) for rows, _ in taken] == [1, 1, 1]
    assert "not signed" in [payload for _, payload in taken]


def test_what_another_worker_has_just_taken_is_left_to_it(launch: Launch, broker: Broker) -> None:
    launch(name="a")
    launch(name="b")
    now = timezone.now()
    first, second = OrmQ.objects.order_by("pk").values_list("pk", flat=True)
    theirs = now + timedelta(minutes=1)
    OrmQ.objects.filter(pk=first).update(lock=theirs)
    assert broker._claim(([first, second], ""), now, now + timedelta(minutes=2)) is None
    assert OrmQ.objects.get(pk=first).lock == theirs
    assert [rows for rows, _ in broker.dequeue()] == [[second]]


def test_a_database_that_is_away_is_asked_again(launch: Launch, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    launch()
    failures = [OperationalError("server closed the connection")]
    take = broker._take

    def away_once(together: int) -> list[Any]:
        if failures:
            raise failures.pop()
        return take(together)

    monkeypatch.setattr(broker, "_take", away_once)
    monkeypatch.setattr("sessions.broker.AWAY", 0)
    with monkeypatch.context() as patch:
        patch.setattr(connection, "close", lambda: None)  # the test's own transaction needs it
        assert broker.dequeue() == []
    assert len(broker.dequeue()) == 1


@pytest.fixture
def committing(transactional_db: None) -> Iterator[None]:
    yield
    OrmQ.objects.all().delete()


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_a_commit_ends_the_wait(committing: None, monkeypatch: pytest.MonkeyPatch, pause: float) -> None:
    """On PostgreSQL by its word (it would poll too late), else by polling."""
    monkeypatch.setattr(Conf, "POLL", 60 if connection.vendor == "postgresql" else 0.01)
    broker = Broker(list_key=Conf.CLUSTER_NAME)
    broker._listen()

    def queue() -> None:
        time.sleep(pause)
        tasks.async_task(tasks.reconcile, 1)
        connection.close()

    thread = threading.Thread(target=queue)
    thread.start()
    started = time.monotonic()
    taken: list[Any] = []
    while not taken and time.monotonic() - started < 30:
        taken = broker.dequeue()
    thread.join()
    assert len(taken) == 1


def test_where_words_come_the_queue_is_looked_at_seldom(committing: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL says a word.")
    monkeypatch.setattr(Conf, "POLL", 0.01)
    monkeypatch.setattr("sessions.broker.POLL_BESIDES", 0.3)
    broker = Broker(list_key=Conf.CLUSTER_NAME)
    waits = []
    for number in range(5):
        if number == 2:
            tasks.async_task(tasks.reconcile, 1)
            assert broker.dequeue()
        began = time.monotonic()
        assert broker.dequeue() == []
        waits.append(time.monotonic() - began)
    assert max(waits[:2]) < 0.2  # nothing was ever said
    assert waits[4] >= 0.3
