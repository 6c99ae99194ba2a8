"""An idle JupyterLab is paused; one whose kernel computes is not, though nobody looks at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.contrib.auth import get_user_model
from playwright.sync_api import expect

from compute.models import Workspace
from presets.models import Image, PodSize, Preset
from sessions import services
from sessions.models import Activity, Phase, Session
from sessions.spec import HomeInput, SpecInput
from tests.laboratory import wait_until
from tests.live.pages import START_SECONDS, phase
from tests.live.test_main_path import open_in_a_new_tab, run_a_cell

LIMIT, BUSY = 8, 20  # seconds


def test_an_idle_jupyterlab_is_paused_and_a_busy_one_is_not(page_as: Callable[..., Any], workspace: Workspace) -> None:
    preset = Preset.objects.create(slug=f"idle-{workspace.name}", name="Pauses soon", ide="jupyterlab")
    preset.workspaces.add(workspace)
    Image.objects.create(preset=preset, slug="minimal", name="Minimal", reference="local:jupyterlab", is_default=True)
    PodSize.objects.create(preset=preset, slug="small", name="Small", cpu="500m", memory="1Gi", is_default=True)
    member = get_user_model().objects.get(username="member")
    spec = SpecInput(name="nap", preset=preset.slug, image="minimal", pod_size="small", home=HomeInput(create_size="1Gi"))
    session = services.launch(member, workspace, spec)

    page = page_as("member")
    page.goto(session.get_absolute_url())
    phase(page, "Running", START_SECONDS)
    tab, _ = open_in_a_new_tab(page)
    run_a_cell(tab, "open('kept.txt', 'w').write('kept')", "4")
    tab.locator(".jp-Notebook .jp-CodeCell .cm-content").nth(1).press_sequentially(f"import time; time.sleep({BUSY})")
    tab.keyboard.press("Shift+Enter")
    expect(tab.get_by_text("Python 3 (ipykernel) | Busy")).to_be_visible(timeout=60_000)
    Preset.objects.filter(pk=preset.pk).update(idle_pause_seconds=LIMIT)
    tab.close()  # one that is in view asks the server every few seconds, which is activity
    closed = time.monotonic()
    wait_until(lambda: time.monotonic() > closed + BUSY * 2 / 3, BUSY, "the kernel computes for longer than the limit")
    row = Session.objects.get(pk=session.pk)
    assert row.phase == Phase.RUNNING and row.last_activity is not None and row.activity_problem == ""

    wait_until(lambda: Session.objects.get(pk=session.pk).phase == Phase.PAUSED, 60, "the idle session is paused")
    told = Activity.objects.get(host=session.host, verb="pause")
    assert told.actor is None and "without activity" in told.message
    phase(page, "Paused", 30)
    page.reload()
    expect(page.locator("#activity")).to_contain_text("Slipway paused it")
    services.delete(member, session)
