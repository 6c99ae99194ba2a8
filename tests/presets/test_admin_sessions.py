"""Operators look at sessions in the admin, and stop them through the services that everyone uses."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute.models import Membership, Role, Workspace
from presets.models import Preset
from sessions.models import Activity, Desired, Session
from tests.admin_pages import curator, said
from tests.conftest import Cast

LIST = "admin:notebook_sessions_session_changelist"


@pytest.fixture
def admin(db: None) -> Client:
    return curator()


@pytest.fixture
def session(cast: Cast, workspace: Workspace, preset: Preset) -> Session:
    image, size = preset.images.get(slug="minimal"), preset.pod_sizes.get(slug="small")
    env = {"API_KEY": "hunter2-in-env"}
    return Session.objects.create(
        workspace=workspace, owner=cast.owner, name="forecast", preset=preset, image=image, pod_size=size, env=env
    )


def act(admin: Client, action: str, *sessions: Session) -> Any:
    data = {"action": action, "_selected_action": [str(session.pk) for session in sessions]}
    return admin.post(reverse(LIST), data, follow=True)


def test_a_session_is_shown_without_its_secrets_and_cannot_be_edited(admin: Client, session: Session) -> None:
    url = reverse("admin:notebook_sessions_session_change", args=[session.pk])
    html = admin.get(url).content.decode()
    assert "forecast" in html
    assert session.ide_token not in html
    assert "hunter2-in-env" not in html
    assert admin.post(url, {"name": "other"}).status_code == 403
    assert admin.get(reverse("admin:notebook_sessions_session_add")).status_code == 403


def test_pause_and_delete_go_through_the_services(admin: Client, session: Session, workspace: Workspace) -> None:
    from django.contrib.auth import get_user_model

    refused = said(act(admin, "pause_selected", session))
    assert any("you are no member of Research" in message for message in refused)
    curator_account = get_user_model().objects.get(username="curator")
    Membership.objects.create(workspace=workspace, user=curator_account, role=Role.ADMIN)
    for action, desired in (("pause_selected", Desired.PAUSED), ("delete_selected_sessions", Desired.DELETED)):
        act(admin, action, session)
        session.refresh_from_db()
        assert session.desired == desired
    assert set(Activity.objects.filter(actor=curator_account).values_list("verb", flat=True)) == {"pause", "delete"}


def test_lists_cost_the_same_however_long_they_are(admin: Client, session: Session, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        session.pk, session.host, session.name = None, "", f"copy-{number}"
        session.save(force_insert=True)
        Activity.objects.create(workspace=session.workspace, session=session, host=session.host, verb="launch", actor=session.owner)
    for name in (LIST, "admin:notebook_sessions_activity_changelist"):
        with django_assert_max_num_queries(14):
            assert admin.get(reverse(name)).status_code == 200


def test_operators_see_the_queue_and_cannot_change_it(admin: Client, db: None) -> None:
    assert admin.get(reverse("admin:django_q_ormq_changelist")).status_code == 200
    assert admin.get(reverse("admin:django_q_failure_changelist")).status_code == 200
    assert admin.get(reverse("admin:django_q_failure_add")).status_code == 403


def test_the_admin_has_one_sign_in_page(client: Client, db: None) -> None:
    response = client.get(reverse("admin:index"), follow=True)
    assert response.redirect_chain[-1][0].startswith(reverse("login"))


def test_the_index_lists_what_curators_and_operators_need_and_nothing_internal(admin: Client) -> None:
    apps = admin.get(reverse("admin:index")).context["app_list"]
    listed = {model["object_name"] for app in apps for model in app["models"]}
    assert {"Preset", "Configuration", "Workspace", "Cluster", "ComputePool", "SlurmCluster"} <= listed
    assert {"Volume", "SecretsBundle", "Session", "Activity", "User", "Failure", "OrmQ"} <= listed
    assert not {"Draft", "Grant", "Heartbeat", "Image", "PodSize", "Schedule", "Success"} & listed
