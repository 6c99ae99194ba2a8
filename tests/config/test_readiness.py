"""/readyz: 200 only from a process that can serve, and otherwise the name of what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from config import readiness
from presets.models import Preset
from sessions import services
from sessions.models import Session
from sessions.spec import HomeInput, SpecInput
from tests.conftest import Cast

pytestmark = pytest.mark.django_db
OTHER_KEY = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="


@pytest.fixture
def launch(cast: Cast, preset: Preset) -> Callable[[str], Session]:
    def launch(name: str) -> Session:
        spec = SpecInput(name=name, preset="jupyterlab", image="minimal", pod_size="small", home=HomeInput(create_size="5Gi"))
        return services.launch(cast.owner, cast.owner.memberships.get().workspace, spec)

    return launch


def problems(client: Client, status: int = 503) -> Any:
    response = client.get("/readyz")
    assert response.status_code == status
    assert response.json()["ready"] is (status == 200)
    return response.json()["problems"]


def test_it_is_ready_with_a_migrated_database_and_its_keys(client: Client, launch: Callable[[str], Session]) -> None:
    launch("lab")
    assert problems(client, 200) == {}


def test_asking_costs_the_same_few_queries_whatever_is_stored(launch: Any, django_assert_num_queries: Any) -> None:
    for number in range(5):
        launch(f"lab-{number}")
    readiness.problems()
    with django_assert_num_queries(3):
        readiness.problems()


def test_it_is_not_ready_without_its_database(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("password canary-password refused")

    monkeypatch.setattr(MigrationRecorder, "applied_migrations", away)
    assert problems(client) == {"database": "It can't be asked (OperationalError)."}


def test_it_is_not_ready_before_its_migrations_are_applied(client: Client) -> None:
    app, name = max(key for key in readiness._migrations() if key[0] == "notebook_sessions")
    MigrationRecorder(connection).record_unapplied(app, name)
    assert problems(client)["migrations"].startswith("1 not applied")


def test_a_database_that_is_already_newer_does_not_stop_the_old_version(client: Client) -> None:
    MigrationRecorder(connection).record_applied("notebook_sessions", "9999_of_the_next_version")
    assert problems(client, 200) == {}


def test_it_is_not_ready_with_keys_that_do_not_fit(client: Client, launch: Any, settings: Any) -> None:
    settings.SLIPWAY_ENCRYPTION_KEYS = [OTHER_KEY]
    assert problems(client, 200) == {}  # nothing is stored yet
    settings.SLIPWAY_ENCRYPTION_KEYS = ["MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="]
    launch("lab")
    settings.SLIPWAY_ENCRYPTION_KEYS = [OTHER_KEY]
    assert "do not fit" in problems(client)["encryption"]


def test_it_is_not_ready_with_a_key_that_is_none(client: Client, settings: Any) -> None:
    settings.SLIPWAY_ENCRYPTION_KEYS = ["no-key"]
    assert "no Fernet key" in problems(client)["encryption"]


def test_one_damaged_value_does_not_take_the_web_away(client: Client, launch: Any) -> None:
    launch("lab")
    damaged = launch("damaged")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE notebook_sessions_session SET ide_token = 'x' WHERE id = %s", [damaged.pk])
    assert problems(client, 200) == {}
