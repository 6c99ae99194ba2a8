"""`make bench-scale`: the controller beside 10,000 paused and 1,000 running sessions. Exit code 1 when a target is missed.

On the cluster that KUBECONFIG names (the running ones on its fake nodes) and a PostgreSQL of its own. Rows and objects are
made in bulk, by the same builders as a launch's; the controller is the real program. What it never reads is left out: Secrets
of paused sessions, and the volumes behind their claims.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import psutil

PAUSED, RUNNING = 10_000, 1_000
THREADS = 8
BATCH = 500
CHANGED = 50  # sessions that were paused, and as many whose start is not written down yet, while no controller ran
IDLE_SECONDS = 60
TIMEOUT = 1800
TARGETS = {"memory": 250.0, "idle": 0.03, "restart": 15.0}
ABSENT = "no-such-volume"  # a claim that waits for this very volume is left in peace by the cluster


def until(condition: Callable[[], bool], what: str, step: float = 0.5) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"It did not happen in time: {what}")
        time.sleep(step)


class Scene:
    """One workspace with all the sessions, as rows and as objects."""

    def __init__(self, kube: Any) -> None:
        from django.contrib.auth import get_user_model

        from compute.models import Cluster, Membership, Role, Workspace
        from compute.namespaces import ensure_namespace
        from presets.models import Preset
        from sessions import services
        from sessions.spec import defaults
        from tests.cluster.lab import make_catalog

        make_catalog(kube.context)
        cluster = Cluster.objects.get()
        self.kube, self.namespace = kube, f"h-scale-{secrets.token_hex(2)}"
        self.workspace = Workspace.objects.create(
            name=self.namespace,
            display_name="Scale",
            cluster=cluster,
            namespace=self.namespace,
            default_pool=cluster.pools.get(name="fake"),
        )
        self.user = get_user_model().objects.create_user("member")
        Membership.objects.create(workspace=self.workspace, user=self.user, role=Role.MEMBER)
        ensure_namespace(self.workspace)
        spec = defaults(self.user, self.workspace, Preset.objects.get(slug="lab"))
        self.template = services.launch(self.user, self.workspace, spec)

    def populate(self, paused: int, running: int) -> None:
        """Rows first, as in life; then objects, with plain threads."""
        for start in range(0, running, BATCH):
            self._make(range(start, min(start + BATCH, running)), runs=True)
        until(lambda: self._ready() >= running, "every pod is Ready", 5)
        for start in range(0, paused, BATCH):
            self._make(range(start, min(start + BATCH, paused)), runs=False)
        self.template.delete()

    def come_to_rest(self) -> None:
        """Wait for the cluster's own controllers, which look at each new object."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}"
        until(lambda: self._count(f"{path}/controllerrevisions") >= self._count(f"{path}/statefulsets"), "the cluster is at rest", 5)
        time.sleep(20)

    def _count(self, path: str) -> int:
        page = self.kube.get(path, limit="1")
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))

    def _make(self, numbers: Iterable[int], runs: bool) -> None:
        from sessions.models import Session, SessionVolume
        from storage.models import Volume, unique_name

        names = [f"{'runs' if runs else 'rests'}-{number:05}" for number in numbers]
        homes = Volume.objects.bulk_create(
            Volume(workspace=self.workspace, owner=self.user, name=name, claim=unique_name(name), kind=Volume.Kind.HOME, size="1Gi")
            for name in names
        )
        sessions = Session.objects.bulk_create(self._row(home, runs) for home in homes)
        SessionVolume.objects.bulk_create(
            SessionVolume(session=session, volume=home, mount_path="/home/jovyan", is_home=True)
            for session, home in zip(sessions, homes, strict=True)
        )
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(lambda session: self._create(session, runs), sessions))

    def _row(self, home: Any, runs: bool) -> Any:
        from django.utils import timezone

        from sessions.models import Desired, Phase, Session
        from storage.models import unique_name

        first, long_ago = self.template, timezone.now() - timedelta(hours=1)
        snapshot = first.snapshot | {
            "claims": [{**first.snapshot["claims"][0], "name": home.claim}],
            "mounts": [{**first.snapshot["mounts"][0], "claim": home.claim}],
        }
        generation = 1 if runs else 2
        return Session(
            workspace=self.workspace,
            owner=self.user,
            name=home.name,
            host=unique_name(home.name),
            preset=first.preset,
            image=first.image,
            pod_size=first.pod_size,
            compute_pool=first.compute_pool,
            snapshot=snapshot,
            desired=Desired.RUNNING if runs else Desired.PAUSED,
            generation=generation,
            applied_generation=generation,
            applied_at=long_ago,
            status_generation=0 if runs else generation,
            observed_revision=0 if runs else 1,
            phase=Phase.PENDING if runs else Phase.PAUSED,
            phase_since=timezone.now(),
            reason="" if runs else "Paused",
            message="" if runs else "Compute is released; every volume stays attached. Resume to go on.",
        )

    def _create(self, session: Any, runs: bool) -> None:
        from compute.clusters.kubernetes import objects
        from sessions.workload import build

        workload = build(session)
        core, apps = (f"{base}/namespaces/{self.namespace}" for base in ("/api/v1", "/apis/apps/v1"))
        claim = objects.claim(workload.claims[0])
        if not runs:
            claim["spec"]["volumeName"] = ABSENT
        self.kube.create(f"{core}/persistentvolumeclaims", claim)
        if runs:
            self.kube.create(f"{core}/secrets", objects.secret(workload))
        self.kube.create(f"{apps}/statefulsets", objects.statefulset(workload, replicas=int(runs)))

    def _ready(self) -> int:
        pods = self.kube.pods(self.namespace)
        return sum(any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ())) for pod in pods)

    def change(self, hosts: Sequence[str]) -> None:
        """What happens while no controller runs: half of these are paused, the other half's start is not written down yet."""
        from sessions.models import Desired, Phase, Session

        paused, started = hosts[::2], hosts[1::2]
        for host in paused:
            self.kube.merge(f"/apis/apps/v1/namespaces/{self.namespace}/statefulsets/{host}", {"spec": {"replicas": 0}})
            self.kube.delete(f"/api/v1/namespaces/{self.namespace}/pods/{host}-0")
        Session.objects.filter(host__in=paused).update(desired=Desired.PAUSED, generation=2, applied_generation=2)
        Session.objects.filter(host__in=started).update(phase=Phase.PENDING, status_generation=0, endpoint="")
        until(lambda: not any(self.kube.pod(self.namespace, host) for host in paused), "the pods of what was paused are gone")


