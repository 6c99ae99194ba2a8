"""Each rule of the wizard as a browser sees it: what it asks, what it keeps, what it refuses, and where it says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from playwright.sync_api import expect

from compute.models import ComputePool, SlurmCluster, Workspace
from presets.models import Configuration, ConfigurationVariable, Image, PodSize, Preset
from sessions.models import Desired, Phase, Session, SessionVolume
from storage.models import Secret, Volume
from tests.live.pages import Watch, Wizard, is_same_page, sign_in, stay_on_this_page

START = Callable[..., Wizard]


@pytest.fixture
def start(page_as: Callable[..., Any], workspace: Workspace) -> START:
    """A member's wizard at its first step."""

    def at_first_step(preset: str = "") -> Wizard:
        return Wizard(page_as("member"), workspace).start(preset)

    return at_first_step


@pytest.fixture
def preset(stack: Any) -> Iterator[Preset]:
    """A preset of this test alone, with two images and two pod sizes; hidden again at the end."""
    made = Preset.objects.create(slug="scratch", name="Scratch", ide="jupyterlab", position=99)
    for position, slug in enumerate(("first", "second")):
        Image.objects.create(
            preset=made, slug=slug, name=slug.capitalize(), reference="local:jupyterlab", position=position, is_default=not position
        )
        PodSize.objects.create(
            preset=made, slug=slug, name=slug.capitalize(), cpu=str(position + 1), memory="1Gi", position=position, is_default=not position
        )
    yield made
    made.delete()


def member() -> Any:
    return get_user_model().objects.get(username="member")


def a_session(workspace: Workspace, name: str, home: Volume | None = None) -> Session:
    """A row of a session that counts as running, without anything that runs: for what the wizard says of others."""
    preset = Preset.objects.get(slug="jupyterlab")
    session = Session.objects.create(
        workspace=workspace,
        owner=member(),
        name=name,
        preset=preset,
        image=preset.images.get(slug="minimal-local"),
        pod_size=preset.pod_sizes.get(slug="small"),
        compute_pool=workspace.default_pool,
        desired=Desired.RUNNING if home else Desired.PAUSED,
        phase=Phase.PENDING if home else Phase.PAUSED,
        applied_generation=1,
        status_generation=1,
    )
    if home is not None:
        SessionVolume.objects.create(session=session, volume=home, mount_path="/home/user", is_home=True)
    return session


def a_volume(workspace: Workspace, name: str, kind: str = "data", access_mode: str = "ReadWriteMany") -> Volume:
    return Volume.objects.create(workspace=workspace, owner=member(), name=name, kind=kind, size="1Gi", access_mode=access_mode)


@contextmanager
def a_configuration(workspace: Workspace, name: str, **variables: str) -> Iterator[Configuration]:
    """A configuration of one workspace that sets these variables; gone afterwards."""
    row = Configuration.objects.create(slug=f"{name}-{workspace.name}", name=name.capitalize())
    row.workspaces.add(workspace)
    for variable, value in variables.items():
        ConfigurationVariable.objects.create(configuration=row, name=variable, value=value)
    yield row
    row.delete()


def labels(wizard: Wizard) -> list[str]:
    """What the step asks for, as written, without "optional"."""
    found = wizard.page.locator(".wizard-step > .field > legend, .wizard-step > .field > label").all_inner_texts()
    return [re.sub(r"\s*optional$", "", text) for text in found]


# What it asks


def test_the_fields_and_defaults_are_those_of_the_catalog(start: START) -> None:
    wizard = start()
    assert labels(wizard) == ["Session name", "Preset", "Image"]
    assert wizard.answers() == {"name": ["jupyterlab-1"], "preset": ["jupyterlab"], "image": ["minimal-local"]}
    wizard.to("compute")
    assert labels(wizard) == ["Pod size", "Compute pool"]  # no Slurm cluster serves the workspace
    assert wizard.answers() == {"pod_size": ["small"], "compute_pool": [""]}
    wizard.next()
    wizard.expect_step("storage")
    # Configurations that the catalog offers to everyone are off unless they say otherwise.
    assert labels(wizard) == ["Home volume", "Data volumes", "Configurations", "Environment variables"]
    assert wizard.answers() == {"home": ["create"], "home_size": ["5Gi"]}
    expect(wizard.price).to_have_text("$0.05/hr")


