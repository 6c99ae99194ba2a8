"""Whatever is killed, lost, repeated or held up: sessions end up as they were asked for, once each, with their folders.

Each test breaks a stack of its own (not the one that the other live tests share) while sessions are at several points
of their lives at once, and ends with ``Lab.check``. It prints how long everything took to be well again.
"""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from django.db import connection, transaction
from django.utils import timezone
from django_q.models import OrmQ
from django_q.tasks import async_task

from sessions import tasks
from sessions.models import Phase, Session
from tests.browser import Browser, Form, Page
from tests.laboratory import GONE, wait_until
from tests.live.conftest import PASSWORDS, need, new_workspace
from tests.live.faults.lab import HELD_ROW, LOST_TASK, SOON, Lab, Subject, breakable_stack, set_clock
from tests.stack import Stack

RUNNING, PAUSED, FAILED = Phase.RUNNING, Phase.PAUSED, Phase.FAILED
STOPPED = 10.0  # within how many seconds all of Slipway stops
PROGRAMS = ("worker", "controller", "web", "relay", "nginx")


@pytest.fixture(scope="module")
def stack(django_db_blocker: Any) -> Iterator[Stack]:
    need("nginx", "nginx-light")
    with django_db_blocker.unblock(), breakable_stack() as running:
        yield running


@pytest.fixture
def lab(stack: Stack) -> Iterator[Lab]:
    """In a workspace of its own. What a test leaves is deleted at its end, and nothing but the folders may be left."""
    lab = Lab(stack, new_workspace())
    yield lab
    lab.end()
    lab.check()


def at_every_point(lab: Lab) -> dict[str, str]:
    """Sessions that run, start (until they are released), are being paused, resumed and deleted and, last of all, so that
    it is still queued, one that has just been launched. Returns the phase that each is to reach."""
    starting = lab.launch("starting", hold=True)
    _, pausing, resuming, deleting = lab.launch_all("running", "pausing", "resuming", "deleting")
    resuming.pause()
    lab.reach({"resuming": PAUSED}, SOON)
    wait_until(starting.is_starting, SOON, "an IDE that starts")
    pausing.pause()
    deleting.delete()
    resuming.resume()
    lab.launch("accepted")
    return {"starting": RUNNING, "running": RUNNING, "pausing": PAUSED, "resuming": RUNNING, "deleting": GONE, "accepted": RUNNING}


def all_is_well(lab: Lab, wanted: dict[str, str], what: str, untouched: tuple[Subject, ...] = ()) -> None:
    """Everything reaches its phase, and nothing was started more often than it was asked for."""
    mains = [one.main for one in untouched]
    lab["starting"].release()
    lab.reach(wanted, SOON, what)
    lab.check()
    assert [one.main for one in untouched] == mains
    assert {one.session.name: one.starts for one in lab.subjects if one.starts != 1} == {"resuming": 2}


# kill -9 of Slipway's own programs


@pytest.mark.parametrize("programs", [("worker",), ("controller",), ("web",), PROGRAMS], ids=["worker", "controller", "web", "all"])
def test_a_kill_at_any_point_of_a_session_changes_nothing_but_seconds(lab: Lab, programs: tuple[str, ...]) -> None:
    wanted = at_every_point(lab)
    for program in programs:
        lab.stack.kill(program)
    all_is_well(lab, wanted, f"kill -9 of {', '.join(programs)}", untouched=(lab["running"],))


def test_a_task_that_is_killed_at_work_is_done_again(lab: Lab) -> None:
    """The test holds the driver's locks, so that both tasks are in their calls when the worker is killed."""
    (pausing,) = lab.launch_all("pausing")
    with ExitStack() as held:
        with transaction.atomic():
            launched = lab.launch("launched")
            held.enter_context(launched.on_disk.locked())
        held.enter_context(pausing.on_disk.locked())
        pausing.pause()
        wait_until(lambda: all(one.is_leased() for one in (launched, pausing)), SOON, "both tasks are at work")
        killed = lab.stack.kill("worker")
        wait_until(lambda: lab.stack.pid("worker") != killed, SOON, "another worker")
    lab.reach({"launched": RUNNING, "pausing": PAUSED}, HELD_ROW, "kill -9 of a worker in the driver's call")
    lab.check()


