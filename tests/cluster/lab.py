"""All of Slipway on this machine, with a Kubernetes behind it, and what tests do with it and look at.

``slipway_on`` starts a stack (PostgreSQL, as in production) whose catalog is for that cluster; a ``Lab`` is one
workspace of it, with a namespace of its own.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from compute.models import Cluster, ComputePool, Membership, Role, Workspace
from presets.models import Configuration, Image, PodSize, Preset
from sessions.models import Phase, Session
from sessions.spec import EnvInput, SpecInput, defaults
from storage.models import SecretsBundle, Volume
from tests import laboratory
from tests.cluster.kube import CORE, Kube
from tests.laboratory import GONE, Laboratory, models_of, wait_until
from tests.run import postgresql
from tests.stack import Stack, fresh_database

JUPYTER = os.environ.get("SLIPWAY_TEST_JUPYTER_IMAGE", "localhost/jupyter:1")
CODE_SERVER = os.environ.get("SLIPWAY_TEST_CODE_SERVER_IMAGE", "localhost/code-server:1")
BUSYBOX = os.environ.get("SLIPWAY_TEST_BUSYBOX_IMAGE", "localhost/busybox:1")
NODES = dict([os.environ.get("SLIPWAY_TEST_NODES", "pool=default").split("=")])  # where pods really run
FAKE_NODES = {"fake": "true"}
START = 120.0  # seconds that an IDE on a busy machine may take
SCRIPTS = {  # of configurations that make trouble
    "broken": "echo there is no such dataset; exit 3\n",
    # Jupyter runs this file itself when it starts: more than the smallest pod size has.
    "greedy": "mkdir -p ~/.jupyter; echo 'hoard = b\"x\" * 2**29' > ~/.jupyter/jupyter_server_config.py\n",
}


@contextmanager
def slipway_on(kube: Kube, driver_context: str = "", database_url: str = "") -> Iterator[Stack]:
    """A stack of its own, whose one cluster is ``kube``'s (through ``KUBECONFIG``). Models lead to its database meanwhile.

    ``driver_context`` names the context that Slipway itself uses, if it is another one than the tests'.
    """
    with ExitStack() as cleanup:
        if not database_url:
            database_url = cleanup.enter_context(fresh_database(cleanup.enter_context(postgresql())))
        stack = cleanup.enter_context(Stack(database_url, images=()))
        cleanup.enter_context(models_of(stack))
        make_catalog(driver_context or kube.context)
        yield stack


def make_catalog(context: str) -> None:
    """The cluster, its pools, and presets of what it can run; the starter catalog's are hidden."""
    cluster = Cluster.objects.create(name="kubernetes", display_name="Kubernetes", driver="kubernetes", context=context)
    ComputePool.objects.create(cluster=cluster, name="default", display_name="Real nodes", node_selector=NODES, price_cpu=Decimal("0.04"))
    ComputePool.objects.create(cluster=cluster, name="fake", display_name="Fake nodes", node_selector=FAKE_NODES)
    ComputePool.objects.create(
        cluster=cluster, name="gpu", display_name="GPUs that do not exist", node_selector=NODES, gpu_resource="nvidia.com/gpu"
    )
    Preset.objects.update(hidden=True)
    lab = Preset.objects.create(slug="lab", name="Lab", ide="jupyterlab", home_size="1Gi")
    _images(lab, {"jupyter": JUPYTER, "missing": "localhost/no-such-image:1", "wrong": BUSYBOX})
    _sizes(lab)
    code = Preset.objects.create(slug="code", name="Code", ide="code-server", home_size="1Gi", position=1)
    _images(code, {"code-server": CODE_SERVER})
    _sizes(code)
    for slug, script in SCRIPTS.items():
        Configuration.objects.create(slug=slug, name=slug.capitalize(), init_script=script)