def test_a_slurm_cluster_is_asked_for_only_once_an_enabled_one_serves_the_workspace(start: START, workspace: Workspace) -> None:
    cluster = SlurmCluster.objects.create(name=workspace.name, display_name="Bulldozer", controllers="slurm.example.com:6817")
    wizard = start().to("compute")
    field = wizard.page.get_by_label("Slurm cluster")
    expect(field).to_have_count(0)
    cluster.workspaces.add(workspace)
    wizard.page.reload()
    expect(field).to_have_count(0)  # it serves the workspace, and is not enabled
    cluster.enabled = True
    cluster.save()
    wizard.page.reload()
    assert labels(wizard)[-1] == "Slurm cluster"
    assert field.input_value() == ""
    field.select_option(label="Bulldozer")
    expect(wizard.summary).to_contain_text("Bulldozer")
    cluster.enabled = False
    cluster.save()
    wizard.next()
    wizard.error_at("id_slurm_cluster", "does not serve the workspace (any more)")


def test_the_preset_gallery_leads_to_the_preset_and_its_wizard(page_as: Callable[..., Any], workspace: Workspace, preset: Preset) -> None:
    page = page_as("member")
    page.goto(f"/w/{workspace.name}/presets/")
    page.get_by_role("link", name="Scratch").click()
    page.get_by_role("link", name="Launch session").click()
    wizard = Wizard(page, workspace)
    assert page.url.endswith("?preset=scratch")
    assert wizard.answers() == {"name": ["scratch-1"], "preset": ["scratch"], "image": ["first"]}


def test_a_deep_link_to_a_preset_that_is_not_offered_says_so_and_offers_the_others(start: START) -> None:
    wizard = start("rstudio")
    wizard.error_at("id_preset", "This machine can run no image of RStudio. Choose another preset.")
    wizard.next()
    expect(wizard.page.locator(".wizard-error-list")).to_contain_text("RStudio")
    wizard.choose("preset", "jupyterlab")
    expect(wizard.page.get_by_role("radio", name="Minimal (local)")).to_be_checked()
    wizard.next()
    wizard.expect_step("compute")


# What is live


def test_summary_price_and_messages_follow_while_typing_and_the_focus_stays(start: START, workspace: Workspace) -> None:
    a_session(workspace, "forecast")
    wizard = start()
    page = wizard.page
    stay_on_this_page(page)
    page.locator("#id_name").fill("")
    page.locator("#id_name").press_sequentially("forecast", delay=60)  # longer than the autosave waits between two
    wizard.error_at("id_name", "a session named “forecast” already")
    page.locator("#id_name").press_sequentially("-2", delay=60)
    wizard.no_message_at("id_name")
    expect(wizard.summary).to_contain_text("forecast-2")
    expect(page.locator("#id_name")).to_be_focused()
    expect(page.locator("#id_name")).to_have_value("forecast-2")
    assert page.evaluate("() => document.getElementById('id_name').selectionStart") == len("forecast-2")
    wizard.to("compute")
    expect(wizard.price).to_have_text("$0.05/hr")
    wizard.choose("pod_size", "medium")
    expect(wizard.price).to_have_text("$0.12/hr")
    wizard.choose("compute_pool", "spot")
    expect(wizard.price).not_to_have_text("$0.12/hr")
    expect(wizard.summary).to_contain_text("Spot")
    assert is_same_page(page)


def test_another_preset_brings_its_images_without_a_page_load(start: START, preset: Preset) -> None:
    wizard = start("jupyterlab")
    stay_on_this_page(wizard.page)
    wizard.choose("preset", "scratch")
    expect(wizard.page.get_by_role("radio", name="First")).to_be_checked()
    expect(wizard.page.locator("#id_name")).to_have_value("scratch-1")
    expect(wizard.summary).to_contain_text("Scratch")
    assert is_same_page(wizard.page)


def test_enter_in_a_field_goes_on_and_never_launches(start: START, workspace: Workspace) -> None:
    wizard = start()
    wizard.page.locator("#id_name").press("Enter")
    wizard.expect_step("compute")
    wizard.next()
    wizard.expect_step("storage")
    wizard.page.locator("#id_home-size").fill("2Gi")
    wizard.page.locator("#id_home-size").press("Enter")
    expect(wizard.summary).to_contain_text("2 GiB")
    wizard.expect_step("storage")
    assert not Session.objects.filter(workspace=workspace).exists()


# What it keeps


