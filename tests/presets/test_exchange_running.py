"""What a WorkspaceKind says of how its sessions run: idle pause, readiness probe, ports, pictures. In, out, and in again."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command

from compute.errors import Refused
from presets.exchange import rules
from presets.exchange.fetching import fetch
from presets.models import Image, Preset
from presets.pictures import Picture, picture_of
from tests.presets.exchange import bring, changes, image, kind, look, lost, schema_errors, source, written

pytestmark = pytest.mark.django_db
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path d="M0 0h8v8z"/></svg>'
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"
MINE = {"icon": {"configMap": {"name": "logos", "namespace": "kubeflow", "key": "lab.svg", "mediaType": "image/svg+xml"}}}


def rule(seconds: int = 7200, pause: bool = True, match: Any = None, **config: int) -> dict[str, Any]:
    found: dict[str, Any] = {"config": {"secondsSinceActive": seconds, **config}, "effect": {"pauseWorkspace": pause}}
    return found if match is None else {**found, "match": match}


def pausing(*rules_: dict[str, Any], name: str = "lab") -> dict[str, Any]:
    document = kind(name)
    document["spec"]["activityRules"] = list(rules_)
    return document


def pictured(**spawner: Any) -> dict[str, Any]:
    document = kind()
    document["spec"]["spawner"] |= spawner
    return document


def logos(data: dict[str, str], namespace: str = "kubeflow", key: str = "data") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "logos", "namespace": namespace}, key: data}


def assert_stays_the_same() -> list[dict[str, Any]]:
    """What is exported fits Kubeflow's schema, and nothing changes when it comes in again."""
    documents = written()
    assert [error for document in documents for error in schema_errors(document)] == []
    assert not look(*documents).is_change
    return documents


# Idle pause

DEVELOPMENT = {"matchNamespace": {"selector": {"matchLabels": {"tier": "development"}}}}


@pytest.mark.parametrize(
    ("given", "seconds", "named"),
    [
        ([rule(7200)], 7200, []),
        ([rule(7200, match={})], 7200, []),
        ([rule(60, match=DEVELOPMENT), rule(86400)], 86400, ["[0]"]),
        ([rule(60, match=DEVELOPMENT)], None, ["[0]"]),
        ([rule(7200, pause=False), rule(60)], None, ["[1]"]),
        ([rule(300, minRunningSeconds=300)], 300, []),
        ([rule(300, minRunningSeconds=900)], 300, ["[0].config.minRunningSeconds"]),
        ([rule(3)], None, ["[0].config.secondsSinceActive"]),
        ([], None, []),
    ],
)
def test_the_rule_for_every_session_says_when_idle_ones_are_paused(given: Any, seconds: int | None, named: list[str]) -> None:
    plan = bring(pausing(*given))
    assert Preset.objects.get().idle_pause_seconds == seconds
    assert [path for path in lost(plan) if "activityRules" in path] == [f"spec.activityRules{path}" for path in named]


def test_an_idle_pause_goes_out_as_it_came_and_as_it_was_changed() -> None:
    bring(pausing(rule(60, match=DEVELOPMENT), rule(86400, minRunningSeconds=10)))
    came = assert_stays_the_same()[0]
    assert came["spec"]["activityRules"][1] == rule(86400, minRunningSeconds=10)
    Preset.objects.update(idle_pause_seconds=3600)
    document = written()[0]
    assert document["spec"]["activityRules"] == [rule(60, match=DEVELOPMENT), rule(3600)]
    assert document["spec"]["podTemplate"]["activityProbe"] == {"jupyter": {"lastActivity": True, "portId": "jupyterlab"}}
    bring(document)
    assert_stays_the_same()
    Preset.objects.update(idle_pause_seconds=None)
    assert written()[0]["spec"]["activityRules"] == [rule(60, match=DEVELOPMENT)]


def test_an_ide_that_does_not_tell_its_use_is_not_paused_and_the_preview_says_so() -> None:
    plan = bring(pausing(rule(), name="rstudio"))
    assert Preset.objects.get().ide == "rstudio" and Preset.objects.get().idle_pause_seconds is None
    assert "RStudio does not tell" in lost(plan)["spec.activityRules[0].config.secondsSinceActive"]


def test_a_script_that_looks_for_activity_is_named() -> None:
    assert lost(look(kind(activityProbe={"podExec": {"script": "exit 0"}})))["spec.podTemplate.activityProbe.podExec"] == rules.SCRIPT


# Readiness probe


