"""The pages of volumes and their trash."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from compute.clusters.base import ClusterError
from compute.models import Workspace
from presets.models import Preset
from sessions.models import Phase, Session
from storage import services
from storage.models import Volume
from tests.conftest import Cast
from tests.fakes import FakeDriver
from tests.storage.test_services_volumes import make_session

pytestmark = pytest.mark.django_db
LIST, NEW, TRASH = "/w/research/volumes/", "/w/research/volumes/new/", "/w/research/volumes/trash/"


def text(response: Any) -> str:
    return str(response.content.decode())


def fill(workspace: Workspace, owner: Any, number: int, session: Session | None = None) -> None:
    for index in range(number):
        Volume.objects.create(workspace=workspace, owner=owner, name=f"bulk-{index:03}", kind="data")


def test_the_list_shows_who_uses_a_volume(cast: Cast, workspace: Workspace, preset: Preset, shared_data: Volume, home: Volume) -> None:
    session = make_session(workspace, preset, cast.owner, shared_data)
    Session.objects.update(phase=Phase.RUNNING)
    page = text(cast.client("viewer").get(LIST))
    assert f'href="/w/research/sessions/{session.host}/">etl</a>' in page
    assert "phase-Running" in page
    assert "10\N{NO-BREAK SPACE}GiB" in page
    assert "home-owner" in page


def test_an_empty_list_leads_on_and_a_viewer_is_not_offered_what_they_cannot_do(cast: Cast) -> None:
    assert "No volumes yet" in text(cast.client("viewer").get(LIST))
    assert f'href="{NEW}"' not in text(cast.client("viewer").get(LIST))
    assert f'href="{NEW}"' in text(cast.client("owner").get(LIST))


def test_delete_is_offered_to_the_owner_and_admins_only(cast: Cast, home: Volume) -> None:
    for who, offered in {"owner": True, "admin": True, "colleague": False, "viewer": False}.items():
        assert (f"/volumes/{home.pk}/delete/" in text(cast.client(who).get(LIST))) is offered


def test_the_list_is_searched_by_name_owner_and_kind(cast: Cast, home: Volume, shared_data: Volume) -> None:
    client = cast.client("owner")
    for query, found in {
        "q=SALE": ["sales"],
        "q=owner": ["home-owner"],
        "kind=data": ["sales"],
        "kind=tape": ["home-owner", "sales"],
    }.items():
        names = [row.volume.name for row in client.get(f"{LIST}?{query}").context["rows"]]
        assert names == found
    assert "No volume fits" in text(client.get(f"{LIST}?q=nothing"))


def test_htmx_gets_the_results_alone(cast: Cast, shared_data: Volume, django_assert_max_num_queries: Any) -> None:
    client = cast.client("owner")
    client.get(LIST)
    with django_assert_max_num_queries(6):
        response = client.get(f"{LIST}?q=sales", headers={"HX-Request": "true"})
    assert text(response).strip().startswith('<div id="results">')
    assert "HX-Request" in response["Vary"]


def test_the_list_is_paged_and_keeps_the_search(cast: Cast, workspace: Workspace) -> None:
    fill(workspace, cast.owner, 27)
    client = cast.client("owner")
    first = client.get(f"{LIST}?q=bulk")
    assert len(first.context["rows"]) == 25
    assert "?q=bulk&amp;page=2" in text(first)
    assert len(client.get(f"{LIST}?q=bulk&page=2").context["rows"]) == 2
    assert len(client.get(f"{LIST}?page=900").context["rows"]) == 2
    assert len(client.get(f"{LIST}?page=x").context["rows"]) == 25


def test_the_list_costs_the_same_for_any_number_of_volumes(
    cast: Cast, workspace: Workspace, preset: Preset, django_assert_max_num_queries: Any
) -> None:
    fill(workspace, cast.owner, 60)
    make_session(workspace, preset, cast.owner, *Volume.objects.all()[:20])
    client = cast.client("owner")
    client.get(LIST)
    with django_assert_max_num_queries(9):
        assert client.get(LIST).status_code == 200


def test_a_member_creates_a_volume(cast: Cast) -> None:
    answers = {"name": "sales", "kind": "data", "size": "20Gi", "access_mode": "ReadWriteMany"}
    response = cast.client("owner").post(NEW, answers)
    assert response["Location"] == LIST
    volume = Volume.objects.get()
    assert (volume.name, volume.size, volume.access_mode, volume.owner) == ("sales", "20Gi", "ReadWriteMany", cast.owner)


def test_a_wrong_answer_is_shown_at_its_field_and_keeps_what_was_typed(cast: Cast, shared_data: Volume) -> None:
    answers = {"name": "sales", "kind": "data", "size": "20Gi", "access_mode": "ReadWriteOnce"}
    response = cast.client("owner").post(NEW, answers)
    assert response.status_code == 200
    assert response.context["form"].errors["name"] == ["The workspace has a volume of this name."]
    assert 'aria-describedby="id_name_helptext id_name_error"' in text(response)
    assert 'value="20Gi"' in text(response)


def test_a_viewer_cannot_create_a_volume(cast: Cast) -> None:
    response = cast.client("viewer").get(NEW)
    assert response.status_code == 403
    assert "Members and admins of Research can create volumes." in text(response)


def test_deleting_asks_for_the_name(cast: Cast, home: Volume) -> None:
    client, address = cast.client("owner"), f"/w/research/volumes/{home.pk}/delete/"
    assert "Type home-owner to confirm" in text(client.get(address))
    assert "This is not the name." in text(client.post(address, {"confirm": "home"}))
    home.refresh_from_db()
    assert home.trashed_at is None
    assert client.post(address, {"confirm": "home-owner"}).status_code == 302
    home.refresh_from_db()
    assert home.trashed_at is not None


def test_a_volume_of_a_session_cannot_be_deleted(cast: Cast, workspace: Workspace, preset: Preset, home: Volume) -> None:
    make_session(workspace, preset, cast.owner, home)
    client, address = cast.client("owner"), f"/w/research/volumes/{home.pk}/delete/"
    page = text(client.get(address))
    assert "It is attached to a session" in page
    assert ">etl</a>" in page
    assert 'name="confirm"' not in page
    client.post(address, {"confirm": "home-owner"})
    home.refresh_from_db()
    assert home.trashed_at is None


def test_the_trash_restores(cast: Cast, workspace: Workspace, home: Volume) -> None:
    services.trash_volume(cast.owner, home)
    client = cast.client("owner")
    assert '<td class="num" data-label="Days left">14</td>' in text(client.get(TRASH))
    services.create_volume(cast.owner, workspace, name="home-owner", kind="home", size="1Gi")
    page = text(client.post(f"/w/research/volumes/{home.pk}/restore/", follow=True))
    assert "Restored “home-owner” as “home-owner-2”" in page
    assert cast.client("owner").get(f"/w/research/volumes/{home.pk}/restore/").status_code == 405


def test_deleting_for_good_asks_for_the_name(cast: Cast, home: Volume, driver: FakeDriver) -> None:
    services.trash_volume(cast.owner, home)
    client, address = cast.client("owner"), f"/w/research/volumes/{home.pk}/purge/"
    assert client.post(address, {"confirm": "home"}).status_code == 200
    assert driver.deleted_claims == []
    driver.error = ClusterError("Unreachable", "It did not answer.")
    assert "stays in the trash" in text(client.post(address, {"confirm": "home-owner"}, follow=True))
    driver.error = None
    assert "deleted for good" in text(client.post(address, {"confirm": "home-owner"}, follow=True))
    assert driver.deleted_claims == [("research", home.claim)]


def test_what_is_being_deleted_is_not_offered_for_restoring(cast: Cast, home: Volume) -> None:
    services.trash_volume(cast.owner, home)
    Volume.objects.update(purge_after=timezone.now() - timedelta(hours=1))
    page = text(cast.client("owner").get(TRASH))
    assert "Being deleted" in page
    assert "Restore" not in page
    assert "can&#x27;t be restored any more" in text(cast.client("owner").post(f"/w/research/volumes/{home.pk}/restore/", follow=True))


def test_others_see_the_trash_and_change_nothing_in_it(cast: Cast, home: Volume) -> None:
    services.trash_volume(cast.owner, home)
    colleague = cast.client("colleague")
    assert "Restore" not in text(colleague.get(TRASH))
    assert colleague.post(f"/w/research/volumes/{home.pk}/restore/").status_code == 403
    assert colleague.post(f"/w/research/volumes/{home.pk}/purge/", {"confirm": "home-owner"}).status_code == 403


def test_the_trash_is_paged_at_a_fixed_cost(cast: Cast, workspace: Workspace, django_assert_max_num_queries: Any) -> None:
    fill(workspace, cast.owner, 30)
    Volume.objects.update(trashed_at=timezone.now(), purge_after=timezone.now() + timedelta(days=3))
    client = cast.client("owner")
    client.get(TRASH)
    with django_assert_max_num_queries(9):
        response = client.get(TRASH)
    assert len(response.context["rows"]) == 25
    assert {row.days_left for row in response.context["rows"]} == {3}


@pytest.mark.parametrize("path", ["", "new/", "trash/", "{pk}/delete/", "{pk}/purge/", "{pk}/restore/"])
def test_to_an_outsider_there_is_nothing(cast: Cast, home: Volume, path: str) -> None:
    address = LIST + path.format(pk=home.pk)
    assert cast.client("outsider").get(address).status_code in (404, 405)
    assert cast.client("outsider").post(address).status_code in (404, 405)
    # A volume of one workspace is not reached through another.
    elsewhere = address.replace("/research/", "/other/")
    if "{pk}" in path:
        assert cast.client("outsider").post(elsewhere, {"confirm": "home-owner"}).status_code == 404
    assert Client().get(address).status_code in (302, 405)