def _images(preset: Preset, references: dict[str, str]) -> None:
    for position, (slug, reference) in enumerate(references.items()):
        Image.objects.create(preset=preset, slug=slug, name=slug, reference=reference, position=position, is_default=position == 0)


def _sizes(preset: Preset) -> None:
    # An IDE with less takes half a minute to start, and as long to end.
    PodSize.objects.create(preset=preset, slug="small", name="Small", cpu="1", memory="1Gi", is_default=True, position=1)
    # As much as lets several of them run on a node of two cores.
    PodSize.objects.create(preset=preset, slug="slim", name="Slim", cpu="400m", memory="1Gi", position=2)
    PodSize.objects.create(preset=preset, slug="tiny", name="Tiny", cpu="100m", memory="256Mi", position=3)
    PodSize.objects.create(preset=preset, slug="gpu", name="GPU", cpu="100m", memory="1Gi", gpus=1, position=4)


class Subject(laboratory.Subject):
    """One session, as the database and the cluster show it."""

    @property
    def reason(self) -> str:
        row = self.row
        return row.reason if row else GONE

    @property
    def statefulset(self) -> Any:
        return self.lab.kube.statefulset(self.lab.namespace, self.host)

    @property
    def pod(self) -> Any:
        return self.lab.kube.pod(self.lab.namespace, self.host)

    @property
    def uid(self) -> str:
        pod = self.pod
        return str(pod["metadata"]["uid"]) if pod else ""

    def path(self, kind: str) -> str:
        """The address of an object of the session: ``pods``, ``statefulsets`` or ``secrets``."""
        group = "/apis/apps/v1" if kind == "statefulsets" else "/api/v1"
        name = f"{self.host}-0" if kind == "pods" else self.host
        return f"{group}/namespaces/{self.lab.namespace}/{kind}/{name}"

    def reach(self, phase: str, seconds: float = START) -> Session | None:
        """Wait for the phase in the database; returns the row."""
        try:
            wait_until(lambda: self.phase == phase, seconds, f"{self} is {phase}")
        except AssertionError as late:
            row = self.row
            raise AssertionError(f"{late}\n{row.phase} {row.reason}: {row.message}" if row else f"{late}\n{GONE}") from None
        return self.row

    def end_pod_at_once(self, uid: str) -> None:
        """As soon as somebody else has told the pod to end. The old kubelet of the test cluster looks for what has ended only
        every ten seconds, and for what has never run every minute."""

        def is_told_to_end() -> bool:
            pod = self.pod
            return not pod or pod["metadata"]["uid"] != uid or "deletionTimestamp" in pod["metadata"]

        wait_until(is_told_to_end, START, "the pod is told to end")
        if self.uid == uid:
            self.lab.kube.delete(self.path("pods"), gracePeriodSeconds=0)


