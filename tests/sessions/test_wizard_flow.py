"""The way through the wizard, as a browser without JavaScript goes it."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from compute.models import Workspace
from presets.models import Image, PodSize, Preset
from sessions.models import Draft, Session
from tests.conftest import Cast
from tests.sessions.wizard_browser import Browser

NEW = "/w/research/sessions/new/"


@pytest.fixture
def browser(cast: Cast, preset: Preset) -> Browser:
    return Browser(cast.client("owner")).get(NEW)


@pytest.fixture
def vscode(db: None) -> Preset:
    """A second preset: its default image is called like none of JupyterLab's, its large size like JupyterLab's."""
    preset = Preset.objects.create(slug="vscode", name="VS Code", ide="code-server", position=2, home_size="7Gi")
    Image.objects.create(preset=preset, slug="code", name="Code", reference="local:code", is_default=True)
    Image.objects.create(preset=preset, slug="scipy", name="SciPy for Code", reference="local:code-scipy", position=2)
    PodSize.objects.create(preset=preset, slug="medium", name="Medium", cpu="1", memory="4Gi", is_default=True)
    PodSize.objects.create(preset=preset, slug="large", name="Large", cpu="4", memory="16Gi", position=2)
    return preset


def test_the_first_step_comes_with_the_presets_defaults(browser: Browser) -> None:
    assert browser.values["name"] == ["jupyterlab-1"]
    assert browser.values["preset"] == ["jupyterlab"]
    assert browser.values["image"] == ["minimal"]


def test_three_steps_with_their_defaults_launch_a_session(browser: Browser, workspace: Workspace, cast: Cast) -> None:
    browser.press("next")
    assert browser.url.endswith("/compute/")
    assert browser.values["pod_size"] == ["small"]
    browser.press("next")
    assert browser.url.endswith("/storage/")
    browser.press("launch")
    session = Session.objects.get()
    assert browser.url == session.get_absolute_url()
    assert (session.name, session.owner, session.workspace) == ("jupyterlab-1", cast.owner, workspace)
    assert session.image.slug == "minimal"
    assert session.pod_size.slug == "small"


def test_what_was_chosen_is_what_is_launched(browser: Browser, vscode: Preset) -> None:
    browser.get(NEW).press("save", preset="vscode").press("next", name="editor", image="scipy")
    browser.press("next", pod_size="large", compute_pool="standard").press("add:env")
    row = browser.row("env")
    browser.press("launch", home_size="9Gi", **{f"env__{row}__name": "STAGE", f"env__{row}__value": "test"})
    session = Session.objects.get()
    assert (session.name, session.image.slug, session.pod_size.slug) == ("editor", "scipy", "large")
    assert session.compute_pool is not None
    assert session.env == {"STAGE": "test"}
    assert session.mounts.get(is_home=True).volume.size == "9Gi"


def test_a_link_chooses_the_preset(browser: Browser, vscode: Preset) -> None:
    browser.get(f"{NEW}?preset=vscode")
    assert browser.values["preset"] == ["vscode"]
    assert browser.values["image"] == ["code"]


def test_a_link_to_a_preset_that_is_not_offered_says_so_at_the_field(browser: Browser) -> None:
    browser.get(f"{NEW}?preset=gone")
    assert "The preset “gone” is no longer offered here. Choose another one." in browser.text
    assert browser.values["preset"] == ["gone"]


def test_a_get_writes_and_launches_nothing(browser: Browser, cast: Cast) -> None:
    assert not Draft.objects.exists()
    browser.press("next").press("next")
    before = Draft.objects.values_list("updated_at", flat=True).get()
    for url in (browser.url, f"{browser.url}?intent=launch"):
        browser.get(url)
    assert Draft.objects.values_list("updated_at", flat=True).get() == before
    assert not Session.objects.exists()


def test_back_keeps_what_was_typed_even_if_it_is_wrong(browser: Browser) -> None:
    browser.press("next", name="analysis").press("next").press("back", home_size="lots")
    assert browser.url.endswith("/compute/")
    browser.press("back", pod_size="large")
    assert browser.values["name"] == ["analysis"]
    browser.press("next")
    assert browser.values["pod_size"] == ["large"]
    browser.press("next")
    assert browser.values["home_size"] == ["lots"]
    assert "This is not a quantity" in browser.text


def test_a_step_with_a_problem_is_not_left_by_next_and_says_what_is_wrong(browser: Browser) -> None:
    browser.press("next", name="Not A Name")
    assert browser.url.endswith("/preset/")
    assert "One thing to mend before you go on" in browser.text
    assert 'id="id_name"' in browser.html
    assert 'aria-invalid="true"' in browser.html
    assert 'data-focus="id_name"' in browser.html
    assert browser.values["name"] == ["Not A Name"]


def test_the_stepper_leads_to_reached_steps_and_saves_on_the_way(browser: Browser) -> None:
    assert not [intent for intent in browser.forms.buttons if intent.startswith("goto")]
    browser.press("next").press("next").press("goto:preset", home_size="6Gi")
    assert browser.url.endswith("/preset/")
    browser.press("goto:storage")
    assert browser.values["home_size"] == ["6Gi"]


def test_an_address_of_a_step_that_was_not_reached_leads_to_the_furthest_one(browser: Browser) -> None:
    browser.press("next")
    browser.get(browser.url.replace("/compute/", "/storage/"))
    assert browser.url.endswith("/compute/")
    assert browser.client.get(browser.url.replace("/compute/", "/nonsense/")).status_code == 404


def test_a_launch_with_a_wrong_earlier_step_leads_there(browser: Browser, preset: Preset) -> None:
    browser.press("next").press("next")
    preset.images.filter(slug="minimal").update(hidden=True, is_default=False)
    browser.press("launch")
    assert browser.url.endswith("/preset/")
    assert "The image “minimal” is no longer offered by JupyterLab. Choose another one." in browser.text
    assert not Session.objects.exists()
    browser.press("next", image="scipy").press("next").press("launch")
    assert Session.objects.get().image.slug == "scipy"


def test_enter_on_the_last_step_checks_and_does_not_launch(browser: Browser) -> None:
    browser.press("next").press("next")
    assert browser.forms.buttons[0] == "check"
    browser.press("check")
    assert browser.url.endswith("/storage/")
    assert not Session.objects.exists()


def test_enter_goes_on_and_not_back(browser: Browser) -> None:
    assert browser.forms.buttons[0] == "next"
    assert browser.press("next").forms.buttons[0] == "next"


def test_two_submits_launch_one_session(browser: Browser) -> None:
    browser.press("next").press("next")
    action, data = browser.forms.action, browser.data("launch")
    first, second = browser.client.post(action, data), browser.client.post(action, data)
    assert first.url == second.url == Session.objects.get().get_absolute_url()


def test_a_launched_draft_leads_to_its_session(browser: Browser) -> None:
    browser.press("next").press("next")
    step = browser.url
    browser.press("launch")
    session = Session.objects.get()
    assert browser.get(step).url == session.get_absolute_url()
    Draft.objects.update(session=None)
    browser.get(step)
    assert browser.url == "/w/research/sessions/"
    assert f"This draft was launched as {session.host}, which has been deleted since." in browser.text


def test_two_tabs_are_two_drafts(cast: Cast, browser: Browser) -> None:
    other = Browser(browser.client).get(NEW)
    browser.press("next", name="one")
    other.press("next", name="two", image="scipy")
    browser.press("next").press("launch")
    other.press("next").press("launch")
    assert set(Session.objects.values_list("name", "image__slug")) == {("one", "minimal"), ("two", "scipy")}


def test_a_suggested_name_that_another_tab_took_is_suggested_anew(browser: Browser) -> None:
    other = Browser(browser.client).get(NEW)
    browser.press("next").press("next").press("launch")
    other.press("next").press("next").press("launch")
    assert set(Session.objects.values_list("name", flat=True)) == {"jupyterlab-1", "jupyterlab-2"}


def test_a_typed_name_that_is_taken_is_kept_and_refused(browser: Browser) -> None:
    other = Browser(browser.client).get(NEW)
    browser.press("next", name="mine").press("next").press("launch")
    other.press("next", name="mine")
    assert other.values["name"] == ["mine"]
    assert "Research has a session named “mine” already. Choose another name." in other.text


def test_another_preset_shows_its_images_before_going_on(browser: Browser, vscode: Preset) -> None:
    browser.get(NEW).press("next", preset="vscode")
    assert browser.url.endswith("/preset/")
    assert browser.values["image"] == ["code"]
    assert browser.values["name"] == ["vscode-1"]
    assert "these are its images" in browser.text
    assert browser.press("next").url.endswith("/compute/")


def test_another_preset_keeps_what_was_touched_and_fits(browser: Browser, vscode: Preset) -> None:
    browser.get(NEW).press("next", name="mine", image="scipy").press("next", pod_size="large").press("goto:preset", home_size="11Gi")
    browser.press("save", preset="vscode")
    assert browser.values["name"] == ["mine"]
    assert browser.values["image"] == ["scipy"]
    assert browser.press("next").values["pod_size"] == ["large"]
    assert browser.press("next").values["home_size"] == ["11Gi"]


def test_another_preset_brings_its_defaults_where_nothing_was_touched(browser: Browser, vscode: Preset) -> None:
    browser.get(NEW).press("next").press("next").press("goto:preset").press("save", preset="vscode")
    assert browser.press("next").values["pod_size"] == ["medium"]
    assert browser.press("next").values["home_size"] == ["7Gi"]


def test_a_touched_choice_that_the_new_preset_has_not_becomes_its_default(browser: Browser, vscode: Preset) -> None:
    browser.get(f"{NEW}?preset=vscode").press("next", image="scipy").press("goto:preset").press("save", preset="jupyterlab", image="code")
    assert browser.values["image"] == ["minimal"]


def test_a_viewer_reads_who_may_launch(cast: Cast, preset: Preset) -> None:
    answer = cast.client("viewer").get(NEW)
    assert answer.status_code == 403
    assert "Members and admins of Research can launch sessions." in answer.content.decode()
    assert cast.client("viewer").post(f"{NEW}{uuid.uuid4()}/preset/", {"intent": "next"}).status_code == 403
    assert not Draft.objects.exists()


@pytest.mark.parametrize("who", ["colleague", "admin", "outsider"])
def test_nobody_elses_draft_exists(cast: Cast, browser: Browser, who: str) -> None:
    browser.press("next", name="mine")
    client = cast.client(who)
    assert client.get(browser.url).status_code == 404
    assert client.post(browser.url, {"intent": "launch"}).status_code == 404
    client.post(browser.url, {"intent": "discard"})
    assert Draft.objects.count() == 1


def test_a_draft_exists_in_its_own_workspace_only(cast: Cast, browser: Browser) -> None:
    from compute.models import Membership, Role

    other = Workspace.objects.get(name="other")
    Membership.objects.create(workspace=other, user=cast.owner, role=Role.MEMBER)
    browser.press("next")
    assert browser.client.get(browser.url.replace("/research/", "/other/")).status_code == 404


def test_an_unlaunched_draft_is_offered_again_and_can_be_discarded(browser: Browser) -> None:
    browser.press("next", name="half-done")
    draft = browser.url
    browser.get(NEW)
    assert "Continue where you left off? “half-done”" in browser.text
    browser.client.post(draft, {"intent": "discard"})
    assert "Continue where you left off?" not in browser.get(NEW).text
    assert not Draft.objects.exists()


def test_without_a_preset_there_is_nothing_to_launch(cast: Cast) -> None:
    assert "Nothing to launch here yet" in Browser(cast.client("owner")).get(NEW).text


def test_without_the_csrf_token_nothing_is_kept(cast: Cast, preset: Preset) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.owner)
    assert client.post(f"{NEW}{uuid.uuid4()}/preset/", {"intent": "next", "name": "x"}).status_code == 403
    assert not Draft.objects.exists()


@pytest.mark.parametrize(("step", "most"), [("preset", 20), ("compute", 24), ("storage", 24)])
def test_a_steps_queries_do_not_grow_with_the_catalog(
    browser: Browser, preset: Preset, step: str, most: int, django_assert_max_num_queries: Any
) -> None:
    browser.press("next").press("next")
    url = browser.url.replace("/storage/", f"/{step}/")

    def count() -> int:
        with django_assert_max_num_queries(most) as queries:
            assert browser.client.get(url).status_code == 200
        return len(queries)

    few = count()
    for number in range(20):
        other = Preset.objects.create(slug=f"p{number}", name=f"P {number}", ide="rstudio")
        for owner in (preset, other):
            Image.objects.create(preset=owner, slug=f"i{number}", name=f"I {number}", reference=f"local:i{number}")
            PodSize.objects.create(preset=owner, slug=f"s{number}", name=f"S {number}", cpu="1", memory="1Gi")
    assert count() == few
