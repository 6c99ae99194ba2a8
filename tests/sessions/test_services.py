"""The verbs: who may, what they change, and that nothing is lost when they refuse."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.db.models import F
from django.http import Http404
from django_q.models import OrmQ

from compute.errors import Forbidden, Refused
from compute.models import Cluster, ComputePool, SlurmCluster, Workspace
from presets.models import Configuration, ConfigurationVariable, Image, PodSize
from sessions import services
from sessions.models import Activity, Desired, Draft, Phase, Session
from sessions.spec import DataVolumeInput, EnvInput, HomeInput, pending_changes
from storage.models import Secret, Volume
from storage.services import bundle_of
from tests.conftest import Cast
from tests.fakes import FakeDriver
from tests.slurm_cast import slurm_cluster

Launch = Callable[..., Session]


def codes(error: pytest.ExceptionInfo[Refused]) -> list[tuple[str, str]]:
    return [(problem.field, problem.code) for problem in error.value.problems]


def test_a_launch_makes_the_session_its_home_and_one_task(launch: Launch, cast: Cast, shared_data: Volume) -> None:
    session = launch(data_volumes=(DataVolumeInput("sales", "/data/sales", True),), env=(EnvInput("REGION", "north"),))
    assert session.host.startswith("forecast-")
    assert (session.desired, session.generation, session.phase) == (Desired.RUNNING, 1, Phase.PENDING)
    home, data = session.mounts.all()
    assert (home.volume.name, home.mount_path, home.is_home) == ("home-forecast", "/home/jovyan", True)
    assert (data.volume, data.mount_path, data.read_only) == (shared_data, "/data/sales", True)
    assert OrmQ.objects.count() == 1
    assert OrmQ.objects.get().task["args"] == (session.pk,)
    assert list(session.activity.values_list("verb", "actor__username")) == [("launch", "owner")]
    assert session.price_per_hour == Decimal("0.025")


def test_a_refused_launch_leaves_nothing_behind(launch: Launch) -> None:
    with pytest.raises(Refused) as refused:
        launch(image="gone", env=(EnvInput("1BAD", "x"),))
    assert codes(refused) == [("image", "image_gone"), ("env.0.name", "env_invalid")]
    assert (Session.objects.count(), Volume.objects.count(), OrmQ.objects.count(), Activity.objects.count()) == (0, 0, 0, 0)


def test_a_viewer_cannot_launch_and_an_outsider_sees_no_workspace(launch: Launch, cast: Cast) -> None:
    with pytest.raises(Forbidden):
        launch(user=cast.viewer)
    with pytest.raises(Http404):
        launch(user=cast.outsider)


def test_a_draft_launches_one_session_however_often_it_is_sent(launch: Launch, cast: Cast, workspace: Workspace) -> None:
    draft = Draft.objects.create(id=uuid4(), owner=cast.owner, workspace=workspace, data={"a": 1})
    first = launch(draft=draft)
    assert launch(draft=draft) == first
    assert Session.objects.count() == 1
    services.delete(cast.owner, first)
    first.delete()
    with pytest.raises(Refused) as refused:
        launch(draft=draft)
    assert codes(refused) == [("", "already_launched")]


def test_typed_values_and_tokens_are_unreadable_in_the_database(launch: Launch) -> None:
    session = launch(env=(EnvInput("MY_TOKEN", "hunter2-hunter2"),))
    with connection.cursor() as cursor:
        cursor.execute("SELECT env, snapshot, ide_token FROM notebook_sessions_session")
        row = " ".join(cursor.fetchone())
    assert "hunter2" not in row
    assert session.ide_token not in row
    assert Session.objects.get().env == {"MY_TOKEN": "hunter2-hunter2"}


def test_inline_wins_over_configuration_wins_over_bundle(launch: Launch, workspace: Workspace) -> None:
    for name in ("A", "B", "C"):
        Secret.objects.create(bundle=bundle_of(workspace), name=name, value="bundle")
    configuration = Configuration.objects.create(slug="proxy", name="Proxy")
    for name in ("B", "C"):
        ConfigurationVariable.objects.create(configuration=configuration, name=name, value="configuration")
    session = launch(configurations=("proxy",), env=(EnvInput("C", "inline"),))
    everything = {**session.snapshot["env"], **session.snapshot["secret_env"]}
    assert {name: everything[name] for name in "ABC"} == {"A": "bundle", "B": "configuration", "C": "inline"}


def test_pause_and_resume_raise_the_generation_and_only_resume_the_revision(launch: Launch, cast: Cast) -> None:
    session = launch()
    services.pause(cast.owner, session)
    session.refresh_from_db()
    assert (session.desired, session.generation, session.revision) == (Desired.PAUSED, 2, 1)
    services.pause(cast.owner, session)
    session.refresh_from_db()
    assert session.generation == 2
    services.resume(cast.owner, session)
    session.refresh_from_db()
    assert (session.desired, session.generation, session.revision) == (Desired.RUNNING, 3, 3)
    services.resume(cast.owner, session)
    session.refresh_from_db()
    assert session.generation == 3
    assert list(session.activity.order_by("pk").values_list("verb", flat=True)) == ["launch", "pause", "resume"]


@pytest.mark.parametrize("verb", [services.pause, services.resume, services.delete])
def test_a_session_that_was_removed_while_somebody_clicked_is_left_at_that(
    launch: Launch, cast: Cast, verb: Callable[[Any, Session], None]
) -> None:
    session = launch()
    Session.objects.get().delete()
    verb(cast.owner, session)
    assert services.pause_idle(session, "Idle.") is False
    assert not Session.objects.exists()


def test_resume_takes_the_catalog_as_it_is_now_and_the_page_says_so_before(launch: Launch, cast: Cast) -> None:
    session = launch()
    assert pending_changes(session) == []
    new = Image.objects.create(preset=session.preset, slug="newer", name="Newer", reference="local:newer", position=9)
    Image.objects.filter(slug="minimal").update(redirect_to=new, is_default=False)
    PodSize.objects.filter(slug="small").update(memory="2Gi")
    session = Session.objects.get()
    assert pending_changes(session) == [("Image", "local:jupyterlab", "local:newer"), ("Memory", "1Gi", "2Gi")]
    services.pause(cast.owner, session)
    services.resume(cast.owner, session)
    session = Session.objects.get()
    assert session.snapshot["image"] == "local:newer"
    assert pending_changes(session) == []


def test_a_colleague_can_do_nothing_to_a_session_and_an_admin_can_do_all_but_open(launch: Launch, cast: Cast) -> None:
    session = launch()
    for verb in (services.pause, services.resume, services.delete):
        with pytest.raises(Forbidden):
            verb(cast.colleague, session)
        with pytest.raises(Forbidden):
            verb(cast.viewer, session)
        with pytest.raises(Http404):
            verb(cast.outsider, session)
        verb(cast.admin, session)
    Session.objects.update(phase=Phase.RUNNING, desired=Desired.RUNNING)
    session.refresh_from_db()
    for who in (cast.admin, cast.colleague, cast.viewer):
        with pytest.raises(Forbidden):
            services.open_session(who, session, "key")


def test_only_a_running_session_opens(launch: Launch, cast: Cast) -> None:
    session = launch()
    with pytest.raises(Refused) as refused:
        services.open_session(cast.owner, session, "key")
    assert codes(refused) == [("", "not_running")]
    Session.objects.update(phase=Phase.RUNNING)
    session.refresh_from_db()
    address = services.open_session(cast.owner, session, "key")
    assert address.startswith(f"http://{session.host}.apps.localhost:8000/_slipway/enter?ticket=")
    assert session.ide_token not in address


def test_delete_keeps_volumes_but_for_those_named(launch: Launch, cast: Cast) -> None:
    session = launch()
    services.delete(cast.owner, session)
    assert Volume.objects.live().get().name == "home-forecast"
    other = launch(name="second")
    services.delete(cast.owner, other, ["home-second"])
    assert Volume.objects.trashed().get().name == "home-second"
    assert Volume.objects.live().get().name == "home-forecast"


def test_delete_refuses_a_volume_that_is_not_its_own_or_is_used_elsewhere(launch: Launch, cast: Cast, shared_data: Volume) -> None:
    Volume.objects.update(owner=cast.owner)
    mounts = (DataVolumeInput("sales", "/data/sales"),)
    first, _ = launch(data_volumes=mounts), launch(name="second", data_volumes=mounts)
    for names, expected in ((["nope"], "volume_gone"), (["sales"], "volume_in_use")):
        with pytest.raises(Refused) as refused:
            services.delete(cast.owner, first, names)
        assert codes(refused) == [("volumes", expected)]
    first.refresh_from_db()
    assert first.desired == Desired.RUNNING


def paused(user: Any, session: Session) -> None:
    """Pause it, and have the cluster say that it is paused."""
    services.pause(user, session)
    Session.objects.filter(pk=session.pk).update(phase=Phase.PAUSED, status_generation=F("generation"))


def test_a_home_in_use_blocks_launch_and_resume_until_the_other_pauses(launch: Launch, cast: Cast) -> None:
    first = launch()
    with pytest.raises(Refused) as refused:
        launch(name="second", home=HomeInput(volume="home-forecast"))
    assert codes(refused) == [("home.volume", "home_in_use")]
    assert "forecast" in str(refused.value)
    paused(cast.owner, first)
    second = launch(name="second", home=HomeInput(volume="home-forecast"))
    with pytest.raises(Refused) as refused:
        services.resume(cast.owner, first)
    assert codes(refused) == [("", "volume_in_use")]
    paused(cast.owner, second)
    services.resume(cast.owner, first)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.TERMINATING, Phase.UNKNOWN, Phase.PAUSED])
def test_a_home_is_in_use_until_the_cluster_has_said_that_its_session_is_paused(launch: Launch, cast: Cast, phase: Phase) -> None:
    first = launch()
    services.pause(cast.owner, first)
    Session.objects.filter(pk=first.pk).update(phase=phase)  # a status of the generation before
    with pytest.raises(Refused) as refused:
        launch(name="second", home=HomeInput(volume="home-forecast"))
    assert codes(refused) == [("home.volume", "home_in_use")]


def test_a_session_that_still_pauses_is_not_counted_twice_by_the_quota(launch: Launch, cast: Cast, workspace: Workspace) -> None:
    Workspace.objects.filter(pk=workspace.pk).update(quota_sessions=1)
    session = launch()
    services.pause(cast.owner, session)
    services.resume(cast.owner, session)
    session.refresh_from_db()
    assert session.desired == Desired.RUNNING


def test_a_quota_blocks_launch_and_resume(launch: Launch, cast: Cast, workspace: Workspace) -> None:
    Workspace.objects.filter(pk=workspace.pk).update(quota_sessions=1, quota_cpu="4", quota_storage="12Gi")
    first = launch()
    with pytest.raises(Refused) as refused:
        launch(name="second", pod_size="large", home=HomeInput(create_size="8Gi"))
    assert codes(refused) == [("", "quota_exceeded"), ("pod_size", "quota_exceeded"), ("home.size", "quota_exceeded")]
    paused(cast.owner, first)
    launch(name="second")
    with pytest.raises(Refused) as refused:
        services.resume(cast.owner, first)
    assert codes(refused) == [("", "quota_exceeded")]


def test_a_failed_session_can_be_retried(launch: Launch, cast: Cast) -> None:
    session = launch()
    Session.objects.update(phase=Phase.FAILED)
    session.refresh_from_db()
    services.resume(cast.owner, session)
    session.refresh_from_db()
    assert (session.generation, session.revision) == (2, 2)
    assert session.activity.first().verb == "retry"  # type: ignore[union-attr]


def test_a_launch_costs_a_bounded_number_of_queries(launch: Launch, django_assert_max_num_queries: Any) -> None:
    launch(name="warm-up")
    with django_assert_max_num_queries(45):
        launch(env=(EnvInput("A", "1"), EnvInput("B", "2")))


def test_a_session_of_somebody_who_left_is_paused_and_cannot_be_resumed(launch: Launch, cast: Cast, workspace: Workspace) -> None:
    left, closed, stays = launch(name="left"), launch(user=cast.colleague, name="closed"), launch(user=cast.admin, name="stays")
    cast.owner.memberships.update(role="viewer")
    cast.colleague.is_active = False
    cast.colleague.save()
    assert services.pause_abandoned() == 2
    assert services.pause_abandoned() == 0
    wanted = dict(Session.objects.values_list("name", "desired"))
    assert wanted == {"left": Desired.PAUSED, "closed": Desired.PAUSED, "stays": Desired.RUNNING}
    told = left.activity.get(verb="pause")
    assert (told.actor, told.message) == (None, "owner is no longer a member of Research.")
    assert stays.activity.filter(verb="pause").count() == 0
    for session in (left, closed):
        with pytest.raises(Refused) as refused:
            services.resume(cast.admin, session)
        assert ("", "owner_left") in codes(refused)


def test_resume_refuses_what_the_workspace_may_not_use_any_more(
    launch: Launch, cast: Cast, workspace: Workspace, driver: FakeDriver
) -> None:
    slurm_cluster(workspace, cast.owner)
    session = launch(slurm_cluster="hpc")
    services.pause(cast.owner, session)
    Session.objects.update(phase=Phase.PAUSED, status_generation=2)
    ComputePool.objects.update(enabled=False)
    SlurmCluster.objects.update(enabled=False)
    Cluster.objects.update(enabled=False)
    driver.unsupported["local:jupyterlab"] = "Not here."
    with pytest.raises(Refused) as refused:
        services.resume(cast.owner, session)
    assert codes(refused) == [
        ("", "cluster_disabled"),
        ("compute_pool", "pool_not_allowed"),
        ("slurm_cluster", "slurm_gone"),
        ("image", "image_unsupported"),
    ]
    assert Session.objects.get().desired == Desired.PAUSED


def test_a_launch_costs_the_same_few_queries_in_a_full_workspace(launch: Launch, django_assert_max_num_queries: Any) -> None:
    for number in range(5):
        launch(name=f"other-{number}")
    with django_assert_max_num_queries(16):  # two of them are the transaction's
        launch()