def test_a_readiness_probe_is_carried_both_ways() -> None:
    asks = {"httpGet": {"path": "/api/status?ready", "port": 8888}, "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 4}
    plan = bring(kind(probes={"readinessProbe": {**asks, "initialDelaySeconds": 5}}))
    assert not any("probes" in path for path in lost(plan))
    preset = Preset.objects.get()
    probe = preset.probe
    assert (probe.path, probe.period, probe.timeout, probe.failures, probe.delay) == ("/api/status?ready", 10, 3, 4, 5)
    assert probe.statuses == ()
    assert_stays_the_same()
    Preset.objects.update(probe_path="/api", probe_delay=None)
    document = written()[0]
    assert document["spec"]["podTemplate"]["probes"]["readinessProbe"] == {**asks, "httpGet": {"path": "/api", "port": 8888}}
    bring(document)
    assert_stays_the_same()
    Preset.objects.update(probe_path="", probe_period=None, probe_timeout=None, probe_failures=None)
    assert "probes" not in written()[0]["spec"]["podTemplate"]


def test_what_no_readiness_probe_of_slipway_has_is_named() -> None:
    asks = {"path": "/", "port": 9999, "scheme": "HTTPS", "host": "x", "httpHeaders": [{"name": "A", "value": "b"}]}
    probe = {"httpGet": asks, "successThreshold": 2, "periodSeconds": 100000}
    plan = look(kind(probes={"readinessProbe": probe, "livenessProbe": {"tcpSocket": {"port": 1}}, "startupProbe": {}}))
    at = "spec.podTemplate.probes"
    below = ("httpGet.port", "httpGet.scheme", "httpGet.host", "httpGet.httpHeaders", "successThreshold", "periodSeconds")
    expected = {f"{at}.livenessProbe", *(f"{at}.readinessProbe.{path}" for path in below)}
    assert {path for path in lost(plan) if "probes" in path} == expected
    unasked = look(kind(probes={"readinessProbe": {"exec": {"command": ["true"]}}}))
    assert f"{at}.readinessProbe" in lost(unasked)


# Ports


def test_the_first_port_of_an_image_is_carried_and_the_usual_one_need_not_be_said() -> None:
    ports = [{"id": "jupyterlab", "port": 9999}, {"id": "tensorboard", "port": 6006}]
    document = kind(images=[image("odd", spec={"image": "x.io/jupyter:1", "ports": ports}), image("usual")])
    plan = bring(document)
    assert dict(Image.objects.values_list("slug", "port")) == {"odd": 9999, "usual": None}
    assert "spec.podTemplate.options.imageConfig.values[odd].spec.ports[tensorboard]" in lost(plan)
    assert_stays_the_same()
    Image.objects.filter(slug="usual").update(port=8000)
    values = written()[0]["spec"]["podTemplate"]["options"]["imageConfig"]["values"]
    assert [value["spec"]["ports"] for value in values] == [ports, [{"id": "jupyterlab", "port": 8000}]]


# Pictures


@pytest.mark.parametrize("content", [SVG, PNG])
def test_a_picture_in_a_data_url_is_carried_both_ways(content: bytes) -> None:
    media = "image/png" if content == PNG else "image/svg+xml"
    bring(pictured(logo={"url": f"data:{media};base64,{b64encode(content).decode()}"}))
    preset = Preset.objects.get()
    assert preset.icon is None and preset.logo is not None and bytes(preset.logo.content) == content
    document = assert_stays_the_same()[0]
    assert document["spec"]["spawner"]["logo"]["url"].startswith(f"data:{media};base64,")
    assert document["spec"]["spawner"]["icon"] == {"url": "https://example.com/icon.svg"}


def test_a_picture_in_a_config_map_among_the_files_is_carried() -> None:
    plan = bring(logos({"lab.svg": SVG.decode()}), pictured(**MINE))
    assert ("preset", "Lab", "Icon", "", f"a picture (SVG, {len(SVG)} bytes)") in changes(plan)
    assert not any("icon" in path for path in lost(plan))
    icon = Preset.objects.get().icon
    assert icon is not None and bytes(icon.content) == SVG
    assert_stays_the_same()
    assert not look(logos({"lab.svg": b64encode(SVG).decode()}, key="binaryData"), pictured(**MINE)).is_change


def test_a_picture_that_is_not_in_the_files_is_named_and_leaves_the_presets_own() -> None:
    Picture.objects.bulk_create([picture_of(SVG)])
    bring(pictured())
    Preset.objects.update(icon=picture_of(SVG).digest)
    plan = bring(pictured(**MINE))
    assert lost(plan)["spec.spawner.icon.configMap"] == rules.NO_MAP
    assert lost(plan)["spec.spawner.logo.url"] == rules.PICTURE
    assert Preset.objects.get().icon_id == picture_of(SVG).digest


@pytest.fixture
def site() -> Iterator[str]:
    """A web site with one picture."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/icon.svg" else 404)
            self.end_headers()
            self.wfile.write(SVG)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_pictures_at_web_addresses_are_fetched_by_the_command_that_says_so_and_by_nothing_else(site: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(source(pictured(icon={"url": f"{site}/icon.svg"}, logo={"url": f"{site}/none.svg"})).text)
    call_command("import_kubeflow", str(file), "--apply", stdout=StringIO())
    assert Preset.objects.get().icon is None
    told = StringIO()
    call_command("import_kubeflow", str(file), "--apply", "--fetch-pictures", stdout=told)
    icon = Preset.objects.get().icon
    assert icon is not None and bytes(icon.content) == SVG
    assert "It could not be fetched: the answer was 404." in told.getvalue()
    assert_stays_the_same()
    for url in ("file:///etc/passwd", "http://127.0.0.1:1/icon.svg", "http://[", "ftp://x/y"):
        with pytest.raises(ValidationError):
            fetch(url)


def test_a_config_map_that_no_kind_names_is_refused_not_dropped() -> None:
    with pytest.raises(Refused) as refused:
        look(logos({"lab.svg": "x"}, namespace="elsewhere"), pictured(**MINE))
    assert refused.value.problems[0].field == "catalog.yaml, document 1, kind"


@pytest.mark.parametrize(
    "content",
    [
        b"<html></html>",
        b'<!DOCTYPE svg [<!ENTITY a "a">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>',
        b"GIF89a",
        SVG + b" " * 70_000,
        SVG.decode().encode("utf-16"),
        b"",
    ],
)
def test_what_is_no_small_picture_is_named_and_not_stored(content: bytes) -> None:
    plan = bring(pictured(icon={"url": f"data:image/svg+xml;base64,{b64encode(content).decode()}"}))
    assert "spec.spawner.icon" in lost(plan)
    assert not Picture.objects.exists() and Preset.objects.get().icon is None
