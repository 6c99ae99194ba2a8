"""One small cast, used by every test: an owner, a colleague, a viewer, an admin, an outsider, and what they share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from compute import clusters
from compute.models import Cluster, ComputePool, Membership, Role, Workspace
from presets.models import Image, PodSize, Preset
from storage.models import SecretsBundle, Volume
from tests.fakes import FakeDriver
from tests.stack import Stack


def asks_a_database(item: pytest.Item) -> bool:
    """Whether it can: pytest-django lets nobody ask who did not say so."""
    fixtures = {"db", "transactional_db"}.intersection(getattr(item, "fixturenames", ()))
    return bool(fixtures) or any(item.get_closest_marker(name) for name in ("django_db", "own_database"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in filter(lambda item: item.path.is_relative_to(here), items):
        folder = item.path.relative_to(here).parts[0]
        if folder in ("live", "cluster"):
            item.add_marker(folder)
        elif not asks_a_database(item):
            item.add_marker("no_database")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    """What failed is known to its fixtures (``item.failed``), and tells what the stack that it used has logged."""
    report = yield
    if report.failed and report.when == "call":
        item.failed = True  # type: ignore[attr-defined]
        values = getattr(item, "funcargs", {}).values()
        stacks = (one for value in values for one in (value, getattr(value, "stack", None)) if isinstance(one, Stack))
        report.sections += [("The stack's logs", stack.logs()) for stack in set(stacks)]
    return report


@pytest.fixture(autouse=True)
def plain_static_files(settings: Any) -> None:
    settings.STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """The driver of the ``cluster`` fixture, in memory."""
    fake = FakeDriver()
    monkeypatch.setattr(clusters, "_build", lambda *_: fake)
    return fake


@pytest.fixture
def cluster(db: None, driver: FakeDriver) -> Cluster:
    return Cluster.objects.create(name="here", display_name="This machine", driver="local")


@pytest.fixture
def pool(cluster: Cluster) -> ComputePool:
    return ComputePool.objects.create(
        cluster=cluster, name="standard", display_name="Standard", price_cpu="0.04", price_memory="0.005", price_gpu="1.2"
    )


@pytest.fixture
def workspace(cluster: Cluster, pool: ComputePool) -> Workspace:
    workspace = Workspace.objects.create(name="research", display_name="Research", cluster=cluster, namespace="research", default_pool=pool)
    SecretsBundle.objects.create(workspace=workspace)
    return workspace


@pytest.fixture
def preset(db: None) -> Preset:
    """JupyterLab with two images (minimal is the default) and two pod sizes (small is the default)."""
    preset = Preset.objects.create(slug="jupyterlab", name="JupyterLab", ide="jupyterlab", description="Notebooks.")
    Image.objects.create(preset=preset, slug="minimal", name="Minimal", reference="local:jupyterlab", is_default=True, position=1)
    Image.objects.create(preset=preset, slug="scipy", name="SciPy", reference="local:scipy", position=2)
    PodSize.objects.create(preset=preset, slug="small", name="Small", cpu="500m", memory="1Gi", is_default=True, position=1)
    PodSize.objects.create(preset=preset, slug="large", name="Large", cpu="4", memory="16Gi", position=2)
    return preset


@dataclass
class Cast:
    """``owner`` and ``colleague`` are members of ``workspace``; ``outsider`` belongs to another one."""

    owner: Any
    colleague: Any
    viewer: Any
    admin: Any
    outsider: Any

    def client(self, who: str) -> Client:
        client = Client()
        if who != "anonymous":
            client.force_login(getattr(self, who))
        return client


@pytest.fixture
def cast(workspace: Workspace) -> Cast:
    users = {}
    roles = {"owner": Role.MEMBER, "colleague": Role.MEMBER, "viewer": Role.VIEWER, "admin": Role.ADMIN, "outsider": None}
    for name, role in roles.items():
        users[name] = get_user_model().objects.create_user(username=name, password="correct-horse", email=f"{name}@example.com")
        if role:
            Membership.objects.create(workspace=workspace, user=users[name], role=role)
    other = Workspace.objects.create(name="other", display_name="Other", cluster=workspace.cluster, namespace="other")
    Membership.objects.create(workspace=other, user=users["outsider"], role=Role.ADMIN)
    return Cast(**users)


@pytest.fixture
def home(cast: Cast, workspace: Workspace) -> Volume:
    return Volume.objects.create(workspace=workspace, owner=cast.owner, name="home-owner", kind=Volume.Kind.HOME)


@pytest.fixture
def shared_data(workspace: Workspace) -> Volume:
    return Volume.objects.create(workspace=workspace, name="sales", kind=Volume.Kind.DATA, access_mode=Volume.AccessMode.MANY, size="10Gi")