def test_a_launch_that_the_web_did_not_survive_can_be_sent_again(lab: Lab) -> None:
    """Clicks shortly before, while and after the web is killed; each is sent again until there is an answer, as a user
    who reloads the page does."""
    browser = Browser(lab.stack.url)
    browser.sign_in("member", PASSWORDS["member"])
    steps = {name: last_step(lab, browser, name) for name in ("before", "while", "after")}

    def click(name: str) -> str:
        own = Browser(lab.stack.url)  # one may not be shared by threads
        own.http.cookies.update(browser.http.cookies)
        try:
            return own.submit(*steps[name], {}, "launch").path
        except (AssertionError, requests.RequestException):
            return ""

    clicks = [threading.Thread(target=click, args=(name,)) for name in steps]
    for number, thread in enumerate(clicks):
        if number == 2:
            lab.stack.kill("web")
        thread.start()
        time.sleep(0.05)
    for thread in clicks:
        thread.join()
    for name in steps:
        path = wait_until(partial(click, name), SOON, f"an answer to the click {name} the kill")
        found = re.fullmatch(r"/w/[^/]+/sessions/([^/]+)/", path)
        assert found, path
        lab.follow_host(found[1])
    assert Session.objects.filter(workspace=lab.workspace).count() == len(steps)
    lab.reach(dict.fromkeys(steps, RUNNING), SOON, "launches while the web was killed")
    lab.check()


def last_step(lab: Lab, browser: Browser, name: str) -> tuple[Page, Form]:
    """The page whose next click launches the session."""
    page = browser.get(f"/w/{lab.workspace.name}/sessions/new/?preset=vscode")
    page = browser.submit(page, page.form("/preset/", field="name"), {"name": name}, "next")
    page = browser.submit(page, page.form("/compute/"), {}, "next")
    return page, page.form("/storage/")


# kill -9 of a session's processes


def test_a_session_whose_processes_are_killed_goes_on_or_says_so(lab: Lab) -> None:
    names = ("running", "crashing", "crashing-alone", "pausing", "deleting")
    early, starting, failing = (lab.launch(name, hold=True) for name in ("early", "starting", "failing"))
    wait_until(lambda: early.supervisor, SOON, "a supervisor").send(signal.SIGKILL)
    running, crashing, alone, pausing, deleting = lab.launch_all(*names)
    wait_until(lambda: starting.is_starting() and failing.is_starting(), SOON, "IDEs that start")
    main = running.main
    pausing.pause()
    deleting.delete()
    for subject in (starting, running, alone, pausing, deleting):
        subject.kill_supervisor()
    for subject in (failing, crashing, alone, pausing):
        subject.kill_ide()
    early.release(), starting.release(), failing.release()
    wanted = dict.fromkeys(("early", "starting", "running"), RUNNING) | dict.fromkeys(("failing", "crashing", "crashing-alone"), FAILED)
    lab.reach(wanted | {"pausing": PAUSED, "deleting": GONE}, SOON, "kill -9 of supervisors and IDEs")
    lab.check()
    assert running.main == main
    for subject in (failing, crashing, alone):
        assert subject.told()[-1] == (FAILED, "Crashed")
        subject.resume()
    lab.reach(dict.fromkeys(("failing", "crashing", "crashing-alone"), RUNNING), SOON, "resumed after a crash")
    lab.check()


# Tasks


def test_what_a_lost_task_was_to_do_is_done_all_the_same(lab: Lab) -> None:
    """Whatever the times in its row say; they may come from a clock that jumped."""
    year, now = timedelta(days=365), timezone.now()
    times: dict[str, dict[str, Any]] = {
        "launched": {},
        "leased": {"lease_until": now + year, "lease_holder": "nobody"},
        "leased-once": {"lease_until": now - year, "lease_holder": "nobody"},
        "queued": {"queued_at": now + year},
        "queued-once": {"queued_at": now - year},
        "tried": {"next_try_at": now + year},
    }
    pausing, deleting = lab.launch_all("pausing", "deleting")
    with transaction.atomic():
        for name, fields in times.items():
            subject = lab.launch(name)
            Session.objects.filter(pk=subject.session.pk).update(attempts=0, **fields)
        pausing.pause()
        deleting.delete()
        assert OrmQ.objects.all().delete()[0] >= len(lab.subjects)
    lab.reach(dict.fromkeys(times, RUNNING) | {"pausing": PAUSED, "deleting": GONE}, LOST_TASK, "lost tasks")
    lab.check()


