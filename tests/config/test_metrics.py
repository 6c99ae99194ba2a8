"""/metrics: what Prometheus reads, who may, what it costs, and that it survives restarts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from compute.clusters.base import ClusterError
from compute.models import Cluster, Workspace
from compute.workload import Observation
from presets.models import Preset
from sessions import cluster_reports, services, tallies, tasks
from sessions.controller import Controller
from sessions.models import Heartbeat, Phase, Session
from sessions.spec import HomeInput, SpecInput
from sessions.tallies import Tally
from storage.models import Volume
from tests.bench.data import Population
from tests.conftest import Cast
from tests.fakes import FakeDriver

pytestmark = pytest.mark.django_db
TOKEN = "a-token-for-prometheus-alone"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(autouse=True)
def token(settings: Any) -> None:
    settings.SLIPWAY_METRICS_TOKEN = TOKEN


def text(accept: str = "") -> str:
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", "Accept": accept})
    assert response.status_code == 200
    return response.content.decode()


def scrape() -> Samples:
    families = list(parse_text(text()))
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"slipway_{name}", frozenset(labels.items())))


@pytest.fixture
def launch(cast: Cast, workspace: Workspace, preset: Preset) -> Callable[..., Session]:
    def launch(name: str = "lab") -> Session:
        spec = SpecInput(name=name, preset="jupyterlab", image="minimal", pod_size="small", home=HomeInput(create_size="5Gi"))
        return services.launch(cast.owner, workspace, spec)

    return launch


@pytest.fixture
def rounds(driver: FakeDriver, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A controller that has just started hears what the cluster says of a session."""
    monkeypatch.setattr("sessions.controller.TICK", 0.001)

    def go(session: Session, **says: Any) -> None:
        session.refresh_from_db()
        controller = Controller(threading.Event())
        monkeypatch.setattr(controller, "follow_clusters", lambda: None)
        seen = {"exists": True, "revision": session.revision} | says
        observation = Observation(name=session.host, namespace="research", at=timezone.now(), **seen)
        driver.observations["research", session.host] = observation
        controller.inbox.put((cluster.pk, observation))
        controller.round()

    return go


def test_without_a_token_in_the_settings_there_are_no_metrics(client: Client, settings: Any) -> None:
    settings.SLIPWAY_METRICS_TOKEN = ""
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer ü"])
def test_only_the_token_opens_the_metrics(client: Client, given: str) -> None:
    response = client.get("/metrics", headers={"Authorization": given})
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert b"slipway_" not in response.content


def test_being_signed_in_does_not_open_them(cast: Cast) -> None:
    assert cast.client("admin").get("/metrics").status_code == 401


def test_both_formats_are_well_formed(launch: Any, rounds: Any, cluster: Cluster) -> None:
    session = launch()
    tasks.reconcile(session.pk)
    rounds(session, ready=True, endpoint="unix:/run/s")
    openmetrics = "application/openmetrics-text; version=1.0.0"
    names = {family.name for family in parse_openmetrics(text(openmetrics))}
    assert names == {family.name for family in parse_text(text())}
    for family in parse_openmetrics(text(openmetrics)):
        assert family.documentation.endswith(".")
        assert family.type != "unknown"


def test_sessions_are_told_by_cluster_and_phase(launch: Any, cluster: Cluster) -> None:
    launch("one")
    launch("two")
    Session.objects.filter(name="two").update(phase=Phase.RUNNING)
    samples = scrape()
    assert value(samples, "sessions", cluster="here", phase="Pending") == 1
    assert value(samples, "sessions", cluster="here", phase="Running") == 1
    assert value(samples, "sessions", cluster="here", phase="Failed") == 0
    assert value(samples, "price_per_hour", cluster="here") == pytest.approx(0.025)


