"""Volumes are created, trashed, restored and purged by their services; nothing else deletes a claim."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from compute.clusters.base import ClusterError
from compute.errors import Forbidden, Refused
from compute.models import Workspace
from presets.models import Preset
from sessions.models import Session, SessionVolume
from storage import services
from storage.models import Volume
from tests.conftest import Cast
from tests.fakes import FakeDriver

pytestmark = pytest.mark.django_db


def make_session(workspace: Workspace, preset: Preset, owner: object, *volumes: Volume) -> Session:
    session = Session.objects.create(
        workspace=workspace, owner=owner, name="etl", preset=preset, image=preset.images.first(), pod_size=preset.pod_sizes.first()
    )
    for number, volume in enumerate(volumes):
        SessionVolume.objects.create(session=session, volume=volume, mount_path=f"/data/{number}")
    return session


def codes(refused: pytest.ExceptionInfo[Refused]) -> list[tuple[str, str]]:
    return [(problem.field, problem.code) for problem in refused.value.problems]


def expire(volume: Volume) -> None:
    Volume.objects.filter(pk=volume.pk).update(purge_after=timezone.now() - timedelta(minutes=1))


def test_a_member_creates_a_volume_that_is_theirs(cast: Cast, workspace: Workspace, driver: FakeDriver) -> None:
    volume = services.create_volume(cast.owner, workspace, name=" sales ", kind="data", size="5Gi", access_mode="ReadWriteMany")
    assert (volume.name, volume.owner, volume.kind, volume.access_mode) == ("sales", cast.owner, "data", "ReadWriteMany")
    assert volume.claim.startswith("sales-")
    assert len(volume.claim) == len("sales-") + 6
    assert driver.claims == {}


@pytest.mark.parametrize(
    ("answers", "field"),
    [
        ({"name": "Sales"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 46}, "name"),
        ({"size": "a lot"}, "size"),
        ({"size": "-5Gi"}, "size"),
        ({"size": "1Pi"}, "size"),
        ({"kind": "tape"}, "kind"),
        ({"access_mode": "Sometimes"}, "access_mode"),
        ({"kind": "home", "access_mode": "ReadOnlyMany"}, "access_mode"),
    ],
)
def test_a_wrong_answer_is_refused_at_its_field(cast: Cast, workspace: Workspace, answers: dict[str, str], field: str) -> None:
    with pytest.raises(Refused) as refused:
        services.create_volume(cast.owner, workspace, **{"name": "sales", "kind": "data", "size": "5Gi", **answers})
    assert {problem.field for problem in refused.value.problems} == {field}
    assert not Volume.objects.exists()


def test_a_name_is_taken_only_by_a_live_volume(cast: Cast, workspace: Workspace, shared_data: Volume) -> None:
    with pytest.raises(Refused) as refused:
        services.create_volume(cast.owner, workspace, name="sales", kind="data", size="5Gi")
    assert [problem.field for problem in refused.value.problems] == ["name"]
    services.trash_volume(cast.admin, shared_data)
    again = services.create_volume(cast.owner, workspace, name="sales", kind="data", size="5Gi")
    assert again.claim != shared_data.claim


def test_a_volume_that_was_purged_while_somebody_clicked_is_left_at_that(cast: Cast, shared_data: Volume) -> None:
    Volume.objects.get(pk=shared_data.pk).delete()
    services.trash_volume(cast.admin, shared_data)
    assert not Volume.objects.exists()


def test_the_storage_quota_counts_the_trash(cast: Cast, workspace: Workspace, shared_data: Volume) -> None:
    Workspace.objects.update(quota_storage="12Gi")
    services.trash_volume(cast.admin, shared_data)
    with pytest.raises(Refused) as refused:
        services.create_volume(cast.owner, Workspace.objects.get(pk=workspace.pk), name="more", kind="data", size="5Gi")
    assert codes(refused) == [("size", "quota_exceeded")]


def test_a_viewer_cannot_create_a_volume(cast: Cast, workspace: Workspace) -> None:
    with pytest.raises(Forbidden):
        services.create_volume(cast.viewer, workspace, name="sales", kind="data", size="5Gi")


def test_a_trashed_volume_keeps_its_claim_and_can_be_restored(cast: Cast, home: Volume, driver: FakeDriver) -> None:
    services.trash_volume(cast.owner, home)
    home.refresh_from_db()
    assert home.trashed_by == cast.owner
    assert home.purge_after is not None
    assert home.purge_after > timezone.now() + timedelta(days=13)
    restored = services.restore_volume(cast.owner, home)
    assert (restored.name, restored.trashed_at, restored.purge_after) == ("home-owner", None, None)
    assert driver.deleted_claims == []


@pytest.mark.parametrize("who", ["colleague", "viewer"])
def test_only_the_owner_and_admins_trash_restore_and_purge(cast: Cast, home: Volume, who: str) -> None:
    with pytest.raises(Forbidden):
        services.trash_volume(getattr(cast, who), home)
    services.trash_volume(cast.admin, home)
    home.refresh_from_db()
    with pytest.raises(Forbidden):
        services.restore_volume(getattr(cast, who), home)
    with pytest.raises(Forbidden):
        services.purge_volume(getattr(cast, who), home)
    services.restore_volume(cast.admin, home)


def test_an_owner_who_is_only_a_viewer_now_cannot_trash(cast: Cast, workspace: Workspace) -> None:
    volume = Volume.objects.create(workspace=workspace, owner=cast.viewer, name="left", kind="data")
    with pytest.raises(Forbidden):
        services.trash_volume(cast.viewer, volume)


def test_a_volume_of_a_session_is_not_trashed_and_the_session_is_named(
    cast: Cast, workspace: Workspace, preset: Preset, shared_data: Volume
) -> None:
    make_session(workspace, preset, cast.owner, shared_data)
    with pytest.raises(Refused, match="“etl”") as refused:
        services.trash_volume(cast.admin, shared_data)
    assert codes(refused) == [("volumes", "volume_in_use")]
    shared_data.refresh_from_db()
    assert shared_data.trashed_at is None


def test_trashing_twice_keeps_the_first_date(cast: Cast, home: Volume) -> None:
    services.trash_volume(cast.owner, home)
    first = Volume.objects.get(pk=home.pk)
    services.trash_volume(cast.admin, home)
    second = Volume.objects.get(pk=home.pk)
    assert (second.trashed_at, second.trashed_by) == (first.trashed_at, cast.owner)


def test_a_volume_whose_name_was_taken_is_restored_under_a_free_one(cast: Cast, workspace: Workspace, shared_data: Volume) -> None:
    services.trash_volume(cast.admin, shared_data)
    services.create_volume(cast.owner, workspace, name="sales", kind="data", size="1Gi")
    assert services.restore_volume(cast.admin, shared_data).name == "sales-2"


def test_restoring_twice_changes_nothing(cast: Cast, home: Volume) -> None:
    services.trash_volume(cast.owner, home)
    services.restore_volume(cast.owner, home)
    assert services.restore_volume(cast.owner, home).name == "home-owner"


def test_purging_deletes_the_claim_and_the_row(cast: Cast, home: Volume, driver: FakeDriver) -> None:
    services.trash_volume(cast.owner, home)
    services.purge_volume(cast.owner, home)
    assert driver.deleted_claims == [("research", home.claim)]
    assert not Volume.objects.filter(pk=home.pk).exists()


def test_a_live_volume_is_never_purged(cast: Cast, home: Volume, driver: FakeDriver) -> None:
    with pytest.raises(Refused) as refused:
        services.purge_volume(cast.owner, home)
    assert codes(refused) == [("", "not_in_trash")]
    assert driver.deleted_claims == []


def test_a_page_that_is_old_cannot_purge_what_was_restored(cast: Cast, home: Volume, driver: FakeDriver) -> None:
    services.trash_volume(cast.owner, home)
    stale = Volume.objects.get(pk=home.pk)
    services.restore_volume(cast.owner, home)
    with pytest.raises(Refused):
        services.purge_volume(cast.owner, stale)
    assert driver.deleted_claims == []


def test_a_volume_that_the_cluster_cannot_delete_stays_in_the_trash_and_the_sweep_tries_again(
    cast: Cast, home: Volume, driver: FakeDriver
) -> None:
    services.trash_volume(cast.owner, home)
    driver.error = ClusterError("Unreachable", "It did not answer.")
    with pytest.raises(Refused, match="stays in the trash"):
        services.purge_volume(cast.owner, home)
    # The claim may be half gone: it is not handed back.
    with pytest.raises(Refused) as refused:
        services.restore_volume(cast.owner, home)
    assert codes(refused) == [("", "volume_purging")]
    driver.error = None
    assert services.purge_due() == 1
    assert not Volume.objects.filter(pk=home.pk).exists()


def test_a_volume_is_not_purged_while_a_session_that_is_being_deleted_holds_it(
    cast: Cast, workspace: Workspace, preset: Preset, home: Volume, driver: FakeDriver
) -> None:
    session = make_session(workspace, preset, cast.owner, home)
    services.trash_volume(cast.owner, home, released_by=session.host)
    with pytest.raises(Refused) as refused:
        services.purge_volume(cast.owner, home)
    assert codes(refused) == [("", "volume_in_use")]
    expire(home)
    assert services.purge_due() == 0
    session.delete()
    assert services.purge_due() == 1


def test_the_sweep_purges_only_what_is_due(cast: Cast, workspace: Workspace, home: Volume, shared_data: Volume, driver: FakeDriver) -> None:
    for volume in (home, shared_data):
        services.trash_volume(cast.admin, volume)
    expire(home)
    assert services.purge_due() == 1
    assert driver.deleted_claims == [("research", home.claim)]
    assert Volume.objects.get() == shared_data


@pytest.mark.parametrize("error", [ClusterError("Unreachable", "No answer."), RuntimeError("a bug in a driver")])
def test_one_volume_that_fails_does_not_keep_the_rest_from_their_turn(
    cast: Cast,
    workspace: Workspace,
    home: Volume,
    shared_data: Volume,
    monkeypatch: pytest.MonkeyPatch,
    driver: FakeDriver,
    error: Exception,
) -> None:
    for volume in (home, shared_data):
        services.trash_volume(cast.admin, volume)
        expire(volume)
    delete = driver.delete_claim

    def fail_for_home(namespace: str, name: str) -> None:
        if name == home.claim:
            raise error
        delete(namespace, name)

    monkeypatch.setattr(driver, "delete_claim", fail_for_home)
    assert services.purge_due() == 1
    assert Volume.objects.get() == home
