"""The panel of the admin's start page: every cluster as the controller last saw it, and what the controller leaves for it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
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
from compute.models import Cluster, Workspace
from sessions import cluster_health, cluster_reports, cluster_watch
from sessions.cluster_reports import Checkup
from sessions.cluster_watch import ClusterWatch
from sessions.models import ClusterReport
from tests.admin_pages import curator
from tests.fakes import FakeDriver

FINE: dict[str, Any] = {"unreachable_since": None, "problem": "", "lag": 0.2, "workloads": 3, "orphans": ()}
PAGES = ("admin:index", "admin:compute_cluster_health")


@pytest.fixture(autouse=True)
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
    return Cluster.objects.create(name=name, display_name=name.title(), **fields)


def report(name: str, *, health: Health | None = None, **fields: Any) -> Cluster:
    """A cluster of which the controller has just said this."""
    row, told = cluster(name), health or Health(ok=True, version="v1.20.2")
    assert cluster_reports.record(row.pk, **{**FINE, "checkup": Checkup(told, timezone.now()), **fields})
    return row


def panel(client: Client | None = None) -> str:
    return (client or curator()).get(reverse("admin:compute_cluster_health")).content.decode()


@pytest.mark.parametrize("page", PAGES)
def test_pages_ask_no_cluster_and_cost_the_same_for_any_number(
    drivers: dict[str, FakeDriver], page: str, django_assert_max_num_queries: Any
) -> None:
    for number in range(8):
        drivers[f"c-{number}"] = FakeDriver()
        drivers[f"c-{number}"].error = AssertionError("was asked")
        report(f"c-{number}")
    client, address = curator(), reverse(page)
    client.get(address)
    with django_assert_max_num_queries(5):
        text = client.get(address).content.decode()
    assert text.count("Healthy") == 8
    assert f'href="{reverse("admin:compute_cluster_health")}"' in client.get(reverse("admin:index")).content.decode()


def test_a_healthy_cluster_shows_its_version_watch_and_notes() -> None:
    report("east", health=Health(ok=True, version="v1.20.2", notes=("9 nodes.",)))
    text = panel()
    for shown in ("East", "Healthy", "v1.20.2", "0.2 s", "9 nodes.", "1 note<", "<dt>Workloads</dt><dd>3</dd>"):
        assert shown in text


def test_every_missing_right_is_named() -> None:
    missing = ("Slipway lacks the right to create secrets.", "Slipway lacks the right to watch pods.")
    report("east", health=Health(ok=False, version="v1.20.2", problems=missing))
    text = panel()
    assert "Needs attention" in text
    assert all(f"<li>{right}</li>" in text for right in missing)


def test_a_cluster_that_is_away_says_since_when_and_spoils_no_other() -> None:
    since = timezone.now() - timedelta(hours=2)
    away = Health(ok=False, problems=("Connection refused.",))
    report("east", unreachable_since=since, problem="Connection refused.", health=away)
    report("west")
    text = panel()
    assert f"Not reachable since {timezone.localtime(since):%-d %b, %H:%M}" in text
    assert text.count("Connection refused.") == 1
    assert text.count("Healthy") == 1


def test_a_cluster_that_answers_but_cant_be_watched_is_not_called_away() -> None:
    report("east", unreachable_since=timezone.now() - timedelta(minutes=1), problem="No right to list pods.")
    text = panel()
    assert "Needs attention" in text
    assert "The controller can&#x27;t watch it: No right to list pods." in text


def test_a_cluster_that_answered_before_it_went_away_is_away() -> None:
    asked = Checkup(Health(ok=True, version="v1.20.2"), timezone.now() - timedelta(seconds=50))
    report("east", unreachable_since=timezone.now() - timedelta(seconds=30), problem="No route.", checkup=asked)
    text = panel()
    assert "Not reachable since" in text
    assert "<li>No route.</li>" in text


@pytest.mark.parametrize("ago", [None, timedelta(hours=3)])
def test_without_a_controller_nothing_is_called_healthy(ago: timedelta | None) -> None:
    row = cluster("east") if ago is None else report("east")
    if ago is not None:
        ClusterReport.objects.update(at=timezone.now() - ago)
    text = panel()
    assert cluster_health.look()[0].cluster == row
    assert "Not known" in text
    assert "Healthy" not in text
    assert ("3 h ago</time>; what is below is as old." if ago else "The controller has not reported on it yet.") in text
    assert "Is the controller running?" in text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lag_seconds": 40}, "The controller is behind"),
        ({"asked_at": None}, "It has not said yet how it is."),
        ({"asked_at": timedelta(minutes=7)}, "It has not said for 7 minutes how it is."),
    ],
)
def test_what_is_slow_is_said(fields: dict[str, Any], said: str) -> None:
    report("east")
    now = ClusterReport.objects.get().at
    ClusterReport.objects.update(**{name: now - value if isinstance(value, timedelta) else value for name, value in fields.items()})
    text = panel()
    assert "Needs attention" in text
    assert said in text


def test_orphans_are_named_and_the_rest_is_counted() -> None:
    report("east", orphans={f"lost-{number:02}" for number in range(25)})
    text = panel()
    assert "<dt>Orphans</dt><dd>25</dd>" in text
    assert ("lost-19" in text, "lost-20" in text) == (True, False)
    assert "And 5 more." in text


def test_without_a_cluster_the_panel_leads_to_adding_one() -> None:
    add = reverse("admin:compute_cluster_add")
    assert "There is no cluster yet." in panel(curator())
    assert f'<a href="{add}">Add the first one</a>' in panel(staff_with("view_cluster", "add_cluster"))
    assert "Add the first one" not in panel(staff_with("view_cluster"))


def staff_with(*permissions: str) -> Client:
    user = get_user_model().objects.create_user("-".join(("clerk", *permissions)), password="correct-horse", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_staff_who_may_not_look_at_clusters_see_neither_panel_nor_page() -> None:
    client = staff_with()
    report("east")
    assert "Cluster health" not in client.get(reverse("admin:index")).content.decode()
    assert client.get(reverse("admin:compute_cluster_health")).status_code == 403


# What the controller asks


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Cluster], ClusterWatch]]:
    monkeypatch.setattr(cluster_watch, "CHECK_EVERY", 0.05)
    monkeypatch.setattr(cluster_watch, "CHECK_AGAIN", 0.02)
    stop, started = threading.Event(), list[ClusterWatch]()

    def start(row: Cluster) -> ClusterWatch:
        started.append(ClusterWatch(row, queue.Queue(), stop))
        started[-1].start()
        return started[-1]

    yield start
    stop.set()
    for one in started:
        one.join(10)


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, "It did not become true in time."
        time.sleep(0.01)


def test_a_cluster_is_asked_again_and_again(drivers: dict[str, FakeDriver], watch: Any) -> None:
    one = watch(cluster("east"))
    until(lambda: one.checkup and one.checkup.health.ok)
    drivers["east"].told_health = Health(ok=False, version="v1", problems=("No right.",))
    until(lambda: one.checkup.health.problems == ("No right.",))


def test_a_check_that_hangs_does_not_hold_up_the_watch(drivers: dict[str, FakeDriver], watch: Any) -> None:
    go_on, east = threading.Event(), FakeDriver("east")
    drivers["east"] = east

    def hang(*_: Any) -> Health:
        go_on.wait(30)
        return Health(ok=True, version="late")

    east.health = hang  # type: ignore[method-assign]
    try:
        one = watch(cluster("east"))
        heard = one.heard
        until(lambda: one.heard > heard)
        assert one.checkup is None
    finally:
        go_on.set()
    until(lambda: one.checkup and one.checkup.health.version == "late")


def test_a_drivers_own_bug_is_a_problem_of_that_cluster(
    drivers: dict[str, FakeDriver], watch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    drivers["east"], drivers["west"] = FakeDriver("east"), FakeDriver("west")
    drivers["east"].error, drivers["west"].error = ZeroDivisionError("canary"), ClusterError("Unreachable", "Connection refused.")
    east, west = watch(cluster("east")), watch(cluster("west"))
    until(lambda: east.checkup and west.checkup)
    assert east.checkup.health == Health(ok=False, problems=("Its driver failed; the controller's log says more.",))
    assert west.checkup.health == Health(ok=False, problems=("Connection refused.",))
    assert "Asking how east is failed" in caplog.text


# What the controller leaves


def test_a_report_is_written_when_it_changed_or_is_old_and_never_twice_within_seconds(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
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


def test_a_controller_that_has_just_started_keeps_what_the_last_one_was_told() -> None:
    row = report("east")
    cluster_reports._written.clear()
    assert cluster_reports.record(row.pk, **FINE)
    assert ClusterReport.objects.get().version == "v1.20.2"


def test_a_cluster_that_was_deleted_meanwhile_is_no_error() -> None:
    row = cluster("east")
    pk = row.pk
    row.delete()
    assert not cluster_reports.record(pk, **FINE)


def test_a_cluster_is_asked_about_its_rights_in_the_namespaces_of_its_workspaces(drivers: dict[str, FakeDriver]) -> None:
    east, west = cluster("east"), cluster("west")
    for number, row in enumerate((east, west, east)):
        Workspace.objects.create(name=f"w{number}", display_name=f"W{number}", cluster=row, namespace=f"team-{number}")
    watch = ClusterWatch(east, queue.Queue(), threading.Event())
    cluster_watch._health(east, watch.namespaces)
    assert drivers["east"].asked_in == ["team-0", "team-2"]
    Workspace.objects.filter(cluster=west).update(cluster=east)
    watch.know_namespaces()
    assert watch.namespaces == ["team-0", "team-1", "team-2"]