def test_the_queue_is_told_with_the_age_of_its_oldest(launch: Any, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = scrape()
    assert (value(samples, "queue_depth", cluster="here"), value(samples, "queue_oldest_seconds", cluster="here")) == (0, 0)
    old = launch("old")
    launch("new")
    Session.objects.filter(pk=old.pk).update(requested_at=timezone.now() - timedelta(seconds=90))

    def refuse(*_: Any) -> None:
        raise ClusterError("QuotaExceeded", "No room.")

    monkeypatch.setattr(driver, "apply", refuse)
    tasks.reconcile(old.pk)
    samples = scrape()
    assert value(samples, "queue_depth", cluster="here") == 2
    assert 90 <= (value(samples, "queue_oldest_seconds", cluster="here") or 0) < 120
    assert value(samples, "queue_failing", cluster="here", reason="QuotaExceeded") == 1
    assert value(samples, "reconcile_errors_total", cluster="here", reason="QuotaExceeded") == 1
    assert value(samples, "tasks", state="waiting") == 2


def test_a_launch_is_measured_once_and_by_whichever_process(launch: Any, rounds: Any, cast: Cast) -> None:
    session = launch()
    Session.objects.update(requested_at=timezone.now() - timedelta(seconds=40))
    tasks.reconcile(session.pk)
    rounds(session)
    assert value(scrape(), "launches_total", cluster="here", result="Running") is None
    rounds(session, ready=True, endpoint="unix:/run/s")
    rounds(session)  # it was not ready for a moment
    rounds(session, ready=True, endpoint="unix:/run/s")
    samples = scrape()
    assert value(samples, "launches_total", cluster="here", result="Running") == 1
    for name in ("launch_applied_seconds", "launch_running_seconds"):
        assert value(samples, f"{name}_bucket", cluster="here", le="30.0") == 0
        assert value(samples, f"{name}_bucket", cluster="here", le="60.0") == 1
        assert value(samples, f"{name}_bucket", cluster="here", le="+Inf") == 1
        assert value(samples, f"{name}_count", cluster="here") == 1
        assert 40 <= (value(samples, f"{name}_sum", cluster="here") or 0) < 60
    services.pause(cast.owner, session)
    tasks.reconcile(session.pk)
    rounds(session, exists=False, retained=True)
    services.resume(cast.owner, Session.objects.get())
    tasks.reconcile(session.pk)
    rounds(session, ready=True, endpoint="unix:/run/s")
    assert value(scrape(), "launches_total", cluster="here", result="Running") == 2


def test_a_launch_that_fails_is_counted_but_not_as_a_way_to_running(launch: Any, rounds: Any) -> None:
    session = launch()
    tasks.reconcile(session.pk)
    rounds(session, exists=False, failed=True, reason="Crashed", message="Exit code 3.")
    samples = scrape()
    assert value(samples, "launches_total", cluster="here", result="Failed") == 1
    assert value(samples, "launch_applied_seconds_count", cluster="here") == 1
    assert value(samples, "launch_running_seconds_count", cluster="here") is None


def test_applying_again_does_not_make_a_launch_look_slow(launch: Any) -> None:
    session = launch()
    tasks.reconcile(session.pk)
    reached = Session.objects.get().reached_at
    Session.objects.update(applied_at=timezone.now() - timedelta(minutes=1))
    tasks.reconcile(session.pk)
    assert Session.objects.get().reached_at == reached
    assert Session.objects.get().applied_at > reached


def test_clusters_heartbeats_and_volumes_are_told(cluster: Cluster, cast: Cast, workspace: Workspace) -> None:
    assert value(scrape(), "cluster_reachable", cluster="here") is None  # nobody has looked yet
    since = timezone.now() - timedelta(minutes=1)
    cluster_reports._written.clear()
    cluster_reports.record(cluster.pk, unreachable_since=since, problem="No route.", lag=7.0, workloads=3, orphans=["ghost"])
    Heartbeat.objects.create(name="worker", at=since)
    volume = Volume.objects.create(workspace=workspace, owner=cast.owner, name="old", kind="data")
    volume.trash(cast.owner)
    volume.save()
    Volume.objects.create(workspace=workspace, owner=cast.owner, name="live", kind="data")
    samples = scrape()
    assert value(samples, "cluster_reachable", cluster="here") == 0
    assert value(samples, "cluster_orphans", cluster="here") == 1
    assert 7 <= (value(samples, "watch_lag_seconds", cluster="here") or 0) < 30
    assert 60 <= (value(samples, "heartbeat_age_seconds", part="worker") or 0) < 90
    assert (value(samples, "volumes", state="live"), value(samples, "volumes", state="trash")) == (1, 1)


def test_durations_fall_into_their_buckets() -> None:
    tallies.observe(tallies.LAUNCH_RUNNING, "here", [-1, 0.1, 0.11, 5, 1800, 1801])
    found = dict(Tally.objects.values_list("label", "count"))
    assert found == {"0.1": 2, "0.25": 1, "5.0": 1, "1800.0": 1, "+Inf": 1}


def test_reasons_that_a_cluster_makes_up_do_not_make_series_without_end() -> None:
    for number in range(tallies.MAX_LABELS + 5):
        tallies.add(tallies.RECONCILE_ERRORS, "here", f"Reason{number}")
    assert Tally.objects.count() == tallies.MAX_LABELS + 1
    assert Tally.objects.get(label="Other").count == 5


def test_no_label_names_a_person_a_workspace_or_a_session(launch: Any) -> None:
    launch("who-am-i")
    assert not {"owner", "research", "who-am-i"} & {word for _, labels in scrape() for _, word in labels}


def test_a_scrape_costs_the_same_few_queries_whatever_the_number_of_sessions(django_assert_num_queries: Any) -> None:
    population = Population()
    with django_assert_num_queries(9):
        text()
    population.grow(300)
    with django_assert_num_queries(9):
        text()