@contextmanager
def controller() -> Iterator[psutil.Process]:
    """The real program, on this process's database. Nobody else has the lease, and nothing is known yet of what it will say."""
    from sessions.models import ClusterReport, Heartbeat

    Heartbeat.objects.all().delete()
    ClusterReport.objects.all().delete()
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "SLIPWAY_LOG_LEVEL": "WARNING"}
    process = subprocess.Popen([sys.executable, "manage.py", "run_controller"], env=environment)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def peak(process: psutil.Process) -> float:
    """The most MB that it has ever had resident."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024 / 1e6


def caught_up(workloads: int) -> bool:
    """Whether the controller has said that it knows them all, and every row says what its session was asked for.

    It says so every few seconds only: the times are upper bounds.
    """
    from django.db.models import F

    from sessions.models import ClusterReport, Desired, Phase, Session

    right = {Desired.RUNNING: Phase.RUNNING, Desired.PAUSED: Phase.PAUSED}
    wrong = sum(Session.objects.filter(desired=desired).exclude(phase=phase).count() for desired, phase in right.items())
    restated = Session.objects.filter(status_generation__lt=F("generation")).exists()
    return ClusterReport.objects.filter(workloads=workloads).exists() and not wrong and not restated


def measure(kube: Any, paused: int, running: int, busy: bool) -> dict[str, Any]:
    """Seconds, MB, and shares of a core."""
    from sessions.models import Desired, Session

    scene = Scene(kube)
    try:
        began = time.monotonic()
        scene.populate(paused, running)
        if not busy:
            scene.come_to_rest()
        found: dict[str, Any] = {"made": time.monotonic() - began}
        with controller():
            began = time.monotonic()
            until(lambda: caught_up(paused + running), "the first start", 0.1)
            found["first"] = time.monotonic() - began
        hosts = list(Session.objects.filter(desired=Desired.RUNNING).order_by("host").values_list("host", flat=True))
        scene.change(hosts[:: max(1, len(hosts) // (2 * CHANGED))])
        with controller() as process:
            began = time.monotonic()
            until(lambda: caught_up(paused + running), "a restart", 0.1)
            found["restart"] = time.monotonic() - began
            found["restart_cpu"] = sum(process.cpu_times()[:2])
            time.sleep(10)  # what comes once after a start is not rest
            before, began = sum(process.cpu_times()[:2]), time.monotonic()
            time.sleep(IDLE_SECONDS)
            found["idle"] = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
            found["memory"] = process.memory_info().rss / 1e6
            found["peak"] = peak(process)
        return found
    finally:
        kube.delete_namespace(scene.namespace)


def show(found: dict[str, Any], paused: int, running: int) -> list[str]:
    """Prints, and returns the targets that were missed."""
    print(f"\nThe controller beside {paused:,} paused and {running:,} running sessions (made in {found['made']:.0f} s)")
    print(f"  memory                   {found['memory']:7.0f} MB resident, {found['peak']:.0f} MB at most (target {TARGETS['memory']:.0f})")
    print(f"  idle CPU over {IDLE_SECONDS} s      {found['idle'] * 100:7.2f} % of a core (target {TARGETS['idle'] * 100:.0f})")
    print(f"  restart to caught up     {found['restart']:7.1f} s, {found['restart_cpu']:.1f} s of CPU (target {TARGETS['restart']:.0f})")
    print(f"  the same, with all {running:,} starts to be written down {found['first']:.1f} s")
    missed = [f"{found['peak']:.0f} MB of memory"] if found["peak"] > TARGETS["memory"] else []
    missed += [f"{found['idle'] * 100:.1f} % of a core at rest"] if found["idle"] > TARGETS["idle"] else []
    return missed + ([f"{found['restart']:.0f} s to catch up"] if found["restart"] > TARGETS["restart"] else [])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--paused", type=int, default=PAUSED)
    parser.add_argument("--running", type=int, default=RUNNING)
    parser.add_argument("--busy", action="store_true", help="measure although the cluster's own controllers have not come to rest")
    arguments = parser.parse_args()
    if "KUBECONFIG" not in os.environ:
        parser.error("set KUBECONFIG to a cluster with fake nodes: CONTRIBUTING.md says how to get one")
    from tests.run import postgresql
    from tests.stack import fresh_database

    started = time.monotonic()
    with postgresql() as server, fresh_database(server) as url:
        os.environ |= {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"}
        django.setup()
        from django.core.management import call_command
        from django.db import connections

        from tests.cluster.kube import Kube

        call_command("migrate", verbosity=0)
        try:
            missed = show(measure(Kube(), arguments.paused, arguments.running, arguments.busy), arguments.paused, arguments.running)
        finally:
            connections.close_all()
    print(f"\n{'; '.join(missed) or 'Every target is met'} ({time.monotonic() - started:.0f} s).")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
