"""Curating presets, images and pod sizes: every rule at its field, and no way to break what the wizard relies on."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute.models import Workspace
from presets.models import Configuration, ConfigurationVolume, Image, PodSize, Preset, PresetVolume
from sessions.models import Session
from tests.admin_pages import Page, curator, errors, said
from tests.conftest import Cast

MODEL = "presets_preset"


@pytest.fixture
def admin(db: None) -> Client:
    return curator()


@pytest.fixture
def session(cast: Cast, workspace: Workspace, preset: Preset) -> Session:
    image, size = preset.images.get(slug="minimal"), preset.pod_sizes.get(slug="small")
    return Session.objects.create(workspace=workspace, owner=cast.owner, name="forecast", preset=preset, image=image, pod_size=size)


def defaults(preset: Preset) -> tuple[list[str], list[str]]:
    return (
        list(preset.images.filter(is_default=True).values_list("slug", flat=True)),
        list(preset.pod_sizes.filter(is_default=True).values_list("slug", flat=True)),
    )


def test_an_unchanged_page_saves_and_changes_nothing(admin: Client, preset: Preset) -> None:
    before = list(Image.objects.values()), list(PodSize.objects.values())
    assert errors(Page(admin, MODEL, preset).send()) == {}
    assert (list(Image.objects.values()), list(PodSize.objects.values())) == before


@pytest.mark.parametrize(("old", "new"), [(0, 1), (1, 0)])
def test_the_default_moves_in_one_save_in_either_direction(admin: Client, preset: Preset, old: int, new: int) -> None:
    slugs = ["minimal", "scipy"]
    preset.images.update(is_default=False)
    preset.images.filter(slug=slugs[old]).update(is_default=True)
    response = Page(admin, MODEL, preset).send({f"images-{old}-is_default": None, f"images-{new}-is_default": "on"})
    assert errors(response) == {}
    assert defaults(preset)[0] == [slugs[new]]


def test_the_default_may_be_deleted_while_another_takes_over(admin: Client, preset: Preset) -> None:
    assert errors(Page(admin, MODEL, preset).send({"images-0-DELETE": "on", "images-1-is_default": "on"})) == {}
    assert defaults(preset)[0] == ["scipy"]


def test_two_defaults_are_an_error_at_the_second(admin: Client, preset: Preset) -> None:
    found = errors(Page(admin, MODEL, preset).send({"images-1-is_default": "on", "pod_sizes-1-is_default": "on"}))
    assert set(found) == {"images-1-is_default", "pod_sizes-1-is_default"}


def test_without_a_default_the_first_visible_becomes_it_and_the_page_says_so(admin: Client, preset: Preset) -> None:
    response = Page(admin, MODEL, preset).send({"images-0-is_default": None, "images-0-hidden": "on", "pod_sizes-0-is_default": None})
    assert errors(response) == {}
    assert defaults(preset) == (["scipy"], ["small"])
    assert any("“SciPy” is the default image now" in message for message in said(response))


def test_a_hidden_or_redirecting_entry_cannot_be_the_default(admin: Client, preset: Preset) -> None:
    successor = str(preset.images.get(slug="scipy").pk)
    assert "images-0-is_default" in errors(Page(admin, MODEL, preset).send({"images-0-hidden": "on"}))
    assert "images-0-is_default" in errors(Page(admin, MODEL, preset).send({"images-0-redirect_to": successor}))


def test_a_visible_preset_keeps_a_visible_image_and_pod_size(admin: Client, preset: Preset) -> None:
    nothing = {f"images-{n}-{name}": value for n in (0, 1) for name, value in (("hidden", "on"), ("is_default", None))}
    response = Page(admin, MODEL, preset).send(nothing)
    assert "Add at least one image" in errors(response)[""][0]
    assert errors(Page(admin, MODEL, preset).send({**nothing, "hidden": "on"})) == {}


def test_a_preset_is_made_whole_on_one_page(admin: Client) -> None:
    page = Page(admin, MODEL)
    page.add_row("images", name="R", slug="r", reference="docker.io/rocker/rstudio:4.5.2", is_default="on")
    page.add_row("pod_sizes", name="Small", slug="small", cpu="1", memory="2Gi", gpus="0", is_default="on")
    assert errors(page.send({"name": "RStudio", "slug": "rstudio", "ide": "rstudio"})) == {}
    assert defaults(Preset.objects.get(slug="rstudio")) == (["r"], ["small"])


def test_ids_are_unique_within_the_page_and_against_the_database(admin: Client, preset: Preset) -> None:
    assert errors(Page(admin, MODEL, preset).send({"images-1-slug": "minimal"})).keys() == {"images-1-slug"}
    page = Page(admin, MODEL)
    assert "slug" in errors(page.send({"name": "Another", "slug": preset.slug, "ide": "rstudio"}))


@pytest.mark.parametrize(
    "typed",
    [
        {"slug": "Not A Slug", "home_size": "-1Gi", "home_volume": "My Home", "images-0-slug": "under_score"},
        {"images-0-reference": "quay.io/jupyter/minimal-notebook", "pod_sizes-0-cpu": "0", "pod_sizes-0-memory": "1e3Gi"},
        {"images-0-reference": "docker.io/UPPER:1", "pod_sizes-0-cpu": "100000", "pod_sizes-0-memory": "-1Gi"},
        {"images-0-reference": "local:Not Valid", "pod_sizes-0-gpus": "-1", "home_size": "lots"},
        {"images-0-reference": "", "pod_sizes-0-gpus": "99999999999", "pod_sizes-0-memory": "", "ide": "emacs"},
    ],
)
def test_every_value_is_checked_where_it_is_typed(admin: Client, preset: Preset, typed: dict[str, str]) -> None:
    assert errors(Page(admin, MODEL, preset).send(typed)).keys() == typed.keys()


def test_mount_paths_are_absolute_normalised_and_free(admin: Client, preset: Preset) -> None:
    paths = ["data", "/", "/etc/x", "/data/../x", "/data/", "//data", "/home/jovyan", "/home/coder/x", "/data x", "/da:ta", "/home"]
    page = Page(admin, MODEL, preset)
    for number, path in enumerate(paths):
        page.add_row("volumes", volume=f"v-{number}", mount_path=path)
    page.add_row("volumes", volume="fine", mount_path="/data/fine")
    assert errors(page.send()).keys() == {f"volumes-{number}-mount_path" for number in range(len(paths))}


def test_mounts_of_one_preset_do_not_overlap(admin: Client, preset: Preset) -> None:
    page = Page(admin, MODEL, preset)
    page.add_row("volumes", volume="sales", mount_path="/data")
    page.add_row("volumes", volume="models", mount_path="/data/models")
    page.add_row("volumes", volume="sales", mount_path="/other")
    assert errors(page.send()).keys() == {"volumes-1-mount_path", "volumes-2-volume"}


def test_a_mount_in_the_way_of_a_configuration_is_refused_from_both_sides(
    admin: Client, preset: Preset, workspace: Workspace, cast: Cast
) -> None:
    configuration = Configuration.objects.create(slug="team", name="Team data")
    ConfigurationVolume.objects.create(configuration=configuration, volume="team", mount_path="/data/team")
    page = Page(admin, MODEL, preset)
    page.add_row("volumes", volume="all", mount_path="/data")
    assert "Team data" in errors(page.send())["volumes-0-mount_path"][0]
    # Where they never meet, they may.
    configuration.workspaces.add(Workspace.objects.get(name="other"))
    assert errors(page.send({"workspaces": [str(workspace.pk)]})) == {}
    meets = Page(admin, "presets_configuration", configuration).send({"workspaces": []})
    assert "JupyterLab" in errors(meets)["volumes-0-mount_path"][0]


def test_redirects_stay_within_the_preset_and_never_go_in_a_circle(admin: Client, preset: Preset) -> None:
    first, second = preset.images.all()
    page = Page(admin, MODEL, preset)
    page.add_row("images", name="Third", slug="third", reference="local:third", is_default="on")
    circle = {"images-0-is_default": None, "images-0-redirect_to": str(second.pk), "images-1-redirect_to": str(first.pk)}
    assert "images-0-redirect_to" in errors(page.send(circle))
    assert "images-0-redirect_to" in errors(page.send({"images-0-is_default": None, "images-0-redirect_to": str(first.pk)}))
    other = Preset.objects.create(slug="other", name="Other", ide="rstudio", hidden=True)
    foreign = Image.objects.create(preset=other, slug="x", name="X", reference="local:x")
    assert "images-1-redirect_to" in errors(page.send({"images-1-redirect_to": str(foreign.pk)}))
    deleted = {"images-0-is_default": None, "images-0-DELETE": "on", "images-1-redirect_to": str(first.pk)}
    assert "images-1-redirect_to" in errors(page.send(deleted))
    assert errors(page.send({"images-0-is_default": None, "images-0-redirect_to": str(second.pk)})) == {}
    assert Image.objects.get(pk=first.pk).successor() == second


def test_what_a_session_uses_is_not_deleted_and_the_admin_sees_where(admin: Client, preset: Preset, session: Session) -> None:
    html = admin.post(reverse(f"admin:{MODEL}_delete", args=[preset.pk]), {"post": "yes"}).content.decode()
    assert "session “forecast” in Research" in html
    bulk = {"action": "delete_selected", "_selected_action": [str(preset.pk)], "post": "yes"}
    assert "session “forecast” in Research" in admin.post(reverse(f"admin:{MODEL}_changelist"), bulk).content.decode()
    found = errors(Page(admin, MODEL, preset).send({"images-0-DELETE": "on", "images-1-is_default": "on", "pod_sizes-0-DELETE": "on"}))
    assert len(found[""]) >= 2
    assert any("forecast" in message for message in found[""])
    assert Preset.objects.filter(pk=preset.pk).exists()
    assert preset.images.count() == preset.pod_sizes.count() == 2


def test_only_ten_of_many_users_are_named(admin: Client, preset: Preset, session: Session) -> None:
    for number in range(12):
        session.pk, session.host, session.name = None, "", f"copy-{number}"
        session.save(force_insert=True)
    html = admin.get(reverse(f"admin:{MODEL}_delete", args=[preset.pk])).content.decode()
    assert html.count("session “") == 10
    assert "and 3 more sessions" in html


def test_what_nothing_uses_is_deleted(admin: Client, preset: Preset) -> None:
    admin.post(reverse(f"admin:{MODEL}_delete", args=[preset.pk]), {"post": "yes"})
    assert not Preset.objects.exists()


def test_the_ide_of_a_used_preset_is_fixed(admin: Client, preset: Preset, session: Session) -> None:
    assert "ide" not in Page(admin, MODEL, preset).fields


def test_gpu_sizes_that_no_pool_serves_are_a_warning_not_an_error(admin: Client, preset: Preset, pool: Any) -> None:
    response = Page(admin, MODEL, preset).send({"pod_sizes-1-gpus": "1"})
    assert errors(response) == {}
    assert any("“Large”" in message for message in said(response))
    pool.gpu_resource = "nvidia.com/gpu"
    pool.save()
    assert not any("“Large”" in message for message in said(Page(admin, MODEL, preset).send()))


def test_history_tells_who_changed_what(admin: Client, preset: Preset) -> None:
    Page(admin, MODEL, preset).send({"name": "Jupyter", "images-1-name": "Science"})
    html = admin.get(reverse(f"admin:{MODEL}_history", args=[preset.pk])).content.decode()
    assert "curator" in html
    assert "Science" in html
    assert "style=" not in html
    version = preset.history.first()
    url = reverse(f"admin:{MODEL}_simple_history", args=[preset.pk, version.pk])
    assert admin.get(url).status_code == 200
    assert admin.post(url, {"name": "Back"}).status_code == 403


def test_order_is_kept_as_dragged(admin: Client, preset: Preset) -> None:
    Page(admin, MODEL, preset).send({"images-0-position": "2", "images-1-position": "1"})
    assert list(preset.images.values_list("slug", flat=True)) == ["scipy", "minimal"]
    other = Preset.objects.create(slug="other", name="Other", ide="rstudio", position=5)
    url = reverse("admin:presets_preset_sortable_update")
    admin.post(url, {"updatedItems": [[other.pk, 1], [preset.pk, 2]]}, content_type="application/json")
    assert list(Preset.objects.values_list("slug", flat=True)) == ["other", "jupyterlab"]


@pytest.mark.parametrize("model", ["presets_preset", "presets_configuration", "presets_image", "presets_podsize"])
def test_lists_cost_the_same_however_long_they_are(
    admin: Client, preset: Preset, session: Session, django_assert_max_num_queries: Any, model: str
) -> None:
    for number in range(30):
        row = Preset.objects.create(slug=f"p-{number}", name=f"P {number}", ide="rstudio")
        Image.objects.create(preset=row, slug="i", name="I", reference="local:i")
        PodSize.objects.create(preset=row, slug="s", name="S", cpu="1", memory="1Gi")
        Configuration.objects.create(slug=f"c-{number}", name=f"C {number}")
    with django_assert_max_num_queries(12):
        assert admin.get(reverse(f"admin:{model}_changelist")).status_code == 200


def test_a_change_page_costs_the_same_however_many_images_it_has(
    admin: Client, preset: Preset, session: Session, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        Image.objects.create(preset=preset, slug=f"i-{number}", name="I", reference="local:i")
        PodSize.objects.create(preset=preset, slug=f"s-{number}", name="S", cpu="1", memory="1Gi")
    PresetVolume.objects.create(preset=preset, volume="sales", mount_path="/data")
    with django_assert_max_num_queries(16):
        assert admin.get(reverse(f"admin:{MODEL}_change", args=[preset.pk])).status_code == 200


def test_someone_quicker_is_a_sentence_not_a_crash(admin: Client, preset: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database refuses what the form let through, because another admin saved in between."""
    from compute.admin_base import CatalogFormSet

    monkeypatch.setattr(CatalogFormSet, "unique_in_page", ())
    monkeypatch.setattr("presets.admin_forms.EntryFormSet.unique_in_page", ())
    response = Page(admin, MODEL, preset).send({"images-1-slug": "minimal"})
    assert any("someone else" in message for message in said(response))
    assert list(preset.images.values_list("slug", flat=True)) == ["minimal", "scipy"]