def test_back_forward_and_reload_keep_what_was_typed(start: START) -> None:
    wizard = start()
    page = wizard.page
    page.locator("#id_name").fill("kept-name")
    wizard.to("compute")
    wizard.choose("pod_size", "medium")
    wizard.next()
    wizard.expect_step("storage")
    row = wizard.add_variable("MY_VARIABLE", "my value")
    expect(wizard.summary).to_contain_text("MY_VARIABLE")
    page.reload()
    wizard.expect_step("storage")
    assert wizard.answers()["home_size"] == ["5Gi"]
    expect(page.locator(f"#id_env-{row}-name")).to_have_value("MY_VARIABLE")
    assert "my value" not in page.content()  # a value never comes back, but it is kept
    expect(page.locator(f"#id_env-{row}-value")).to_have_attribute("placeholder", re.compile("Kept"))
    page.go_back()
    wizard.expect_step("compute")
    expect(page.locator("#id_pod_size-medium")).to_be_checked()
    page.go_back()
    wizard.expect_step("preset")
    expect(page.locator("#id_name")).to_have_value("kept-name")
    page.go_forward()
    wizard.expect_step("compute")
    expect(page.locator("#id_pod_size-medium")).to_be_checked()
    page.go_forward()
    wizard.expect_step("storage")
    expect(page.locator(f"#id_env-{row}-name")).to_have_value("MY_VARIABLE")
    wizard.back()
    wizard.expect_step("compute")
    page.get_by_role("button", name=re.compile("Preset")).click()
    wizard.expect_step("preset")
    expect(page.locator("#id_name")).to_have_value("kept-name")


def test_what_was_typed_just_before_leaving_the_page_is_kept(start: START) -> None:
    wizard = start()
    wizard.page.locator("#id_name").fill("in-a-hurry")
    wizard.page.goto(f"/w/{wizard.workspace.name}/sessions/")
    wizard.page.get_by_role("link", name="New session").first.click()
    expect(wizard.page.locator(".wizard-recent")).to_contain_text("in-a-hurry")
    wizard.page.get_by_role("link", name="Continue").click()
    wizard.expect_step("preset")
    expect(wizard.page.locator("#id_name")).to_have_value("in-a-hurry")


@pytest.mark.parametrize("step", ["preset", "storage"])
def test_an_expired_sign_in_loses_nothing_and_launches_nothing(page_as: Callable[..., Any], workspace: Workspace, step: str) -> None:
    page = page_as()
    wizard = Wizard(page, workspace).start()
    sign_in(page, "member")
    page.locator("#id_name").fill("before-it-expired")
    wizard.to(step)
    expect(wizard.summary).to_contain_text("before-it-expired")
    page.context.clear_cookies(name=settings.SESSION_COOKIE_NAME)
    if step == "preset":
        page.locator("#id_name").fill("after-it-expired")
        wizard.next()
    else:
        page.locator("#id_home-size").fill("7Gi")
        wizard.launch_button.click()
    page.wait_for_url(re.compile("/sign-in/"))
    sign_in(page, "member")
    wizard.expect_step(step)
    assert wizard.answers().get("name", wizard.answers().get("home_size")) == ["after-it-expired" if step == "preset" else "7Gi"]
    expect(page.locator("#messages")).to_contain_text("Everything you typed is still here")
    assert not Session.objects.filter(workspace=workspace).exists()


# What it refuses, at the field


def test_a_name_that_is_taken_or_impossible_is_refused_at_the_field(start: START, workspace: Workspace) -> None:
    a_session(workspace, "forecast")
    wizard = start()
    wizard.page.locator("#id_name").fill("forecast")
    wizard.error_at("id_name", "Choose another name")
    wizard.next()
    expect(wizard.page.locator(".wizard-error-list")).to_contain_text("forecast")
    expect(wizard.page.locator("#id_name")).to_be_focused()
    wizard.page.locator("#id_name").fill("Über uns")
    wizard.error_at("id_name", "Use lower-case letters, digits and hyphens")
    wizard.page.locator("#id_name").fill("")
    wizard.next()
    wizard.error_at("id_name", "Give the session a name")
    wizard.expect_step("preset")


def test_an_image_that_is_hidden_meanwhile_is_refused_at_the_field(start: START, preset: Preset) -> None:
    wizard = start("scratch")
    wizard.choose("image", "second")
    expect(wizard.summary).to_contain_text("Second")
    preset.images.filter(slug="second").update(hidden=True)
    wizard.next()
    wizard.error_at("id_image", "“second” is no longer offered by Scratch")
    expect(wizard.page.get_by_role("radio", name="Second")).to_be_checked()  # nothing is chosen behind the user's back
    wizard.choose("image", "first")
    wizard.no_message_at("id_image")
    wizard.next()
    wizard.expect_step("compute")


