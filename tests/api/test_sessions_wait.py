"""``?wait=``: answers when the phase is there, or can't come any more; one thread looks for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from compute.models import Workspace
from presets.models import Preset
from sessions import services
from sessions.api.waiting import State, is_over, waiters
from sessions.models import Desired, Phase, Session
from sessions.spec import HomeInput, SpecInput
from tests.api.conftest import Answer, Tokened
from tests.conftest import Cast

HERE = "workspaces/research/sessions"


@pytest.mark.parametrize(
    ("wanted", "phase", "desired", "is_settled", "over"),
    [
        ("Running", "Running", "running", True, True),
        ("Running", "Running", "running", False, False),  # of an earlier wish
        ("Running", "Pending", "running", True, False),
        ("Running", "Failed", "running", True, True),
        ("Running", "Failed", "running", False, False),  # it was asked to try again
        ("Running", "Pending", "paused", False, True),
        ("Running", "Unknown", "running", True, False),
        ("Paused", "Running", "paused", False, False),
        ("Paused", "Paused", "paused", True, True),
        ("Paused", "Paused", "running", False, True),
        ("Failed", "Pending", "running", True, False),
        ("Failed", "Failed", "running", True, True),
        ("Deleted", "Terminating", "deleted", True, False),
        ("Deleted", "Running", "running", True, True),
    ],
)
def test_when_a_wait_is_over(wanted: str, phase: str, desired: str, is_settled: bool, over: bool) -> None:
    assert is_over(State(phase, desired, is_settled), wanted) == over
    assert is_over(None, wanted)


@pytest.fixture
def lab(cast: Cast, workspace: Workspace, preset: Preset) -> Session:
    return services.launch(cast.owner, workspace, SpecInput("lab", "jupyterlab", "minimal", "small", home=HomeInput(create_size="5Gi")))


def test_what_is_over_already_answers_at_once(lab: Session, api: Tokened, django_assert_max_num_queries: Any) -> None:
    Session.objects.update(phase=Phase.RUNNING, status_generation=1)
    client = api("owner")
    with django_assert_max_num_queries(9):
        assert client.get(f"{HERE}/lab", wait="Running", timeout=60).data["phase"] == "Running"
    assert client.get(f"{HERE}/lab", wait="Running", timeout=61).fields == [("timeout", "max_value")]
    assert client.get(f"{HERE}/lab", wait="Sleeping").fields == [("wait", "invalid_choice")]


def test_where_too_many_wait_the_next_is_answered_at_once(lab: Session, api: Tokened, settings: Any) -> None:
    settings.SLIPWAY_API_WAITERS = 0
    answer = api("owner").get(f"{HERE}/lab", wait="Running", timeout=60)
    assert (answer.status, answer.data["phase"], answer["Retry-After"]) == (200, "Pending", "2")


def ask(client: Any, answers: list[Answer], wait: str, timeout: int = 30) -> threading.Thread:
    def run() -> None:
        try:
            answers.append(client.get(f"{HERE}/lab", wait=wait, timeout=timeout))
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.usefixtures("database_file")
def test_all_who_wait_are_told_by_one_thread_that_ends_with_them(lab: Session, browser: Any, settings: Any) -> None:
    settings.SLIPWAY_API_WAITERS = 3
    answers: list[Answer] = []
    clients = [browser("owner") for _ in range(3)]
    threads = [ask(client, answers, "Running") for client in clients]
    until(lambda: waiters._watched.total() == 3)
    assert [thread.name for thread in threading.enumerate()].count("api-waiters") == 1
    Session.objects.update(phase=Phase.RUNNING, status_generation=1)
    for thread in threads:
        thread.join(20)
    assert [answer.data["phase"] for answer in answers] == ["Running"] * 3
    until(lambda: "api-waiters" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.usefixtures("database_file")
@pytest.mark.parametrize("end", ["Failed", "paused", "gone"])
def test_a_wait_ends_when_it_has_become_hopeless(lab: Session, browser: Any, end: str) -> None:
    answers: list[Answer] = []
    thread = ask(browser("owner"), answers, "Running")
    until(lambda: waiters._watched.total() == 1)
    if end == "Failed":
        Session.objects.update(phase=Phase.FAILED, status_generation=1)
    elif end == "paused":
        Session.objects.update(desired=Desired.PAUSED, generation=2)
    else:
        Session.objects.all().delete()
    thread.join(20)
    assert answers[0].status == (404 if end == "gone" else 200)


@pytest.mark.usefixtures("database_file")
def test_a_wait_ends_with_its_time(lab: Session, browser: Any) -> None:
    answers: list[Answer] = []
    ask(browser("owner"), answers, "Running", timeout=1).join(20)
    assert answers[0].data["phase"] == "Pending"
    assert "Retry-After" not in answers[0].response
