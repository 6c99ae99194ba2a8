"""Log lines: JSON with ids, one per request, and nothing secret."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from compute import log_context
from compute.models import Workspace
from config import logs
from presets.models import Preset
from tests.config.authorization_cast import World, build
from tests.conftest import Cast
from tests.fakes import FakeDriver

REQUEST_ID = "Root-1.67891233_abcdef"


class Lines:
    """What would be on stderr."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def of(self, logger: str) -> list[dict[str, Any]]:
        return [line for line in self.all if line["logger"] == logger]


@pytest.fixture
def lines() -> Iterator[Lines]:
    found = Lines()
    handler = logging.StreamHandler(found.stream)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield found
    root.setLevel(before)
    root.removeHandler(handler)


@pytest.mark.django_db
def test_a_request_has_one_line_with_its_id_user_and_session(lines: Lines, cast: Cast) -> None:
    response = cast.client("owner").get("/w/research/sessions/lab-bcdfgh/?token=canary-query", headers={"X-Request-ID": REQUEST_ID})
    assert response["X-Request-ID"] == REQUEST_ID
    (line,) = lines.of("slipway.access")
    assert line["at"].endswith("Z") and 0 <= line.pop("duration_s") < 60
    del line["at"]
    assert line == {
        "level": "INFO",
        "logger": "slipway.access",
        "message": "GET /w/research/sessions/lab-bcdfgh/ 404",
        "request_id": REQUEST_ID,
        "user": "owner",
        "session": "lab-bcdfgh",
        "method": "GET",
        "path": "/w/research/sessions/lab-bcdfgh/",
        "status": 404,
    }


@pytest.mark.django_db
@pytest.mark.parametrize("given", ["", "two\nlines", "a b", "x" * 65, '"}', "ümlaut"])
def test_an_id_that_is_not_well_formed_is_replaced(client: Client, lines: Lines, given: str) -> None:
    made = client.get("/healthz", headers={"X-Request-ID": given})["X-Request-ID"]
    assert made != given and len(made) == 32
    assert lines.of("slipway.access")[0]["request_id"] == made


@pytest.mark.django_db
def test_the_line_asks_the_database_nothing(cast: Cast, lines: Lines, django_assert_num_queries: Any) -> None:
    client = cast.client("owner")
    with django_assert_num_queries(1):
        client.get("/healthz")
    (line,) = lines.of("slipway.access")
    assert "user" not in line
    assert line["level"] == "DEBUG"


@pytest.mark.django_db
def test_what_broke_is_told_with_the_same_id(cast: Cast, lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise RuntimeError("Broken on purpose.")

    monkeypatch.setattr("sessions.views.Listing", crash)
    client = cast.client("owner")
    client.raise_request_exception = False
    client.get("/w/research/sessions/", headers={"X-Request-ID": REQUEST_ID})
    (error,) = lines.of("django.request")
    assert (error["level"], error["request_id"], error["user"]) == ("ERROR", REQUEST_ID, "owner")
    assert "RuntimeError: Broken on purpose." in error["traceback"]
    assert set(error) == {"at", "level", "logger", "message", "request_id", "user", "traceback"}  # no request, no cookies
    assert lines.of("slipway.access")[0]["status"] == 500


def test_a_line_stays_one_line_whatever_is_in_it(lines: Lines) -> None:
    with log_context.bound(session="lab"):
        logging.getLogger("slipway.test").info("two\nlines “%s”", 'and "quotes"')
    assert lines.text.count("\n") == 1
    assert lines.all[0]["message"] == 'two\nlines “and "quotes"”'
    record = logging.LogRecord("slipway.test", logging.INFO, "", 0, "forged\n2026-11-23 INFO slipway: all is well", (), None)
    assert "\n" not in logs.LineFormatter().format(record)


def test_what_is_bound_ends_with_the_work() -> None:
    with log_context.bound(request_id="1", user=lambda: "ann"):
        with log_context.bound(session="lab"):
            log_context.add(task="send")
            assert log_context.current() == {"request_id": "1", "user": "ann", "session": "lab", "task": "send"}
        assert log_context.current() == {"request_id": "1", "user": "ann"}
    assert log_context.current() == {}


@pytest.fixture
def world(cast: Cast, workspace: Workspace, preset: Preset, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> World:
    return build(cast, workspace, driver, monkeypatch)


@pytest.mark.django_db
def test_no_line_holds_a_secret(world: World, lines: Lines, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    from sessions import tasks

    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("The driver broke.")

    anonymous = Client(raise_request_exception=False)
    anonymous.post("/sign-in/?next=/canary-next", {"username": "owner", "password": "canary-password"})
    anonymous.get("/gateway/enter?ticket=canary-ticket", headers={"Cookie": "slipway=canary-cookie"})
    anonymous.get("/metrics", headers={"Authorization": "Bearer canary-bearer"})
    admin = world.client("admin")
    admin.post(world.url("storage:secret_write"), {"name": "NEW_SECRET", "value": "canary-typed"})
    for route in ("sessions:list", "sessions:detail", "sessions:logs", "sessions:draft"):
        world.client("owner").get(world.url(route))
    monkeypatch.setattr("sessions.views.Listing", crash)
    world.client("owner").get(world.url("sessions:list"))
    monkeypatch.setattr(driver, "apply", crash)
    type(world.running).objects.update(applied_generation=0, lease_until=None)
    for session in (world.running, world.paused):
        tasks.reconcile(session.pk)
    assert len(lines.of("slipway.access")) == 9
    assert "Broken" in lines.text or "The driver broke." in lines.text
    assert "canary-" not in lines.text


def environment(**changes: str) -> dict[str, str]:
    given = {
        "SLIPWAY_SECRET_KEY": django_settings.SECRET_KEY,
        "SLIPWAY_ENCRYPTION_KEYS": django_settings.SLIPWAY_ENCRYPTION_KEYS[0],
        "SLIPWAY_URL": "http://localhost:8000",
        "SLIPWAY_APPS_URL": "http://apps.localhost:8000",
    }
    return {**os.environ, **given, "DJANGO_SETTINGS_MODULE": "config.settings", **changes}


def run(code: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=django_settings.BASE_DIR, env=environment(**changes), capture_output=True, text=True, timeout=60
    )


def test_the_setting_decides_how_lines_look() -> None:
    code = "import django, logging; django.setup(); logging.getLogger('slipway.test').info('Hello')"
    assert json.loads(run(code, SLIPWAY_LOG_FORMAT="json").stderr)["message"] == "Hello"
    assert run(code, SLIPWAY_LOG_FORMAT="line").stderr.endswith(" INFO slipway.test: Hello\n")
    assert "SLIPWAY_LOG_FORMAT must be one of line, json." in run(code, SLIPWAY_LOG_FORMAT="xml").stderr


def test_gunicorn_speaks_the_same_way_and_needs_no_settings_for_it() -> None:
    code = (
        "import sys; from gunicorn.app.wsgiapp import WSGIApplication; sys.argv = ['gunicorn', '--config', "
        "'python:config.gunicorn_conf', 'config.wsgi']; app = WSGIApplication(); logger = app.cfg.logger_class(app.cfg); "
        "logger.info('Starting'); assert 'config.settings' not in sys.modules"
    )
    found = run(code, SLIPWAY_LOG_FORMAT="json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stderr) | {"at": ""} == {"at": "", "level": "INFO", "logger": "gunicorn.error", "message": "Starting"}
