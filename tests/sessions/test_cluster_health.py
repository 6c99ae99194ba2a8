"""The panel of the admin's start page: every cluster as it is now, whatever one of them does, and what the controller knows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compute import clusters
from compute.clusters.base import ClusterError, Health
from compute.models import Cluster
from sessions import cluster_health, cluster_reports
from sessions.models import ClusterReport
from tests.admin_pages import curator
from tests.fakes import FakeDriver

PANEL = {"HX-Request": "true"}
FINE: dict[str, Any] = {"unreachable_since": None, "problem": "", "lag": 0.2, "workloads": 3, "orphans": ()}


@pytest.fixture
def drivers(db: None, monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeDriver]:
    """A driver per cluster, by its name."""
    built: dict[str, FakeDriver] = {}
    monkeypatch.setattr(clusters, "_build", lambda driver, name, *_: built.setdefault(name, FakeDriver(name)))
    return built


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    cluster_reports._written.clear()
    yield
    cluster_reports._written.clear()


def cluster(name: str, **fields: Any) -> Cluster:
    row = Cluster.objects.create(name=name, display_name=name.title(), **fields)
    clusters.driver_for(row)
    return row


def panel(client: Client) -> str:
    response = client.get(reverse("admin:compute_cluster_health"), headers=PANEL)
    assert response.status_code == 200
    text: str = response.content.decode()
    assert text.lstrip().startswith('<div class="clusters-body" id="clusters">')
    return text


def test_the_start_page_asks_no_cluster_and_links_to_the_page(drivers: Any, django_assert_max_num_queries: Any) -> None:
    cluster("east")
    drivers["east"].health = pytest.fail
    client, address = curator(), reverse("admin:compute_cluster_health")
    client.get(reverse("admin:index"))
    with django_assert_max_num_queries(4):
        text = client.get(reverse("admin:index")).content.decode()
    assert f'hx-get="{address}" hx-trigger="load"' in text
    assert f'<a href="{address}">' in text


def test_the_page_works_without_htmx_and_costs_the_same_for_any_number_of_clusters(
    drivers: Any, django_assert_max_num_queries: Any
) -> None:
    client, address = curator(), reverse("admin:compute_cluster_health")
    for number in range(8):
        cluster_reports.record(cluster(f"c-{number}").pk, **FINE)
    with django_assert_max_num_queries(3):
        text = client.get(address).content.decode()
    assert "<!doctype html>" in text.lower()
    assert text.count("Healthy") == 8


def test_a_healthy_cluster_shows_its_version_watch_and_notes(drivers: Any) -> None:
    cluster_reports.record(cluster("east").pk, **FINE)
    drivers["east"].told_health = Health(ok=True, version="v1.20.2", notes=("9 nodes.",))
    text = panel(curator())
    for shown in ("East", "Healthy", "v1.20.2", "0.2 s", "9 nodes.", "1 note<", "<dt>Workloads</dt><dd>3</dd>"):
        assert shown in text


def test_every_missing_right_is_named(drivers: Any) -> None:
    cluster_reports.record(cluster("east").pk, **FINE)
    missing = ("Slipway may not create secrets.", "Slipway may not watch pods.")
    drivers["east"].told_health = Health(ok=False, version="v1.20.2", problems=missing)
    text = panel(curator())
    assert "Needs attention" in text
    assert all(f"<li>{right}</li>" in text for right in missing)


@pytest.mark.parametrize("raises", [True, False])
def test_a_cluster_that_is_away_says_since_when_and_spoils_no_other(drivers: Any, raises: bool) -> None:
    since = timezone.now() - timedelta(hours=2)
    cluster_reports.record(cluster("east").pk, **{**FINE, "unreachable_since": since, "problem": "Connection refused."})
    cluster_reports.record(cluster("west").pk, **FINE)
    if raises:
        drivers["east"].error = ClusterError("Unreachable", "Connection refused.")
    else:
        drivers["east"].told_health = Health(ok=False, problems=("Connection refused.",))
    text = panel(curator())
    assert f"Not reachable since {timezone.localtime(since):%-d %b, %H:%M}" in text
    assert text.count("Connection refused.") == 1
    assert text.count("Healthy") == 1


def test_a_slow_cluster_is_waited_for_only_so_long_and_asked_only_once(drivers: Any) -> None:
    rows = [cluster("east"), cluster("west")]
    go_on, asked = threading.Event(), []

    def hang() -> Health:
        asked.append(1)
        go_on.wait(30)
        return Health(ok=True, version="late")

    drivers["east"].health = hang
    try:
        for _ in range(2):
            east, west = cluster_health.look(rows, limit=0.1)
            assert east.health.problems == ("It did not answer within 0.1 seconds.",)
            assert west.health.ok
        assert len(asked) == 1
    finally:
        go_on.set()
    assert cluster_health.look(rows, limit=10)[0].health.version == "late"


def test_a_drivers_own_bug_is_a_problem_of_that_cluster(drivers: Any, caplog: pytest.LogCaptureFixture) -> None:
    cluster("east")
    drivers["east"].error = ZeroDivisionError("canary")
    text = panel(curator())
    assert "Its driver failed; the log of the web process says more." in text
    assert "canary" not in text
    assert "Asking how east is failed" in caplog.text


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (None, "The controller has not reported on it yet."),
        ({"at": timedelta(minutes=5)}, "The controller is silent"),
        ({"lag_seconds": 40}, "The controller is behind"),
        ({"unreachable_since": timedelta(minutes=1), "problem": "No route."}, "The controller can&#x27;t watch it: No route."),
    ],
)
def test_what_is_wrong_with_the_controllers_watch_is_said(drivers: Any, report: Any, said: str) -> None:
    row, now = cluster("east"), timezone.now()
    if report is not None:
        fields = {name: now - value if isinstance(value, timedelta) else value for name, value in report.items()}
        ClusterReport.objects.create(cluster=row, **{"at": now, **fields})
    text = panel(curator())
    assert "Needs attention" in text
    assert said in text


def test_orphans_are_named_and_the_rest_is_counted(drivers: Any) -> None:
    orphans = {f"lost-{number:02}" for number in range(25)}
    cluster_reports.record(cluster("east").pk, **{**FINE, "orphans": orphans})
    text = panel(curator())
    assert "<dt>Orphans</dt><dd>25</dd>" in text
    assert ("lost-19" in text, "lost-20" in text) == (True, False)
    assert "And 5 more." in text


def test_without_a_cluster_the_panel_leads_to_adding_one(db: None) -> None:
    assert "There is no cluster yet." in panel(curator())
    assert reverse("admin:compute_cluster_add") in panel(staff_with("view_cluster", "add_cluster"))
    assert reverse("admin:compute_cluster_add") not in panel(staff_with("view_cluster"))


def staff_with(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("-".join(("clerk", *permissions)), password="correct-horse", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_staff_who_may_not_look_at_clusters_see_neither_panel_nor_page(drivers: Any) -> None:
    client = staff_with()
    assert "Cluster health" not in client.get(reverse("admin:index")).content.decode()
    assert client.get(reverse("admin:compute_cluster_health")).status_code == 403


# What the controller leaves


def test_a_report_is_written_when_it_changed_or_is_old_and_never_twice_within_seconds(
    drivers: Any, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    row, now = cluster("east"), timezone.now()
    monkeypatch.setattr(cluster_reports.timezone, "now", lambda: now)
    assert cluster_reports.record(row.pk, **FINE)
    with django_assert_num_queries(0):
        assert not cluster_reports.record(row.pk, **{**FINE, "workloads": 4})
        now += timedelta(seconds=4)
        assert not cluster_reports.record(row.pk, **{**FINE, "lag": 0.9})
    assert cluster_reports.record(row.pk, **{**FINE, "workloads": 4})
    now += timedelta(seconds=11)
    assert cluster_reports.record(row.pk, **{**FINE, "workloads": 4})
    now -= timedelta(hours=1)
    assert cluster_reports.record(row.pk, **FINE), "a clock that is set back holds nothing up"
    assert ClusterReport.objects.get().workloads == 3


def test_a_cluster_that_was_deleted_meanwhile_is_no_error(drivers: Any) -> None:
    row = cluster("east")
    pk = row.pk
    row.delete()
    assert not cluster_reports.record(pk, **FINE)