def test_a_pod_size_or_preset_that_is_hidden_meanwhile_is_refused_before_the_launch(start: START, preset: Preset) -> None:
    wizard = start("scratch").to("compute")
    wizard.choose("pod_size", "second")
    wizard.next()
    wizard.expect_step("storage")
    preset.pod_sizes.filter(slug="second").update(hidden=True)
    wizard.launch_button.click()
    wizard.expect_step("compute")
    wizard.error_at("id_pod_size", "“second” is no longer offered by Scratch")
    preset.hidden = True
    preset.save()
    wizard.choose("pod_size", "first")
    wizard.page.get_by_role("button", name=re.compile("^1 Preset|Preset")).first.click()
    wizard.expect_step("preset")
    wizard.error_at("id_preset", "“scratch” is no longer offered here")


def test_a_pool_that_another_workspace_got_meanwhile_is_refused_at_the_field(start: START, workspace: Workspace) -> None:
    pool = ComputePool.objects.create(cluster=workspace.cluster, name=workspace.name, display_name="Borrowed")
    wizard = start().to("compute")
    wizard.choose("compute_pool", pool.name)
    expect(wizard.summary).to_contain_text("Borrowed")
    pool.workspaces.add(Workspace.objects.get(name="sandbox"))
    wizard.next()
    wizard.error_at("id_compute_pool", "may not use this compute pool. It may use: Spot, Standard")
    wizard.choose("compute_pool", "")
    wizard.next()
    wizard.expect_step("storage")
    pool.delete()


def test_a_home_claim_in_use_is_refused_at_the_field_and_names_the_session(start: START, workspace: Workspace) -> None:
    home = a_volume(workspace, "home-mine", "home", "ReadWriteOnce")
    a_volume(workspace, "home-free", "home", "ReadWriteOnce")
    holder = a_session(workspace, "holder", home)
    wizard = start().to("storage")
    wizard.choose("home", "existing")
    wizard.page.get_by_label("Your home volumes").select_option("home-mine")
    wizard.error_at("id_home-volume", "“home-mine” is in use by the session “holder”")
    wizard.launch_button.click()
    expect(wizard.page.locator(".wizard-error-list")).to_contain_text("Pause that session")
    expect(wizard.page.locator("#id_home-volume")).to_be_focused()
    wizard.page.get_by_label("Your home volumes").select_option("home-free")
    wizard.no_message_at("id_home-volume")
    expect(wizard.summary).to_contain_text("home-free")
    holder.delete()


def test_a_home_size_that_is_no_quantity_is_refused_at_the_field(start: START) -> None:
    wizard = start().to("storage")
    wizard.page.locator("#id_home-size").fill("a lot")
    expect(wizard.at("id_home-size").locator(".field-error")).to_be_visible()
    wizard.launch_button.click()
    expect(wizard.page.locator("#id_home-size")).to_be_focused()
    expect(wizard.page.locator("#id_home-size")).to_have_value("a lot")


def test_data_volumes_are_refused_when_doubled_or_where_the_path_is_taken_or_reserved(start: START, workspace: Workspace) -> None:
    a_volume(workspace, "sales")
    a_volume(workspace, "orders")
    wizard = start().to("storage")
    one = wizard.add_volume("sales")
    path = wizard.page.locator(f"#id_data_volumes-{one}-mount_path")
    expect(path).to_have_value("/data/sales")  # proposed
    two = wizard.add_volume("sales", "/data/again")
    wizard.error_at(f"id_data_volumes-{two}-volume", "“sales” is mounted twice")
    wizard.page.select_option(f"#id_data_volumes-{two}-volume", "orders")
    wizard.page.fill(f"#id_data_volumes-{two}-mount_path", "/data/sales")
    wizard.error_at(f"id_data_volumes-{two}-mount_path", "/data/sales is already the place of “sales”")
    wizard.page.fill(f"#id_data_volumes-{two}-mount_path", "/etc")
    wizard.error_at(f"id_data_volumes-{two}-mount_path", "/etc is reserved by the system")
    wizard.page.fill(f"#id_data_volumes-{two}-mount_path", "data")
    wizard.error_at(f"id_data_volumes-{two}-mount_path", "Start the path with a slash")
    wizard.launch_button.click()
    expect(wizard.page.locator(f"#id_data_volumes-{two}-mount_path")).to_be_focused()
    wizard.page.locator(f"#row-{two}").get_by_role("button", name="Remove the data volume").click()
    expect(wizard.page.locator(f"#row-{two}")).to_have_count(0)
    expect(wizard.summary).to_contain_text("/data/sales")
    expect(wizard.summary).not_to_contain_text("orders")


