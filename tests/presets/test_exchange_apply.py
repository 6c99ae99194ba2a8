"""Applying an import: all or nothing, as often as one likes, and nothing that the file does not name."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from compute.errors import Forbidden, Refused
from compute.models import Workspace
from presets.exchange import PERMISSIONS, Options, apply
from presets.models import Image, PodSize, Preset, PresetVariable, PresetVolume
from sessions.models import Session
from sessions.spec import HomeInput, SpecInput
from sessions.spec.resolve import resolve
from storage.models import Secret
from tests.presets.exchange import bring, changes, image, kind, look, pod, pod_default, source

pytestmark = pytest.mark.django_db


def test_a_preview_changes_nothing_and_says_what_would_be() -> None:
    bring(kind(images=[image("a"), image("b")]))
    Image.objects.filter(slug="a").update(name="Edited")
    document = kind(images=[image("b"), image("a", redirect={"to": "b"})], extraEnv=[{"name": "REGION", "value": "north"}])
    plan = look(document)
    assert changes(plan) == [
        ("preset", "Lab", "Document kept for export", "as it was", "as it is in the file"),
        ("image", "Image b", "Position", "2", "1"),
        ("image", "Image a", "Name", "Edited", "Image a"),
        ("image", "Image a", "Position", "1", "2"),
        ("image", "Image a", "Redirect to", "–", "Image b"),
        ("variable", "REGION", "Value", "", "a value"),
    ]
    assert Image.objects.filter(name="Edited", redirect_to=None).exists()
    assert not PresetVariable.objects.exists()


def test_applying_twice_changes_nothing_the_second_time() -> None:
    documents = (kind(images=[image("a", redirect={"to": "b"}), image("b")], extraEnv=[{"name": "X", "value": ""}]), pod_default())
    assert bring(*documents).is_change
    versions = Preset.history.count() + Image.history.count() + PodSize.history.count()
    again = bring(*documents)
    assert not again.is_change and changes(again) == []
    assert Preset.history.count() + Image.history.count() + PodSize.history.count() == versions


def test_history_tells_where_a_change_came_from() -> None:
    bring(kind())
    assert Preset.objects.get().history.first().history_change_reason == "Imported from catalog.yaml"


def test_defaults_and_redirects_move_at_once() -> None:
    bring(kind(images=[image("a"), image("b")]))
    assert Image.objects.get(is_default=True).slug == "b"
    document = kind(images=[image("a"), image("b", redirect={"to": "c"}), image("c", redirect={"to": "a"})])
    document["spec"]["podTemplate"]["options"]["imageConfig"]["spawner"]["default"] = "a"
    bring(document)
    assert Image.objects.get(is_default=True).slug == "a"
    assert Image.objects.get(slug="b").successor().slug == "a"
    bring(kind(images=[image("a"), image("b")]))
    assert Image.objects.get(slug="b").redirect_to is None and Image.objects.get(is_default=True).slug == "b"


def test_what_the_file_does_not_name_is_left_as_it_is() -> None:
    bring(kind(images=[image("a"), image("b")]))
    preset = Preset.objects.get()
    Image.objects.filter(slug="b").update(is_default=False)
    Image.objects.create(preset=preset, slug="own", name="Own", reference="quay.io/x/y:1", is_default=True)
    PresetVariable.objects.create(preset=preset, name="OWN", value="x")
    PresetVolume.objects.create(preset=preset, volume="own", mount_path="/data/own")
    plan = bring(kind(images=[image("b")]))
    assert plan.items[0].left == ["image “Own”", "image “Image a”", "variable OWN", "data volume own"]
    assert preset.images.count() == 3 and preset.variables.count() == 1 and preset.volumes.count() == 1
    assert preset.images.get(is_default=True).slug == "b"
    assert not look(kind(images=[image("b")])).is_change


def test_one_mistake_stops_all_documents() -> None:
    broken = kind("broken")
    del broken["spec"]["spawner"]["displayName"], broken["spec"]["podTemplate"]["volumeMounts"]
    broken["spec"]["spawner"]["hidden"] = "yes"
    with pytest.raises(Refused) as refused:
        bring(kind("fine"), broken, {"kind": "Pod"})
    assert [problem.field for problem in refused.value.problems] == [
        "catalog.yaml, document 2, spec.spawner.hidden",
        "catalog.yaml, document 2, spec.podTemplate.volumeMounts.home",
        "catalog.yaml, document 3, kind",
    ]
    assert not Preset.objects.exists()


def test_a_failure_in_the_middle_undoes_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    save = PodSize.save

    def fail(row: PodSize, *args: Any, **kwargs: Any) -> None:
        if row.slug == "last":
            raise RuntimeError("the disk is full")
        save(row, *args, **kwargs)

    monkeypatch.setattr(PodSize, "save", fail)
    with pytest.raises(RuntimeError):
        bring(kind("one"), kind("two", pods=[pod("first"), pod("last")]))
    assert not Preset.objects.exists() and not Image.objects.exists()


def test_someone_who_was_quicker_is_told_of() -> None:
    plan = look(kind())
    bring(kind())
    Preset.objects.update(name="Quicker")
    with pytest.raises(Refused, match="a moment ago"):
        apply(None, [source(kind())], Options(), plan.digest)
    assert Preset.objects.get().name == "Quicker"


def test_only_who_may_change_the_whole_catalog_imports() -> None:
    curator = get_user_model().objects.create_user("curator", password="correct-horse")
    wanted = [Permission.objects.get(content_type__app_label="presets", codename=name.split(".")[1]) for name in PERMISSIONS]
    curator.user_permissions.set(wanted[:-1])
    with pytest.raises(Forbidden):
        apply(curator, [source(kind())], Options())
    curator = get_user_model().objects.get(pk=curator.pk)
    curator.user_permissions.set(wanted)
    apply(curator, [source(kind())], Options())
    assert Preset.objects.exists()


def test_the_ide_of_a_preset_in_use_stays(session: Session) -> None:
    with pytest.raises(Refused, match="IDE can't change"):
        look(kind("jupyterlab"), options=Options(ide="rstudio"))
    assert look(kind("jupyterlab")).is_change


def test_a_mount_in_the_way_of_a_curators_is_refused() -> None:
    bring(kind())
    PresetVolume.objects.create(preset=Preset.objects.get(), volume="own", mount_path="/data")
    volume = [{"name": "v", "persistentVolumeClaim": {"claimName": "sales"}}]
    with pytest.raises(Refused, match="mounts “own” at /data"):
        look(kind(extraVolumes=volume, extraVolumeMounts=[{"name": "v", "mountPath": "/data/sales"}]))


def test_the_same_name_twice_in_one_import_is_refused() -> None:
    with pytest.raises(Refused, match="comes twice"):
        look(kind(), kind())


def test_a_preview_costs_the_same_for_any_number_of_entries(django_assert_max_num_queries: Any) -> None:
    document = kind(
        images=[image("old", redirect={"to": "i0"}), *(image(f"i{number}") for number in range(30))],
        pods=[pod(f"p{number}") for number in range(30)],
        extraEnv=[{"name": f"V{number}", "value": "x"} for number in range(30)],
    )
    bring(document)
    with django_assert_max_num_queries(8):
        look(document)


@pytest.fixture
def session(cast: Any, workspace: Workspace, preset: Preset) -> Session:
    return Session.objects.create(
        workspace=workspace,
        owner=cast.owner,
        name="forecast",
        preset=preset,
        image=preset.images.get(slug="minimal"),
        pod_size=preset.pod_sizes.get(slug="small"),
        env={"TYPED": "by the user"},
    )


def test_a_session_gets_the_presets_variables_unless_something_else_sets_them(session: Session, workspace: Workspace) -> None:
    values = {"BASE": '/x{{ httpPathPrefix "jupyterlab" }}y', "TOKEN": "preset", "SHARED": "preset", "TYPED": "preset"}
    for name, value in values.items():
        PresetVariable.objects.create(preset=session.preset, name=name, value=value, is_secret=name == "TOKEN")
    Secret.objects.create(bundle=workspace.secrets_bundle, name="SHARED", value="bundle")
    snapshot = resolve(session)
    assert snapshot["env"]["BASE"] == "/x/y"
    assert snapshot["secret_env"] == {"TOKEN": "preset", "SHARED": "bundle", "TYPED": "by the user"}
    assert not {"TOKEN", "SHARED", "TYPED"} & set(snapshot["env"])


def test_what_is_imported_can_be_launched(cast: Any, workspace: Workspace, driver: Any) -> None:
    from sessions import services

    bring(kind(images=[image("local", reference="local:jupyterlab")], extraEnv=[{"name": "REGION", "value": "north"}]))
    spec = SpecInput(name="first", preset="lab", image="local", pod_size="small", home=HomeInput(create_size="1Gi"))
    session = services.launch(cast.owner, workspace, spec)
    assert resolve(session)["env"]["REGION"] == "north"
