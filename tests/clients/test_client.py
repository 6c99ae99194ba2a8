"""The Python client against Slipway: every group of operations, and what happens when answers get lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from slipway import ApiError, DataVolume, Home, Launch, NotReached, Slipway, TimedOut, WorkspaceClient
from slipway import resource as client_resource
from slipway import sessions as client_sessions

from compute.models import Scope, SlurmCluster, Workspace
from presets.models import Configuration, Preset
from sessions.models import Desired, Phase, Session
from sessions.webhooks.models import WebhookDelivery
from storage.models import Volume
from tests.clients.conftest import Served
from tests.conftest import Cast
from tests.fakes import FakeDriver

Clients = Callable[..., Slipway]


@pytest.fixture
def research(client: Clients, preset: Preset) -> WorkspaceClient:
    return client("owner").workspace("research")


def settle(phase: Phase, **changes: Any) -> None:
    for session in Session.objects.all():
        Session.objects.filter(pk=session.pk).update(phase=phase, status_generation=session.generation, endpoint="unix:/x.sock", **changes)


def soon(act: Callable[[], Any]) -> threading.Thread:
    """Do it while somebody waits."""

    def run() -> None:
        time.sleep(0.3)
        try:
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_who_you_are_and_where(client: Clients) -> None:
    slipway = client("owner", Scope.READ)
    me = slipway.me()
    assert (me.username, me.workspaces[0].role) == ("owner", "member")
    assert me.token is not None
    assert me.token.scopes == ("read",)
    assert [workspace.quota for workspace in slipway.workspaces.list()] == [None]
    assert slipway.workspace("research").get().quota == ()
    assert slipway.workspaces.get("research").default_pool == "standard"
    assert [token.name for token in slipway.tokens.list()] == ["token-1"]


def test_what_there_is_to_launch(research: WorkspaceClient, workspace: Workspace) -> None:
    Configuration.objects.create(slug="proxy", name="Proxy")
    slurm = SlurmCluster.objects.create(name="gpu", display_name="GPU", enabled=True)
    slurm.workspaces.add(workspace)
    preset = research.presets.get("jupyterlab")
    assert preset.etag
    assert [one.name for one in research.presets.list()] == ["jupyterlab"]
    assert [(image.name, image.is_default) for image in preset.images] == [("minimal", True), ("scipy", False)]
    assert [size.price_per_hour.amount for size in preset.pod_sizes if size.price_per_hour] == [Decimal("0.02500"), Decimal("0.24000")]
    assert [pool.prices.gpu.amount for pool in research.compute_pools.list()] == [Decimal("1.20000")]
    assert [one.name for one in research.configurations.list(preset="jupyterlab")] == ["proxy"]
    assert [one.name for one in research.slurm_clusters.list()] == ["gpu"]


def test_volumes_and_their_trash(research: WorkspaceClient) -> None:
    made = research.volumes.create("samples", size="1Gi")
    assert (made.kind, made.size, made.owner) == ("data", "1Gi", "owner")
    assert [volume.name for volume in research.volumes.list(search="sam")] == ["samples"]
    with pytest.raises(ApiError) as error:
        research.volumes.trash("samples", if_match='"other"')
    assert (error.value.status, error.value.code) == (412, "precondition_failed")
    trashed = research.volumes.trash("samples", if_match=research.volumes.get("samples").etag)
    assert trashed is not None
    assert [one.pvc for one in research.trash.list()] == [trashed.pvc]
    assert research.trash.restore(trashed.pvc, if_match=research.trash.get(trashed.pvc).etag).name == "samples"
    research.volumes.trash("samples")
    research.trash.purge(trashed.pvc)
    assert list(research.trash.list()) == []


def test_secrets_are_written_and_never_read(client: Clients, preset: Preset) -> None:
    secrets = client("admin").workspace("research").secrets
    written = secrets.write("API_KEY", "canary", "Of the warehouse")
    assert "canary" not in repr(written)
    assert secrets.write("API_KEY", "other", if_match=secrets.get("API_KEY").etag).description == "Of the warehouse"
    assert [secret.name for secret in secrets.list()] == ["API_KEY"]
    secrets.delete("API_KEY")
    assert list(secrets.list()) == []


def test_webhooks_from_their_secret_to_a_replay(client: Clients, served: Served, workspace: Workspace) -> None:
    webhooks = client("admin", Scope.ADMIN).workspace("research").webhooks
    made = webhooks.create("ci", "https://ci.example.com/canary", ["Failed", "Running"])
    assert made.secret is not None
    assert made.secret not in repr(made)
    assert "canary" not in repr(made)
    assert [(one.name, one.phases) for one in webhooks.list()] == [("ci", ("Running", "Failed"))]
    sent = webhooks.test("ci")
    WebhookDelivery.objects.update(status="failed", attempts=8)
    assert [one.id for one in webhooks.deliveries("ci", status="failed")] == [sent.id]
    assert webhooks.delivery("ci", sent.id).attempts == 8
    assert (webhooks.replay("ci", sent.id).status, webhooks.renew_secret("ci").secret != made.secret) == ("pending", True)
    assert webhooks.change("ci", phases=[], enabled=False, if_match=webhooks.get("ci").etag).phases == ()
    webhooks.delete("ci")
    served.spoil(502)
    assert webhooks.create("lost", "https://ci.example.com/").secret is None
    assert [one.name for one in webhooks.list()] == ["lost"]
    with pytest.raises(ApiError, match="lacks the scope “admin”"):
        list(client("admin", Scope.READ).workspace("research").webhooks.list())


def test_a_session_from_launch_to_delete(research: WorkspaceClient, driver: FakeDriver, shared_data: Volume, home: Volume) -> None:
    wanted = Launch(
        "jupyterlab",
        name="lab",
        image="scipy",
        pod_size="large",
        home=Home.claim("home-owner"),
        data_volumes=[DataVolume("sales", read_only=True)],
        configurations=[],
        env={"KEY": "canary"},
    )
    assert "canary" not in repr(wanted)
    validation = research.sessions.validate(wanted)
    assert (validation.errors, validation.spec.env, validation.price_per_hour.amount) == ((), ("KEY",), Decimal("0.24000"))
    session = research.sessions.launch(wanted)
    assert (session.name, session.image, session.env, session.etag != "") == ("lab", "scipy", ("KEY",), True)
    assert session.home is not None
    assert (session.home.claim, session.data_volumes[0].mount_path) == ("home-owner", "/data/sales")
    settle(Phase.RUNNING)
    opened = research.sessions.open("lab")
    assert opened.url.startswith("http://lab-")
    assert opened.url not in repr(opened)
    assert research.sessions.logs("lab").text == "a line of the log"
    assert research.sessions.events("lab").total == 0
    assert {row.verb for row in research.sessions.activity("lab")} >= {"launch"}
    assert research.sessions.pause("lab", if_match=research.sessions.get("lab").etag).desired == "paused"
    assert research.sessions.resume("lab").desired == "running"
    gone = research.sessions.delete("lab")
    assert gone is not None
    assert gone.desired == "deleted"


def test_what_is_refused_is_told_field_by_field(research: WorkspaceClient) -> None:
    with pytest.raises(ApiError) as error:
        research.sessions.launch(Launch("jupyterlab", image="gone", home=Home.create("5 apples"), env={"1X": "y"}))
    assert error.value.code == "refused"
    assert {problem.field for problem in error.value.errors} == {"image", "home.create.size", "env.1X"}
    assert error.value.request_id


def test_a_list_goes_on_to_the_last_page(research: WorkspaceClient, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_resource, "PAGE", 2)
    names = [research.sessions.launch(Launch("jupyterlab", name=f"lab-{number}")).name for number in range(5)]
    served.paths.clear()
    assert [session.name for session in research.sessions.list(ordering="name", owner="~me")] == names
    assert len(served.paths) == 3
    assert list(research.sessions.list(phase="Paused")) == []


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_launch_whose_answer_got_lost_is_done_once(research: WorkspaceClient, served: Served, status: int) -> None:
    served.spoil(status)
    session = research.sessions.launch(Launch("jupyterlab"))
    assert [one.name for one in research.sessions.list()] == [session.name]
    assert sum(path.startswith("POST") for path in served.paths) == 2


def test_a_delete_whose_answer_got_lost_is_no_error(research: WorkspaceClient, served: Served) -> None:
    research.volumes.create("samples")
    served.spoil(502)
    assert research.volumes.trash("samples") is None
    assert len(list(research.trash.list())) == 1


def test_a_wait_ends_with_the_phase(research: WorkspaceClient) -> None:
    research.sessions.launch(Launch("jupyterlab", name="lab"))
    seen: list[str] = []
    thread = soon(lambda: settle(Phase.RUNNING))
    assert research.sessions.wait("lab", timeout=60, on_change=lambda session: seen.append(session.phase)).phase == "Running"
    thread.join()
    assert seen[-1] == "Running"


def test_a_wait_ends_when_it_is_hopeless_or_too_long(research: WorkspaceClient) -> None:
    research.sessions.launch(Launch("jupyterlab", name="lab"))
    with pytest.raises(TimedOut, match=r"lab is Pending and not Running after 0\.5 s"):
        research.sessions.wait("lab", timeout=0.5)
    with pytest.raises(NotReached, match="lab is Pending and will not be Paused"):
        research.sessions.wait("lab", "Paused", timeout=60)
    with pytest.raises(NotReached):
        research.sessions.wait_deleted("lab", timeout=60)
    settle(Phase.FAILED)
    with pytest.raises(NotReached, match="lab is Failed and will not be Running"):
        research.sessions.wait("lab", timeout=60)


def test_a_wait_for_the_end_ends_with_it(research: WorkspaceClient) -> None:
    research.sessions.launch(Launch("jupyterlab", name="lab"))
    settle(Phase.TERMINATING, desired=Desired.DELETED)
    thread = soon(Session.objects.all().delete)
    research.sessions.wait_deleted("lab", timeout=60)
    thread.join()
    with pytest.raises(ApiError) as error:
        research.sessions.wait("lab", timeout=60)
    assert error.value.status == 404


def test_a_server_without_a_place_to_wait_is_asked_again(research: WorkspaceClient, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SLIPWAY_API_WAITERS = 0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        settle(Phase.RUNNING)

    monkeypatch.setattr(client_sessions.time, "sleep", sleep)
    research.sessions.launch(Launch("jupyterlab", name="lab"))
    assert research.sessions.wait("lab").phase == "Running"
    assert slept == [2]


def test_a_log_is_followed_until_its_session_ends(research: WorkspaceClient, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    research.sessions.launch(Launch("jupyterlab", name="lab"))
    settle(Phase.RUNNING)
    logs = ["one\ntwo", "one\ntwo\nthr", "one\ntwo\nthree\nfour", "one\ntwo\nthree\nfour"]
    driver.log = logs.pop(0)

    def sleep(_: float) -> None:
        if logs:
            driver.log = logs.pop(0)
        else:
            settle(Phase.PAUSED)

    monkeypatch.setattr(client_sessions.time, "sleep", sleep)
    assert list(research.sessions.follow_logs("lab", tail=1)) == ["one", "two", "three", "four"]


def test_outsiders_and_short_scopes_are_told(client: Clients, cast: Cast) -> None:
    with pytest.raises(ApiError) as error:
        client("outsider").workspace("research").get()
    assert (error.value.status, error.value.code) == (404, "not_found")
    with pytest.raises(ApiError, match="lacks the scope “sessions”") as error:
        client("owner", Scope.READ).workspace("research").sessions.launch(Launch("jupyterlab"))
    assert error.value.code == "scope_missing"
