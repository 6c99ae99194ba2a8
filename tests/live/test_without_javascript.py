"""Everything on the main path works by plain forms and links: the same Chromium, with scripts switched off."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from compute.models import Workspace
from presets.models import Image, PodSize, Preset
from sessions.models import Session
from storage.models import Volume
from tests.live.pages import START_SECONDS, Wizard


@pytest.fixture
def other_preset(stack: Any) -> Iterator[Preset]:
    preset = Preset.objects.create(slug="plain", name="Plain", ide="jupyterlab", position=99)
    Image.objects.create(preset=preset, slug="only", name="Only", reference="local:jupyterlab", is_default=True)
    PodSize.objects.create(preset=preset, slug="only", name="Only", cpu="1", memory="1Gi", is_default=True)
    yield preset
    preset.delete()


def reload_until(page: Page, phase: str) -> None:
    """Without scripts a page does not live: the user reloads it."""
    deadline = time.monotonic() + START_SECONDS
    while page.locator("#session-badge").inner_text() != phase:
        assert time.monotonic() < deadline, f"The session is not {phase}."
        time.sleep(0.3)
        page.reload()


def test_the_main_path_works_without_javascript(page_as: Callable[..., Any], workspace: Workspace, other_preset: Preset) -> None:
    Volume.objects.create(workspace=workspace, name="sales", kind="data", size="1Gi", access_mode="ReadWriteMany")
    page = page_as("member", java_script_enabled=False)
    page.goto(f"/w/{workspace.name}/sessions/")
    page.get_by_role("link", name="New session").first.click()
    wizard = Wizard(page, workspace)

    # Another preset, and back: its images and its name come with a button.
    wizard.choose("preset", "plain")
    page.get_by_role("button", name="Show the images of this preset").click()
    expect(page.get_by_role("radio", name="Only")).to_be_checked()
    expect(page.locator("#id_name")).to_have_value("plain-1")
    wizard.choose("preset", "jupyterlab")
    wizard.next()  # whoever goes on at once sees the new preset's images first
    wizard.expect_step("preset")
    expect(page.get_by_role("radio", name="Minimal (local)")).to_be_checked()
    wizard.next()
    wizard.expect_step("compute")

    # The price of another size shows at a button, and errors where they are.
    expect(wizard.price).to_have_text("$0.05/hr")
    wizard.choose("pod_size", "medium")
    page.get_by_role("button", name="Update").click()
    expect(wizard.price).to_have_text("$0.12/hr")
    wizard.choose("pod_size", "small")
    wizard.next()
    wizard.expect_step("storage")
    row = wizard.add_volume("sales", "/etc")
    wizard.launch_button.click()
    wizard.error_at(f"id_data_volumes-{row}-mount_path", "/etc is reserved by the system")
    page.fill(f"#id_data_volumes-{row}-mount_path", "/data/sales")
    variable = wizard.add_variable("MODE", "plain")
    empty = wizard.add_variable("")
    page.locator(f"#row-{empty}").get_by_role("button", name="Remove").click()
    expect(page.locator(f"#row-{empty}")).to_have_count(0)
    expect(page.locator(f"#id_env-{variable}-name")).to_have_value("MODE")
    wizard.launch()

    session = Session.objects.get(workspace=workspace)
    assert session.env == {"MODE": "plain"}
    assert {mount.mount_path for mount in session.mounts.all()} == {"/home/jovyan", "/data/sales"}
    reload_until(page, "Running")
    expect(page.get_by_role("button", name="Open", exact=True)).to_be_visible()
    page.get_by_role("link", name="Show the log").click()
    expect(page.get_by_role("region", name=re.compile("Log of"))).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Pause").click()
    reload_until(page, "Paused")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete session").click()
    expect(page).to_have_url(re.compile(r"/sessions/$"))
    deadline = time.monotonic() + 30
    while page.get_by_role("link", name=session.name).count():
        assert time.monotonic() < deadline, "The session is still in the list."
        time.sleep(0.3)
        page.reload()
    page.get_by_role("link", name="Volumes").first.click()
    expect(page.get_by_role("row", name=f"home-{session.name}")).to_be_visible()
