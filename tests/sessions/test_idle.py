"""Idle sessions: each IDE says itself when it was used last; only its own word pauses a session."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from django_q.models import OrmQ

from compute.models import SlurmCluster
from presets.durations import parse, spell
from presets.ides import IDES
from presets.models import Preset
from sessions import idle, questions
from sessions.models import Activity, Desired, Phase, Session
from sessions.slurm_models import SlurmSight
from tests.conftest import Cast
from tests.sessions.gateway_upstream import Server

pytestmark = pytest.mark.django_db
HOUR = 3600
Make = Callable[..., Session]


class Ide:
    """Answers ``paths`` with JSON, or with bytes as they are; any other with 404. ``asked`` are paths and headers."""

    def __init__(self, path: Path) -> None:
        self.endpoint, self.paths, self.asked = f"unix:{path}", dict[str, Any](), list[tuple[str, dict[str, str]]]()
        self.server = Server(str(path), Handler)
        self.server.ide = self  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def jupyter(self, used: timedelta, kernels: tuple[str, ...] = ()) -> None:
        self.paths["/api/status"] = {"last_activity": (timezone.now() - used).isoformat(), "connections": 1, "kernels": len(kernels)}
        self.paths["/api/kernels"] = [{"execution_state": state} for state in kernels]


class Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        ide: Ide = self.server.ide  # type: ignore[attr-defined]
        ide.asked.append((self.path, dict(self.headers)))
        answer = ide.paths.get(self.path.partition("?")[0])
        if callable(answer):
            answer(self.wfile)
            return
        self.send_response(404 if answer is None else 200)
        self.end_headers()
        self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())


@pytest.fixture
def ide() -> Iterator[Ide]:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path must be short
        ide = Ide(Path(folder) / "ide.sock")
        yield ide
        ide.server.shutdown()
        ide.server.server_close()


@pytest.fixture
def running(launch: Make, preset: Preset, ide: Ide) -> Make:
    """A session that has run for a day, of a preset that pauses after an hour."""

    def running(hours: float = 24, **changes: Any) -> Session:
        Preset.objects.update(idle_pause_seconds=HOUR)
        session = launch(**changes)
        since = timezone.now() - timedelta(hours=hours)
        times = {"phase_since": since, "running_since": since, "queued_at": None}
        generations = {"status_generation": 1, "applied_generation": 1}
        Session.objects.filter(pk=session.pk).update(phase=Phase.RUNNING, endpoint=ide.endpoint, **times, **generations)
        OrmQ.objects.all().delete()
        session.refresh_from_db()
        return session

    return running


def asked(session: Session) -> Session:
    idle.ask(session.pk)
    return Session.objects.select_related("preset").get(pk=session.pk)


def is_near(at: datetime | None, ago: timedelta) -> bool:
    return at is not None and abs(timezone.now() - ago - at) < timedelta(seconds=20)


def test_a_session_that_nobody_used_for_too_long_is_paused_and_told_why(running: Make, ide: Ide) -> None:
    ide.jupyter(timedelta(hours=2), ("idle",))
    session = asked(running())
    assert (session.desired, session.generation, session.requested_by) == (Desired.PAUSED, 2, None)
    told = Activity.objects.get(verb="pause")
    assert told.actor is None and told.reason == "Idle"
    assert told.message.startswith(f"After {spell(HOUR)} without activity. It was last used at ")
    assert OrmQ.objects.count() == 1


def test_a_session_that_was_used_goes_on_and_is_asked_again_in_time(running: Make, ide: Ide) -> None:
    ide.jupyter(timedelta(minutes=30))
    session = asked(running())
    assert session.desired == Desired.RUNNING and is_near(session.last_activity, timedelta(minutes=30))
    assert is_near(session.ask_activity_at, -timedelta(minutes=5))
    known = idle.idleness_of(session)
    assert known is not None and is_near(known.pauses_at, -timedelta(minutes=30)) and not known.is_near
    ide.jupyter(timedelta(minutes=58))
    Session.objects.update(last_activity=None)
    known = idle.idleness_of(asked(session))
    assert known is not None and known.is_near and is_near(known.pauses_at, -timedelta(minutes=2))


def test_a_busy_kernel_is_use(running: Make, ide: Ide) -> None:
    ide.jupyter(timedelta(hours=9), ("idle", "busy"))
    session = asked(running())
    assert session.desired == Desired.RUNNING and is_near(session.last_activity, timedelta(0))


def test_a_start_is_use_whatever_the_ide_says(running: Make, ide: Ide) -> None:
    ide.jupyter(timedelta(days=400))
    session = asked(running(hours=0.5))
    assert session.desired == Desired.RUNNING and is_near(session.last_activity, timedelta(minutes=30))


def test_a_click_on_open_and_a_slurm_job_are_use(running: Make, ide: Ide, cast: Cast) -> None:
    ide.jupyter(timedelta(hours=2))
    session = running()
    Activity.objects.create(workspace=session.workspace, session=session, host=session.host, verb="open", actor=cast.owner)
    assert asked(session).desired == Desired.RUNNING
    Activity.objects.filter(verb="open").update(at=timezone.now() - timedelta(hours=3))
    slurm = SlurmCluster.objects.create(name="hpc", display_name="HPC", controllers="hpc:6817")
    Session.objects.update(slurm_cluster=slurm)
    sight = SlurmSight.objects.create(slurm_cluster=slurm, user=cast.owner, running_jobs=1, answered_at=timezone.now())
    assert asked(session).desired == Desired.RUNNING
    sight.delete()
    assert asked(session).desired == Desired.RUNNING  # the limit counts from its end
    Session.objects.update(last_activity=timezone.now() - timedelta(hours=1))
    assert asked(session).desired == Desired.PAUSED


DRIP = (b"HTTP/1.0 200 OK\r\n\r\n", b" ")


def drip(wire: Any) -> None:
    with suppress(OSError):
        wire.write(DRIP[0])
        for _ in range(600):
            wire.write(DRIP[1])
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (None, "It answered with the status 404."),
        (b"<html>", "Its answer could not be understood."),
        ({"last_activity": "yesterday"}, "Its answer could not be understood."),
        ({"last_activity": "2020-01-01T00:00:00"}, "Its answer could not be understood."),
        ([], "Its answer could not be understood."),
        (b"[" * 100_000, "Its answer could not be understood."),
        (drip, "It did not answer in time."),
    ],
)
def test_an_ide_that_does_not_tell_is_never_idle(
    running: Make, ide: Ide, status: Any, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "SECONDS", 0.5)
    ide.paths = {"/api/kernels": [], "/api/status": status} if status is not None else {}
    session = asked(running())
    assert (session.desired, session.activity_problem, session.last_activity) == (Desired.RUNNING, problem, None)
    known = idle.idleness_of(session)
    assert known is not None and known.pauses_at is None and known.problem == problem
    ide.jupyter(timedelta(minutes=1))
    assert asked(session).activity_problem == ""


def test_an_ide_that_is_not_there_is_never_idle(running: Make) -> None:
    session = running()
    Session.objects.update(endpoint="unix:/nowhere/ide.sock")
    assert asked(session).activity_problem == "It could not be reached."


def test_vs_code_tells_its_heartbeat_and_is_asked_with_its_own_sign_in(running: Make, ide: Ide) -> None:
    session = running()
    Preset.objects.update(ide="code-server")
    ide.paths["/healthz"] = {"status": "expired", "lastHeartbeat": int((time.time() - 600) * 1000)}
    assert is_near(asked(session).last_activity, timedelta(minutes=10))
    ide.paths["/healthz"] = {"status": "expired", "lastHeartbeat": 0}  # nobody has opened it yet
    Session.objects.update(last_activity=None)
    assert asked(session).desired == Desired.PAUSED
    assert ide.asked[0][1]["Cookie"] == IDES["code-server"].upstream_headers(session.ide_token)["Cookie"]


def test_jupyter_is_asked_with_its_token_and_without_counting_as_use(running: Make, ide: Ide) -> None:
    ide.jupyter(timedelta(minutes=1))
    session = asked(running())
    assert [path for path, _ in ide.asked] == ["/api/status", "/api/kernels?no_track_activity=1"]
    assert {headers["Authorization"] for _, headers in ide.asked} == {f"token {session.ide_token}"}


def test_a_preset_of_an_ide_that_does_not_tell_can_not_pause(preset: Preset) -> None:
    preset.ide, preset.idle_pause_seconds = "rstudio", HOUR
    with pytest.raises(ValidationError, match="RStudio does not tell"):
        preset.full_clean()


def test_what_was_asked_for_meanwhile_wins(running: Make, ide: Ide, cast: Cast) -> None:
    """Between the question and the answer its user paused and resumed it."""
    ide.jupyter(timedelta(hours=2))
    session = running()
    (loaded,) = idle._load([session.pk])
    Session.objects.update(generation=3)
    (answer,) = questions.ask([idle._question(loaded)])
    idle._take(loaded, answer)
    session.refresh_from_db()
    assert (session.generation, session.desired, session.last_activity) == (3, Desired.RUNNING, None)


def test_only_what_is_due_is_asked_and_all_of_it_in_a_few_tasks(
    running: Make, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        assert idle.queue_due() == 0
    sessions = [running(name=f"s{number}") for number in range(3)]
    Session.objects.filter(pk=sessions[1].pk).update(ask_activity_at=timezone.now() + timedelta(minutes=1))
    Session.objects.filter(pk=sessions[2].pk).update(phase=Phase.PENDING)
    with django_assert_max_num_queries(8):  # PostgreSQL tells the worker
        assert idle.queue_due() == 1
    assert OrmQ.objects.count() == 1
    with django_assert_num_queries(2):
        assert idle.queue_due() == 0
    Preset.objects.update(idle_pause_seconds=None)
    assert idle.queue_due() == 0


def test_a_new_limit_holds_at_once(running: Make, ide: Ide) -> None:
    ide.jupyter(timedelta(minutes=30))
    running()
    Preset.objects.update(idle_pause_seconds=24 * HOUR)
    asked(Session.objects.get())
    assert idle.queue_due() == 0
    Preset.objects.update(idle_pause_seconds=HOUR // 4)
    assert idle.queue_due() == 1
    assert asked(Session.objects.get()).desired == Desired.PAUSED


def test_asking_many_costs_as_little_as_the_slowest_of_them(running: Make, ide: Ide, django_assert_max_num_queries: Any) -> None:
    ide.jupyter(timedelta(minutes=1))
    sessions = [running(name=f"s{number}") for number in range(4)]
    with django_assert_max_num_queries(1 + len(sessions)):
        idle.ask(*(session.pk for session in sessions))


def test_the_page_and_the_list_say_when_a_session_pauses_and_who_paused_it(running: Make, ide: Ide, cast: Cast) -> None:
    ide.jupyter(timedelta(minutes=55))
    session = asked(running())
    page = cast.client("owner").get(session.get_absolute_url()).content.decode()
    assert f"Pauses after {spell(HOUR)} without activity" in page and "Last activity" in page
    assert "Idle: this session is paused soon" in page
    assert "Pauses soon" in cast.client("owner").get("/w/research/sessions/").content.decode()
    ide.jupyter(timedelta(hours=2))
    Session.objects.update(last_activity=None)
    page = cast.client("owner").get(asked(session).get_absolute_url()).content.decode()
    assert '<span class="strong">Slipway</span> paused it' in page and "is paused soon" not in page


@pytest.mark.parametrize(
    ("text", "seconds"), [("4 h", 14400), ("90", 5400), ("1h30m", 5400), ("2 days", 172800), ("45 s", 45), ("1 h 5 min 3 s", 3903)]
)
def test_a_length_of_time_is_read_as_people_write_it_and_written_so_that_it_can_be_read(text: str, seconds: int) -> None:
    assert parse(text) == seconds == parse(spell(seconds))


@pytest.mark.parametrize("text", ["", "soon", "4 fortnights", "-3 h", "1.5 h"])
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)
