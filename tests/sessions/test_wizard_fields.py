"""The wizard's fields: what they offer, what they say, and what becomes of them when the catalog changes."""

from __future__ import annotations

import pytest

from compute.models import ComputePool, SlurmCluster, Workspace
from presets.models import Configuration, ConfigurationVariable, Image, Preset, PresetVolume
from sessions.models import Draft, Session
from storage.models import Secret, Volume
from tests.conftest import Cast
from tests.sessions.wizard_browser import Browser

NEW = "/w/research/sessions/new/"


@pytest.fixture
def browser(cast: Cast, preset: Preset) -> Browser:
    return Browser(cast.client("owner")).get(NEW)


def storage_step(browser: Browser) -> Browser:
    return browser.get(NEW).press("next").press("next")


def add_variable(browser: Browser, name: str, value: str = "v") -> dict[str, str | list[str]]:
    """Add a row, and what to type into it."""
    row = browser.press("add:env").row("env", -1)
    return {f"env__{row}__name": name, f"env__{row}__value": value}


def test_every_field_has_its_label(browser: Browser, workspace: Workspace, preset: Preset) -> None:
    Configuration.objects.create(slug="git", name="Git")
    SlurmCluster.objects.create(name="hpc", display_name="HPC", controllers="slurm:6817", enabled=True).workspaces.add(workspace)
    for label in ("Session name", "Preset", "Image"):
        assert label in browser.text
    browser.press("next")
    for label in ("Pod size", "Compute pool", "Workspace's default (Standard)", "Slurm cluster"):
        assert label in browser.text
    browser.press("next")
    for label in ("Home volume", "Data volumes", "Configurations", "Environment variables"):
        assert label in browser.text


def test_slurm_is_only_mentioned_where_an_enabled_cluster_serves_the_workspace(browser: Browser, workspace: Workspace) -> None:
    slurm = SlurmCluster.objects.create(name="hpc", display_name="HPC", controllers="slurm:6817", enabled=False)
    slurm.workspaces.add(workspace)
    assert "Slurm" not in browser.press("next").text
    SlurmCluster.objects.update(enabled=True)
    assert browser.get(browser.url).forms.selects["slurm_cluster"] == ["", "hpc"]


def test_an_image_that_was_hidden_meanwhile_stays_chosen_with_an_error(browser: Browser) -> None:
    browser.press("next", image="scipy").press("back")
    Image.objects.filter(slug="scipy").update(hidden=True)
    browser.get(browser.url)
    assert browser.values["image"] == ["scipy"]
    assert "The image “scipy” is no longer offered by JupyterLab. Choose another one." in browser.text


def test_an_image_that_redirects_meanwhile_shows_its_successor(browser: Browser) -> None:
    browser.press("next", image="scipy")
    Image.objects.filter(slug="scipy").update(redirect_to=Image.objects.get(slug="minimal"))
    browser.press("back")
    assert "Replaced by Minimal" in browser.text
    browser.press("next").press("next").press("launch")
    assert Session.objects.get().image.slug == "minimal"


def test_a_deprecated_image_carries_its_message(browser: Browser) -> None:
    Image.objects.filter(slug="scipy").update(deprecated=True, deprecation_message="Use Minimal instead.")
    browser.get(NEW)
    assert "Deprecated" in browser.text
    assert "Use Minimal instead." in browser.text


def test_a_preset_that_was_withdrawn_meanwhile_costs_no_answers(browser: Browser, preset: Preset) -> None:
    browser.press("next", name="kept").press("next")
    Preset.objects.update(hidden=True)
    browser.press("launch", home_size="8Gi")
    assert browser.url.endswith("/preset/")
    assert "The preset “jupyterlab” is no longer offered here. Choose another one." in browser.text
    assert browser.values["name"] == ["kept"]
    Preset.objects.update(hidden=False)
    assert browser.press("next").press("next").values["home_size"] == ["8Gi"]


def test_a_preset_that_was_deleted_meanwhile_leads_to_the_first_step(browser: Browser, preset: Preset) -> None:
    browser.press("next").press("next")
    step = browser.url
    Preset.objects.all().delete()
    assert browser.htmx("save", home_size="8Gi").status_code == 200
    assert browser.get(step).url.endswith("/preset/")
    assert Draft.objects.get().data["storage"]["home_size"] == "8Gi"