@dataclass
class Lab(Laboratory[Subject]):
    """A workspace with a namespace of its own on the stack's Kubernetes."""

    subject = Subject
    kube: Kube = field(kw_only=True)

    @property
    def namespace(self) -> str:
        return self.workspace.namespace

    def spec(self, name: str, *, preset: str = "lab", env: dict[str, str] | None = None, **changes: Any) -> SpecInput:
        spec = defaults(self.member, self.workspace, Preset.objects.get(slug=preset))
        return replace(spec, name=name, env=tuple(EnvInput(*pair) for pair in (env or {}).items()), **changes)

    def phases(self) -> dict[str, str]:
        known = dict(Session.objects.filter(workspace=self.workspace).values_list("host", "phase"))
        return {one.host: known.get(one.host, GONE) for one in self.subjects}

    def reach(self, wanted: Mapping[str, str], seconds: float, what: str) -> None:
        """Wait until each session (by host) has its phase."""
        try:
            wait_until(lambda: wanted.items() <= self.phases().items(), seconds, what)
        except AssertionError as late:
            missing = {host: phase for host, phase in self.phases().items() if host in wanted and phase != wanted[host]}
            rows = Session.objects.filter(host__in=missing).values("host", "phase", "reason", "message", "apply_message", "generation")
            raise AssertionError(f"{late}\nwanted {wanted}\nbut {missing}\n" + "\n".join(map(str, rows))) from None

    def uids(self, subjects: list[Subject] | None = None) -> dict[str, str]:
        """The uid of each session's pod."""
        found = {pod["metadata"]["name"]: str(pod["metadata"]["uid"]) for pod in self.kube.pods(self.namespace)}
        return {one.host: found.get(f"{one.host}-0", "") for one in (self.subjects if subjects is None else subjects)}

    def check(self) -> None:
        """What must be true at rest: the cluster holds what the database wants, once each, and every claim."""
        wait_until(self._is_at_rest, 30, "every row is at rest")
        rows = {row.host: row for row in Session.objects.filter(workspace=self.workspace)}
        sets = {one["metadata"]["name"]: one for one in self.kube.items(f"/apis/apps/v1/namespaces/{self.namespace}/statefulsets")}
        assert sets.keys() == rows.keys(), "StatefulSets without a session, or sessions without one"
        found = self.kube.items(f"/api/v1/namespaces/{self.namespace}/secrets")
        secret_names = {one["metadata"]["name"] for one in found if not one["type"].startswith("kubernetes.io/")}
        assert secret_names == rows.keys(), "Secrets without a session, or sessions without one"
        running = {host for host, row in rows.items() if row.phase != Phase.PAUSED}
        assert sorted(pod["metadata"]["name"] for pod in self.kube.pods(self.namespace)) == sorted(f"{host}-0" for host in running)
        assert {host: one["spec"]["replicas"] for host, one in sets.items()} == {host: int(host in running) for host in sets}
        wanted = set(Volume.objects.filter(workspace=self.workspace, trashed_at=None).values_list("claim", flat=True))
        held = {one["metadata"]["name"] for one in self.kube.claims(self.namespace) if not one["metadata"].get("deletionTimestamp")}
        assert held >= {one.claim for one in self.subjects}, "A claim is lost"
        assert held <= wanted, "A claim without a volume"

    def _is_at_rest(self) -> bool:
        rows = Session.objects.filter(workspace=self.workspace)
        return all(
            row.applied_generation == row.status_generation == row.generation and row.lease_until is None and row.queued_at is None
            for row in rows
        )

    def end(self) -> None:
        """Delete what is left, and the namespace."""
        for subject in self.subjects:
            if subject.row is not None:
                subject.delete()
        try:
            wait_until(self._is_empty, 90, "everything is deleted")
        finally:
            self.kube.delete_namespace(self.namespace)

    def _is_empty(self) -> bool:
        """Nobody here waits for a kubelet's rounds: pods that are to go anyway go at once."""
        for pod in self.kube.pods(self.namespace):
            if pod["metadata"].get("deletionTimestamp"):
                self.kube.delete(f"{CORE}/namespaces/{self.namespace}/pods/{pod['metadata']['name']}", gracePeriodSeconds=0)
        return not Session.objects.filter(workspace=self.workspace).exists()


def new_lab(stack: Stack, kube: Kube, pool: str = "default", **fields: Any) -> Lab:
    """A workspace for the demo's people; its sessions run in the pool unless they ask for another."""
    name = f"h-{secrets.token_hex(3)}"
    cluster = Cluster.objects.get(name="kubernetes")
    values = {"display_name": "Laboratory", "cluster": cluster, "namespace": name, "default_pool": cluster.pools.get(name=pool), **fields}
    workspace = Workspace.objects.create(name=name, **values)
    SecretsBundle.objects.create(workspace=workspace)
    people = Membership.objects.filter(workspace__name="research", role__in=Role.values)
    Membership.objects.bulk_create(Membership(workspace=workspace, user_id=one.user_id, role=one.role) for one in people)
    return Lab(stack, workspace, kube=kube)
