"""Volumes, their trash, and secrets over the API: the services' rules and words, and nothing lost."""

from __future__ import annotations

from typing import Any

import pytest

from compute.models import Scope, Workspace
from presets.models import Preset
from sessions import services
from sessions.spec import HomeInput, SpecInput
from storage.models import Secret, Volume
from storage.services import trash_volume, write_secret
from tests.api.conftest import Tokened
from tests.conftest import Cast
from tests.fakes import FakeDriver

HERE = "workspaces/research"


def test_a_volume_is_created_with_the_forms_defaults(api: Tokened, cast: Cast) -> None:
    answer = api().post(f"{HERE}/volumes", {"name": "sales"})
    assert answer.status == 201
    assert (answer.data["kind"], answer.data["size"], answer.data["access_mode"]) == ("data", "5Gi", "ReadWriteOnce")
    assert answer.data["owner"] == "owner"
    assert answer["Location"].endswith("/api/v1/workspaces/research/volumes/sales")
    assert api().get(f"{HERE}/volumes/sales")["ETag"] == answer["ETag"]


def test_a_volume_is_refused_in_the_services_words_at_its_fields(api: Tokened, cast: Cast) -> None:
    answer = api().post(f"{HERE}/volumes", {"name": "Sales!", "size": "-1Gi", "kind": "attic"})
    assert (answer.status, answer.code) == (422, "refused")
    assert {field for field, _ in answer.fields} == {"name", "size", "kind"}
    assert not Volume.objects.exists()


def test_a_repeated_create_makes_one_volume(api: Tokened, cast: Cast) -> None:
    client = api()
    answers = [client.post(f"{HERE}/volumes", {"name": "sales"}, Idempotency_Key="once") for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].data == answers[1].data
    assert Volume.objects.count() == 1


def test_a_mounted_volume_says_by_what_and_stays(api: Tokened, cast: Cast, workspace: Workspace, preset: Preset, home: Volume) -> None:
    spec = SpecInput(name="lab", preset="jupyterlab", image="minimal", pod_size="small", home=HomeInput(volume=home.name))
    services.launch(cast.owner, workspace, spec)
    shown = api().get(f"{HERE}/volumes/{home.name}").data
    assert shown["used_by"] == [{"session": "lab", "phase": "Pending", "mount_path": "/home/jovyan", "read_only": False}]
    assert shown["actions"] == {"delete": False}
    answer = api().delete(f"{HERE}/volumes/{home.name}")
    assert (answer.status, answer.fields) == (422, [("volumes", "volume_in_use")])


def test_what_went_to_the_trash_can_be_brought_back(api: Tokened, home: Volume) -> None:
    client = api()
    trashed = client.delete(f"{HERE}/volumes/{home.name}").data
    assert client.get(f"{HERE}/volumes/{home.name}").status == 404
    assert [item["pvc"] for item in client.get(f"{HERE}/trash").data["items"]] == [trashed["pvc"]] == [home.claim]
    Volume.objects.create(workspace=home.workspace, name=home.name, kind=Volume.Kind.DATA)
    restored = client.post(trashed["links"]["restore"].partition("/api/v1/")[2]).data
    assert restored["name"] == f"{home.name}-2"
    assert restored["pvc"] == home.claim


def test_a_purge_deletes_the_claim(api: Tokened, cast: Cast, home: Volume, driver: FakeDriver) -> None:
    trash_volume(cast.owner, home)
    assert api().delete(f"{HERE}/trash/{home.claim}").status == 204
    assert not Volume.objects.exists()


def test_other_peoples_volumes_want_the_admin_scope(api: Tokened, home: Volume) -> None:
    answer = api("admin", Scope.VOLUMES).delete(f"{HERE}/volumes/{home.name}")
    assert (answer.status, answer.code) == (403, "scope_missing")
    assert api("admin", Scope.ADMIN).delete(f"{HERE}/volumes/{home.name}").status == 200


def test_a_volume_that_has_changed_since_is_not_trashed(api: Tokened, home: Volume) -> None:
    client = api()
    tag = client.get(f"{HERE}/volumes/{home.name}")["ETag"]
    Volume.objects.update(size="7Gi")
    answer = client.delete(f"{HERE}/volumes/{home.name}", If_Match=tag)
    assert (answer.status, answer.code) == (412, "precondition_failed")
    assert Volume.objects.live().exists()


def test_volumes_are_searched_like_on_their_page(api: Tokened, home: Volume, shared_data: Volume) -> None:
    def names(**query: str) -> list[str]:
        return [item["name"] for item in api().get(f"{HERE}/volumes", **query).data["items"]]

    assert names() == ["home-owner", "sales"]
    assert names(kind="data") == ["sales"]
    assert names(search="own") == ["home-owner"]


def test_a_page_of_volumes_costs_the_same_however_long(api: Tokened, workspace: Workspace, django_assert_max_num_queries: Any) -> None:
    Volume.objects.bulk_create(Volume(workspace=workspace, name=f"v{n}", claim=f"v{n}-x", kind="data") for n in range(30))
    client = api()
    with django_assert_max_num_queries(5):
        assert len(client.get(f"{HERE}/volumes").data["items"]) == 25


@pytest.mark.usefixtures("cast")
class TestSecrets:
    def test_a_value_goes_in_and_never_comes_out(self, api: Tokened) -> None:
        client = api("admin")
        answer = client.send("PUT", f"{HERE}/secrets/TOKEN", {"value": "canary", "description": "Reads."})
        assert answer.status == 200
        assert Secret.objects.get().value == "canary"
        for shown in (answer, client.get(f"{HERE}/secrets"), client.get(f"{HERE}/secrets/TOKEN")):
            assert b"canary" not in shown.response.content

    def test_a_new_value_leaves_the_description(self, api: Tokened, cast: Cast, workspace: Workspace) -> None:
        write_secret(cast.admin, workspace, name="TOKEN", value="old", description="Reads.")
        api("admin").send("PUT", f"{HERE}/secrets/TOKEN", {"value": "new"})
        assert Secret.objects.values_list("description").get() == ("Reads.",)

    def test_with_if_match_only_that_state_is_replaced(self, api: Tokened, cast: Cast, workspace: Workspace) -> None:
        client = api("admin")
        assert client.send("PUT", f"{HERE}/secrets/TOKEN", {"value": "new"}, If_Match='"x"').status == 404
        write_secret(cast.admin, workspace, name="TOKEN", value="old")
        tag = client.get(f"{HERE}/secrets/TOKEN")["ETag"]
        write_secret(cast.admin, workspace, name="TOKEN", value="rival")
        assert client.send("PUT", f"{HERE}/secrets/TOKEN", {"value": "new"}, If_Match=tag).code == "precondition_failed"
        assert Secret.objects.get().value == "rival"

    def test_a_bad_name_is_refused_at_the_name(self, api: Tokened) -> None:
        answer = api("admin").send("PUT", f"{HERE}/secrets/1-2", {"value": "x"})
        assert (answer.status, [field for field, _ in answer.fields]) == (422, ["name"])

    def test_deleting_removes_it(self, api: Tokened, cast: Cast, workspace: Workspace) -> None:
        write_secret(cast.admin, workspace, name="TOKEN", value="old")
        assert api("admin").delete(f"{HERE}/secrets/TOKEN").status == 204
        assert not Secret.objects.exists()