def test_a_pod_size_and_a_pool_that_went_stay_chosen_with_an_error(browser: Browser, preset: Preset, workspace: Workspace) -> None:
    ComputePool.objects.create(cluster=workspace.cluster, name="fast", display_name="Fast")
    browser.press("next").press("next", pod_size="large", compute_pool="fast").press("back")
    preset.pod_sizes.filter(slug="large").delete()
    ComputePool.objects.filter(name="fast").update(enabled=False)
    browser.get(browser.url)
    assert (browser.values["pod_size"], browser.values["compute_pool"]) == (["large"], ["fast"])
    assert "The pod size “large” is no longer offered by JupyterLab. Choose another one." in browser.text
    assert "Research may not use this compute pool. It may use: Standard." in browser.text


def test_a_volume_that_went_to_the_trash_stays_chosen_with_an_error(browser: Browser, shared_data: Volume, cast: Cast) -> None:
    storage_step(browser).press("add:data_volumes")
    row = browser.row("data_volumes")
    browser.press("save", **{f"volume__{row}__volume": "sales"})
    shared_data.trash(cast.admin)
    shared_data.save()
    browser.get(browser.url)
    assert browser.values[f"volume.{row}.volume"] == ["sales"]
    assert "There is no data volume “sales” (any more). Choose another one." in browser.text


def test_the_presets_volumes_are_there_at_the_start(browser: Browser, preset: Preset, shared_data: Volume) -> None:
    PresetVolume.objects.create(preset=preset, volume="sales", mount_path="/data/shared", read_only=True)
    storage_step(browser)
    row = browser.row("data_volumes")
    assert browser.values[f"volume.{row}.volume"] == ["sales"]
    assert browser.values[f"volume.{row}.mount_path"] == ["/data/shared"]
    assert f"volume.{row}.read_only" in browser.values


def test_a_mount_path_is_filled_in_and_follows_the_volume_until_it_is_typed(browser: Browser, workspace: Workspace) -> None:
    for name in ("sales", "genomes"):
        Volume.objects.create(workspace=workspace, name=name, kind=Volume.Kind.DATA)
    storage_step(browser).press("add:data_volumes")
    row = browser.row("data_volumes")
    volume, path = f"volume__{row}__volume", f"volume__{row}__mount_path"
    browser.press("save", **{volume: "sales"})
    assert browser.values[f"volume.{row}.mount_path"] == ["/data/sales"]
    browser.press("save", **{volume: "genomes"})
    assert browser.values[f"volume.{row}.mount_path"] == ["/data/genomes"]
    browser.press("save", **{path: "/mnt/mine"}).press("save", **{volume: "sales"})
    assert browser.values[f"volume.{row}.mount_path"] == ["/mnt/mine"]


def test_rows_are_added_and_removed_without_losing_the_others(browser: Browser, shared_data: Volume) -> None:
    storage_step(browser)
    first = add_variable(browser, "FIRST")
    browser.press("save", **first)
    second = add_variable(browser, "SECOND")
    browser.press(f"remove:env:{browser.row('env', 0)}", **second)
    names = [value for key, value in browser.values.items() if key.endswith(".name") and key.startswith("env.")]
    assert names == [["SECOND"]]


def test_blank_rows_are_no_obstacle(browser: Browser, shared_data: Volume) -> None:
    storage_step(browser).press("add:env").press("add:data_volumes").press("launch")
    assert Session.objects.get().env == {}


def test_a_problem_stands_at_its_own_row_whatever_is_blank_above(browser: Browser) -> None:
    storage_step(browser).press("add:env")
    wrong = add_variable(browser, "1ST")
    browser.press("check", **wrong)
    row = browser.row("env", 1)
    assert f'href="#id_env-{row}-name"' in browser.html
    assert "“1ST” is not a valid name" in browser.text


def test_a_secret_that_is_managed_already_is_named_before_anything_is_pasted(browser: Browser, workspace: Workspace) -> None:
    Secret.objects.create(bundle=workspace.secrets_bundle, name="GITHUB_TOKEN", value="never-shown")
    storage_step(browser)
    assert "Already there, from the workspace's secrets bundle: GITHUB_TOKEN" in browser.text
    typed = add_variable(browser, "GITHUB_TOKEN")
    live = browser.htmx("save", **typed).content.decode()
    assert "GITHUB_TOKEN is already provided by the workspace&#x27;s secrets bundle." in live
    assert "never-shown" not in live
    browser.press("launch", **typed)
    assert Session.objects.get().env == {"GITHUB_TOKEN": "v"}


def test_a_variable_that_a_configuration_provides_is_warned_of(browser: Browser) -> None:
    configuration = Configuration.objects.create(slug="mirror", name="Package mirror", description="pip from here.", on_by_default=True)
    ConfigurationVariable.objects.create(configuration=configuration, name="PIP_INDEX_URL", value="https://mirror.example.com")
    storage_step(browser)
    assert browser.values["configurations"] == ["mirror"]
    assert "pip from here." in browser.text
    browser.press("save", **add_variable(browser, "PIP_INDEX_URL"))
    assert "already provided by the configuration “Package mirror”" in browser.text
    assert "mirror.example.com" not in browser.html