def test_a_task_that_runs_many_times_at_once_acts_once(lab: Lab) -> None:
    """By all of the worker's processes and by two threads of ours."""

    def repeat(subject: Subject) -> list[threading.Thread]:
        for _ in range(6):
            async_task(tasks.reconcile, subject.session.pk)
        return [threading.Thread(target=reconcile_here, args=(subject,)) for _ in range(2)]

    def reconcile_here(subject: Subject) -> None:
        with closing(connection):
            for _ in range(3):
                tasks.reconcile(subject.session.pk)

    pausing, deleting = lab.launch_all("pausing", "deleting")
    with transaction.atomic():
        launched = lab.launch("launched")
        pausing.pause()
        deleting.delete()
        threads = repeat(launched) + repeat(pausing) + repeat(deleting)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lab.reach({"launched": RUNNING, "pausing": PAUSED, "deleting": GONE}, SOON, "repeated tasks")
    wait_until(lambda: not OrmQ.objects.filter(lock__lt=timezone.now() - timedelta(seconds=1)).exists(), SOON, "an empty queue")
    lab.check()
    assert [subject.starts for subject in lab.subjects] == [1, 1, 1]


# Clocks


def test_times_in_a_row_that_cannot_be_true_change_nothing(lab: Lab) -> None:
    year, now = timedelta(days=365), timezone.now()
    times = {
        "applied": {"applied_at": now + year},
        "applied-once": {"applied_at": now - year},
        "since": {"phase_since": now + year},
        "since-once": {"phase_since": now - year},
        "all": {"applied_at": now - year, "phase_since": now + year, "lease_until": now + year, "next_try_at": now + year},
    }
    starting = [lab.launch(name, hold=True) for name in times]
    (running,) = lab.launch_all("running")
    main = running.main
    wait_until(lambda: all(subject.is_starting() for subject in starting), SOON, "IDEs that start")
    for name, fields in times.items():
        Session.objects.filter(pk__in=(lab[name].session.pk, running.session.pk)).update(**fields)
    for subject in starting:
        subject.release()
    lab.reach(dict.fromkeys([*times, "running"], RUNNING), SOON, "impossible times")
    assert running.main == main
    for subject in lab.subjects:
        subject.pause()
    lab.reach(dict.fromkeys([*times, "running"], PAUSED), SOON, "paused after impossible times")
    lab.check()
    assert {subject.starts for subject in lab.subjects} == {1}


@pytest.fixture
def clock(stack: Stack) -> Iterator[Path]:
    file = Path(stack.environment["SLIPWAY_TEST_CLOCK"])
    yield file
    set_clock(file, 0)


@pytest.mark.parametrize(("before", "after"), [(0, 3600), (3600, 0)], ids=["forward", "back"])
def test_a_clock_that_jumps_an_hour_changes_nothing_but_seconds(lab: Lab, clock: Path, before: int, after: int) -> None:
    set_clock(clock, before)
    wanted = at_every_point(lab)
    set_clock(clock, after)
    all_is_well(lab, wanted, f"clock from {before} to {after} s off", untouched=(lab["running"],))


# Slipway as a whole


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_sessions_outlive_slipway_and_are_found_again_and_nothing_else_does(lab: Lab, number: signal.Signals) -> None:
    stack = lab.stack
    assert stack.process is not None
    jupyter = lab.launch("jupyter", preset="jupyterlab")
    wanted = at_every_point(lab)
    lab.reach({"jupyter": RUNNING}, SOON)
    (crashing,) = lab.launch_all("crashing")
    programs = psutil.Process(stack.process.pid).children(recursive=True)
    assert len(programs) >= 10
    mains = [jupyter.main, lab["running"].main]
    os.kill(stack.process.pid, number)
    stack.process.wait(STOPPED)
    _, alive = psutil.wait_procs(programs, timeout=STOPPED)
    assert alive == []
    assert all(one is not None and one.alive() for one in mains)
    crashing.kill_ide()
    lab.launch("meanwhile")  # as a colleague's web on another machine would
    stack.start()  # on the same port, with the same data
    lab["starting"].release()
    wanted |= {"jupyter": RUNNING, "meanwhile": RUNNING, "crashing": FAILED}
    lab.reach(wanted, SOON, f"Slipway {number.name}")
    lab.check()
    assert [jupyter.main, lab["running"].main] == mains


def test_a_database_that_fails_for_seconds_holds_things_up_for_seconds(lab: Lab) -> None:
    """SQLite: locked by another program for 5 s. PostgreSQL: every connection is ended, three times."""
    wanted = at_every_point(lab)
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(str(connection.settings_dict["NAME"]), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(5)
            other.execute("ROLLBACK")
    else:
        for _ in range(3):
            with connection.cursor() as cursor:
                mine = "datname = current_database() AND pid <> pg_backend_pid()"
                cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}")
            time.sleep(0.7)
    all_is_well(lab, wanted, f"{connection.vendor} failed", untouched=(lab["running"],))
