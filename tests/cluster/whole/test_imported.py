"""A WorkspaceKind of Kubeflow's own, imported, launches a real session: with its image, port and probe, and paused when idle."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import yaml
from playwright.sync_api import expect

from presets.exchange import Options, Source, apply
from presets.models import Preset
from sessions.models import Session
from tests.cluster.lab import JUPYTER, START, Lab
from tests.live.pages import Wizard, phase, sign_in, stay_on_this_page
from tests.live.test_main_path import open_in_a_new_tab, run_a_cell
from tests.presets.exchange import kubeflow_file
from tests.presets.test_exchange_running import SVG

SLUG, PORT = "kubeflow-jupyterlab", 9001
IDLE_SECONDS = 8
SMALL = "Small CPU"  # of Kubeflow's sample; its default has 128Mi, which is its limit here


def with_our_image(text: str) -> str:
    """The sample with the one image that the cluster has."""
    document = yaml.safe_load(text)
    for value in document["spec"]["podTemplate"]["options"]["imageConfig"]["values"]:
        value["spec"] |= {"image": JUPYTER, "ports": [{"id": "jupyterlab", "port": PORT}]}
    template = document["spec"]["podTemplate"]
    template["options"]["podConfig"]["spawner"]["default"] = "small_cpu"
    template["options"]["podConfig"]["values"][1]["spec"]["resources"]["requests"] = {"cpu": "100m", "memory": "1Gi"}
    template["extraEnv"].append({"name": "BASE_PATH", "value": '{{ httpPathPrefix "jupyterlab" }}files'})
    template["probes"] = {"readinessProbe": {"httpGet": {"path": "/api?of=kubeflow", "port": PORT}, "periodSeconds": 2}}
    document["spec"]["spawner"]["icon"] = {"url": f"data:image/svg+xml;base64,{b64encode(SVG).decode()}"}
    return yaml.safe_dump(document)


def test_an_imported_workspacekind_launches_a_real_session(page_as: Callable[..., Any], lab: Lab) -> None:
    text = with_our_image(kubeflow_file("jupyterlab-workspacekind.yaml").read_text())
    plan = apply(None, [Source("jupyterlab.yaml", text)], Options(prefix="kubeflow-"))
    assert plan.items[0].changes
    try:
        page = page_as()
        page.goto(f"/w/{lab.workspace.name}/sessions/")
        sign_in(page, "member")
        page.get_by_role("link", name="New session").first.click()
        wizard = Wizard(page, lab.workspace)
        wizard.start(SLUG)
        subject = lab.follow_host(wizard.to("storage").launch())
        stay_on_this_page(page)
        phase(page, "Running", START)
        container = subject.pod["spec"]["containers"][0]
        assert container["image"] == JUPYTER
        assert container["readinessProbe"]["httpGet"] == {"path": "/api?of=kubeflow", "port": PORT, "scheme": "HTTP"}
        assert Session.objects.get(pk=subject.session.pk).endpoint.endswith(f":{PORT}")
        expect(page.locator("h1 img")).to_be_visible()
        assert container["resources"]["requests"] == {"cpu": "100m", "memory": "1Gi"}
        assert subject.session.pod_size.name == SMALL
        assert Session.objects.get(pk=subject.session.pk).snapshot["env"]["BASE_PATH"] == "/files"
        tab, _ = open_in_a_new_tab(page)
        run_a_cell(tab, "print(6 * 7)", "42")
        tab.close()
        assert Preset.objects.get(slug=SLUG).idle_pause_seconds == 86400
        Preset.objects.filter(slug=SLUG).update(idle_pause_seconds=IDLE_SECONDS)
        phase(page, "Paused", START)
        page.reload()
        expect(page.locator("#activity")).to_contain_text("Slipway paused it")
        page.get_by_role("link", name="Delete").click()
        page.get_by_role("button", name="Delete session").click()
        expect(page).to_have_url(re.compile(f"/w/{lab.workspace.name}/sessions/$"))
    finally:
        Preset.objects.filter(slug=SLUG).update(hidden=True)