def test_a_configuration_that_went_stays_on_with_an_error_until_it_is_switched_off(browser: Browser) -> None:
    Configuration.objects.create(slug="git", name="Git")
    storage_step(browser).press("save", configurations=["git"])
    Configuration.objects.update(hidden=True)
    browser.press("launch")
    assert browser.values["configurations"] == ["git"]
    assert "No longer offered: git. Switch it off." in browser.text
    browser.press("launch", configurations=[])
    assert Session.objects.exists()


def test_an_existing_home_volume_can_be_mounted_and_says_when_it_is_in_use(browser: Browser, home: Volume) -> None:
    storage_step(browser).press("launch", home="existing", home_volume="home-owner")
    session = Session.objects.get()
    assert session.mounts.get(is_home=True).volume == home
    storage_step(browser)
    assert f"in use by {session.name}" in browser.text
    browser.press("launch", home="existing", home_volume="home-owner")
    assert f"“home-owner” is in use by the session “{session.name}”" in browser.text
    assert Session.objects.count() == 1


def test_what_is_missing_is_said_only_after_trying_to_go_on(browser: Browser, home: Volume) -> None:
    sentence = "Create a home volume, or choose an existing one."
    storage_step(browser).press("save", home="existing")
    assert sentence not in browser.text
    assert sentence in browser.press("launch").text


def test_a_quota_that_would_be_exceeded_is_shown_before_the_launch(browser: Browser, workspace: Workspace) -> None:
    Workspace.objects.filter(pk=workspace.pk).update(quota_cpu="2")
    browser.press("next").press("next", pod_size="large")
    assert browser.url.endswith("/compute/")
    assert "This would exceed the workspace's quota of CPU" in browser.text
    assert "meter-over" in browser.html


def test_the_summary_follows_every_change(browser: Browser) -> None:
    browser.press("next")
    assert "$0.025" in browser.text
    live = browser.htmx("save", pod_size="large").content.decode()
    assert "$0.24" in live
    assert "4\N{NO-BREAK SPACE}CPU" in live


def test_an_autosave_swaps_messages_and_summary_but_no_control_that_is_being_typed_in(browser: Browser) -> None:
    answer = browser.htmx("save", name="Not A Name")
    live = answer.content.decode()
    assert 'hx-swap-oob="innerHTML:#messages_name"' in live
    assert 'id="id_name"' not in live
    assert answer.headers["HX-Retarget"] == "#wizard-summary"
    assert answer.headers["HX-Replace-Url"] == browser.forms.action
    assert Draft.objects.get().data["preset"]["name"] == "Not A Name"


def test_htmx_goes_on_without_a_page_reload(browser: Browser) -> None:
    answer = browser.htmx("next")
    assert answer.status_code == 200
    assert answer.headers["HX-Push-Url"] == browser.forms.action.replace("/preset/", "/compute/")
    assert "<html" not in answer.content.decode()
    stays = browser.htmx("next", name="Not A Name")
    assert stays.headers["HX-Replace-Url"] == browser.forms.action
    assert "One thing to mend before you go on" in stays.content.decode()


def test_htmx_gets_only_the_row_that_it_added(browser: Browser) -> None:
    storage_step(browser)
    first = add_variable(browser, "FIRST")
    live = browser.htmx("add:env", **first).content.decode()
    assert 'hx-swap-oob="beforeend:#env-rows"' in live
    assert live.count('name="env_row"') == 1
    assert f'id="row-{browser.row("env")}" hx-swap-oob="delete"' in browser.htmx(f"remove:env:{browser.row('env')}").content.decode()


def test_an_htmx_launch_leads_to_the_session(browser: Browser) -> None:
    storage_step(browser)
    answer = browser.htmx("launch")
    assert answer.headers["HX-Redirect"] == Session.objects.get().get_absolute_url()


def test_row_ids_that_are_not_ours_are_dropped(browser: Browser) -> None:
    storage_step(browser)
    browser.send("save", env_row=["<script>", "0123abcd"], env__0123abcd__name="OK")
    assert [row["id"] for row in Draft.objects.get().data["storage"]["env"]] == ["0123abcd"]


def test_a_post_without_fields_changes_no_answer(browser: Browser) -> None:
    Configuration.objects.create(slug="git", name="Git", on_by_default=True)
    storage_step(browser).press("save", home_size="8Gi")
    browser.client.post(browser.forms.action, {"intent": "back"})
    storage = Draft.objects.get().data["storage"]
    assert (storage["home_size"], storage["configurations"]) == ("8Gi", ["git"])