def test_variables_are_refused_when_invalid_reserved_or_doubled(start: START) -> None:
    wizard = start().to("storage")
    row = wizard.add_variable("NOT-A-NAME")
    control = f"id_env-{row}-name"
    expect(wizard.at(control).locator(".field-error")).to_be_visible()
    wizard.page.fill(f"#{control}", "HOME")
    wizard.error_at(control, "“HOME” is reserved: Slipway sets it")
    wizard.page.fill(f"#{control}", "SLIPWAY_ANYTHING")
    wizard.error_at(control, "is reserved")
    wizard.page.fill(f"#{control}", "MINE")
    wizard.no_message_at(control)
    other = wizard.add_variable("MINE")
    wizard.error_at(f"id_env-{other}-name", "MINE is set twice")


def test_a_variable_that_the_bundle_or_a_configuration_provides_is_warned_of_while_typing(start: START, workspace: Workspace) -> None:
    Secret.objects.create(bundle=workspace.secrets_bundle, name="WAREHOUSE_PASSWORD", value="s3cret")
    with a_configuration(workspace, "tracking", TRACKING_URI="http://tracking.example.com") as configuration:
        wizard = start().to("storage")
        page = wizard.page
        expect(page.locator("#id_env")).to_contain_text("WAREHOUSE_PASSWORD")  # named beforehand
        row = wizard.add_variable("")
        stay_on_this_page(page)
        page.locator(f"#id_env-{row}-name").press_sequentially("WAREHOUSE_PASSWORD", delay=20)
        wizard.warning_at(f"id_env-{row}-name", "already provided by the workspace's secrets bundle")
        expect(page.locator(f"#id_env-{row}-name")).to_be_focused()
        page.fill(f"#id_env-{row}-name", "TRACKING_URI")
        wizard.no_message_at(f"id_env-{row}-name")
        wizard.choose("configurations", configuration.slug)
        wizard.warning_at(f"id_env-{row}-name", f"already provided by the configuration “{configuration.name}”")
        page.locator(f"#id_env-{row}-name").press("Enter")  # a warning keeps nobody from going on
        expect(page.locator(".wizard-error-list")).to_have_count(0)
        assert is_same_page(page)


def test_configurations_that_clash_are_refused_at_the_field(start: START, workspace: Workspace) -> None:
    with a_configuration(workspace, "blue", COLOUR="blue") as blue, a_configuration(workspace, "green", COLOUR="green") as green:
        wizard = start().to("storage")
        wizard.choose("configurations", blue.slug)
        wizard.choose("configurations", green.slug)
        wizard.error_at("id_configurations", "set COLOUR differently. Switch one of them off.")
        wizard.launch_button.click()
        wizard.expect_step("storage")
        expect(wizard.page.locator(".wizard-error-list")).to_contain_text("COLOUR")
        wizard.choose("configurations", green.slug)
        wizard.no_message_at("id_configurations")


def test_a_quota_that_would_be_exceeded_is_shown_before_the_launch(start: START, workspace: Workspace) -> None:
    workspace.quota_cpu, workspace.quota_storage = "2", "6Gi"
    workspace.save()
    wizard = start().to("compute")
    cpu = wizard.summary.locator(".quota-line", has_text="CPU")
    expect(cpu).to_contain_text("1 of 2 cores")
    wizard.choose("pod_size", "large")
    expect(cpu).to_contain_text("8 of 2 cores")
    expect(cpu).to_contain_text("Over the limit")
    expect(wizard.at("id_pod_size").locator(".field-error")).to_contain_text("CPU")
    wizard.next()
    expect(wizard.page.locator(".wizard-error-list")).to_contain_text("CPU")
    wizard.expect_step("compute")
    wizard.choose("pod_size", "small")
    wizard.no_message_at("id_pod_size")
    wizard.next()
    wizard.page.locator("#id_home-size").fill("60Gi")
    expect(wizard.at("id_home-size").locator(".field-error")).to_be_visible()
    expect(wizard.summary.locator(".quota-line", has_text="Storage")).to_contain_text("Over the limit")
    wizard.launch_button.click()
    wizard.expect_step("storage")
    assert not Session.objects.filter(workspace=workspace).exists()


def test_viewers_are_told_why_they_cannot_launch(page_as: Callable[..., Any], workspace: Workspace, watch: Watch) -> None:
    watch.allow("answer 403")
    page = page_as("viewer")
    page.goto(f"/w/{workspace.name}/sessions/")
    expect(page.get_by_role("link", name="New session")).to_have_count(0)
    page.goto(f"/w/{workspace.name}/sessions/new/")
    expect(page.get_by_text("can launch sessions")).to_be_visible()
