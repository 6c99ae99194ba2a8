"""Of several controllers one leads, and the next one takes over when it ends or falls silent."""

from __future__ import annotations

import subprocess
import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from sessions import controller
from sessions.heartbeat import CONTROLLER
from sessions.lease import TERM, Lease
from sessions.machine import MACHINE
from sessions.models import Heartbeat

pytestmark = pytest.mark.django_db


@pytest.fixture
def other() -> Lease:
    """The lease of a controller on another machine."""
    lease = Lease()
    lease.holder = "elsewhere/1/100"
    return lease


def test_one_leads_and_the_other_waits(other: Lease) -> None:
    mine = Lease()
    assert mine.take()
    assert mine.take()
    assert not other.take()
    mine.release()
    assert other.take()


def test_a_leader_that_falls_silent_is_replaced_and_notices(other: Lease) -> None:
    mine = Lease()
    assert other.take()
    assert not mine.take()
    Heartbeat.objects.filter(name=CONTROLLER).update(at=timezone.now() - TERM - timedelta(seconds=1))
    assert mine.take()
    other.renewed = 0
    assert not other.hold()
    assert mine.hold()


def test_nobody_waits_for_a_leader_of_this_machine_that_has_ended() -> None:
    dead, mine = Lease(), Lease()
    ended = subprocess.Popen(["true"])
    ended.wait()
    for holder in (f"{MACHINE}/{ended.pid}/100/boot", mine.holder + "0"):  # the second had this pid before
        dead.holder = holder
        assert dead.take()
        assert mine.take()
        mine.release()


def test_a_clock_that_was_set_back_holds_nobody_up(other: Lease) -> None:
    Heartbeat.objects.create(name=CONTROLLER, at=timezone.now() + timedelta(days=1), holder="elsewhere/2/100")
    assert other.take()


def test_a_controller_that_lost_its_lease_ends_its_term(other: Lease) -> None:
    mine = Lease()
    assert mine.take()
    Heartbeat.objects.filter(name=CONTROLLER).update(holder=other.holder)
    mine.renewed = 0
    controller.Controller(threading.Event()).run(mine)
    assert Heartbeat.objects.get(name=CONTROLLER).holder == other.holder
