"""What a WorkspaceKind says of how its sessions run, beside options and variables: idle pause, readiness probe, pictures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from presets import pictures
from presets.exchange import rules
from presets.exchange.drafts import Note, Values
from presets.exchange.parts import note
from presets.exchange.reading import Document, Node, root
from presets.ides import Ide
from presets.models import Preset

NO_PROBE: Values = {"probe_path": "", "probe_period": None, "probe_timeout": None, "probe_failures": None, "probe_delay": None}
TIMES = {
    "periodSeconds": "probe_period",
    "timeoutSeconds": "probe_timeout",
    "failureThreshold": "probe_failures",
    "initialDelaySeconds": "probe_delay",
}
ROLES = ("icon", "logo")
Fetch = Callable[[str], bytes]


def unfit(name: str, value: Any) -> str:
    """What the preset's field has against the value; empty when it takes it."""
    try:
        Preset._meta.get_field(name).clean(value, None)  # type: ignore[union-attr]
    except ValidationError as error:
        return " ".join(error.messages)
    return ""


# Idle pause


def idle_pause(activity_rules: Node, ide: Ide | None, notes: list[Note]) -> int | None:
    """After how many seconds without activity its sessions are paused: what the rule says that is for all of them."""
    settled, found = False, None
    for rule in activity_rules.items():
        if settled:
            note(notes, rule, "The rule before it is for every session.")
        elif rule.get("match").mapping():
            note(notes, rule, rules.BY_LABELS)
        elif rule.get("effect", "pauseWorkspace"):
            settled = True
            if rule.get("effect", "pauseWorkspace").flag():
                found = _seconds(rule.get("config"), ide, notes)
    return found


def _seconds(config: Node, ide: Ide | None, notes: list[Note]) -> int | None:
    since = config.get("secondsSinceActive")
    seconds = since.number()
    if ide and ide.activity is None:
        note(notes, since, f"{ide.label} does not tell when it was used last, so its sessions are not paused for being idle.")
        return None
    if why := unfit("idle_pause_seconds", seconds):
        note(notes, since, why)
        return None
    if config.get("minRunningSeconds").number() > seconds:
        note(
            notes,
            config.get("minRunningSeconds"),
            "A start counts as activity, and a session is paused that long after it at the earliest.",
        )
    return seconds


# Readiness probe


def readiness(probe: Node, ports: set[int], notes: list[Note]) -> Values:
    """The preset's fields. ``ports`` are the images' own."""
    asks = probe.get("httpGet")
    if not asks:
        if probe.mapping():
            note(notes, probe, "Slipway asks over HTTP whether the IDE answers, and in no other way.")
        return dict(NO_PROBE)
    path = asks.get("path").text() or "/"
    if why := unfit("probe_path", path):
        note(notes, asks.get("path"), why)
        return dict(NO_PROBE)
    _oddities(probe, asks, ports, notes)
    found: Values = {**NO_PROBE, "probe_path": path}
    for key, name in TIMES.items():
        number = probe.get(key).number()
        if number and (why := unfit(name, number)):  # to Kubernetes, 0 is what it does without being told
            note(notes, probe.get(key), why)
        elif number:
            found[name] = number
    return found


def _oddities(probe: Node, asks: Node, ports: set[int], notes: list[Note]) -> None:
    """What Slipway's question never has."""
    for key in ("host", "httpHeaders"):
        if asks.get(key):
            note(notes, asks.get(key), "Slipway asks the pod itself, with no headers of its own.")
    if asks.get("scheme").text("HTTP").upper() != "HTTP":
        note(notes, asks.get("scheme"), "IDEs serve plain HTTP; the gateway has the certificate.")
    if isinstance(asks.get("port").value, int) and asks.get("port").value not in ports:
        note(notes, asks.get("port"), "Slipway asks at the port that the IDE serves.")
    if probe.get("successThreshold").number(1) > 1:
        note(notes, probe.get("successThreshold"), "One answer is enough.")
    if probe.get("terminationGracePeriodSeconds"):
        note(notes, probe.get("terminationGracePeriodSeconds"), rules.PROBES)


# Pictures


class Shelf:
    """Where pictures come from: the ConfigMaps among the files, and which of them a document has named; and ``fetch``, if given."""

    def __init__(self, fetch: Fetch | None = None) -> None:
        self.fetch = fetch
        self._maps: dict[tuple[str, str], Node] = {}
        self._named: set[tuple[str, str]] = set()

    def put(self, document: Document) -> None:
        metadata = root(document).get("metadata")
        self._maps[metadata.get("namespace").text(), metadata.get("name").text()] = root(document)

    def unused(self) -> list[Document]:
        return [node.document for key, node in self._maps.items() if key not in self._named]

    def content(self, namespace: str, name: str, key: str) -> bytes | None:
        """What the map has under the key; None when it is not here. A map without a namespace may be in any."""
        found = next((where for where in ((namespace, name), ("", name)) if where in self._maps), None)
        if not namespace:
            found = next((where for where in self._maps if where[1] == name), None)
        if found is None:
            return None
        self._named.add(found)
        text, binary = (self._maps[found].get(part).mapping().get(key) for part in ("data", "binaryData"))
        if isinstance(text, str):
            return text.encode()
        try:
            return base64.b64decode(binary, validate=True) if isinstance(binary, str) else None
        except ValueError:
            return None


def pictures_of(spawner: Node, shelf: Shelf, notes: list[Note]) -> dict[str, pictures.Picture]:
    """The icon and the logo, as far as the files hold them, or the shelf fetches them."""
    found: dict[str, pictures.Picture] = {}
    for role in ROLES:
        node = spawner.get(role)
        try:
            picture = _picture(node, shelf, notes)
        except ValidationError as error:
            note(notes, node, " ".join(error.messages))
        else:
            if picture is not None:
                found[role] = picture
    return found


def _picture(node: Node, shelf: Shelf, notes: list[Note]) -> pictures.Picture | None:
    url, source = node.get("url").text(), node.get("configMap")
    if url.startswith("data:"):
        return pictures.from_data_url(url)
    if source:
        content = shelf.content(*(source.get(key).text() for key in ("namespace", "name", "key")))
        if content is not None:
            return pictures.picture_of(content)
        note(notes, source, rules.NO_MAP, source.get("name").text())
    elif url and not is_own(node.value):
        if shelf.fetch is not None:
            return pictures.picture_of(shelf.fetch(url))
        note(notes, node.get("url"), rules.PICTURE)
    return None


def is_own(value: Any) -> bool:
    """Whether it is the picture that an export writes for a preset without one."""
    return isinstance(value, Mapping) and f"{settings.STATIC_URL}img/ides/" in str(value.get("url"))


def is_findable(value: Any) -> bool:
    """Whether Kubeflow could show it: of a ConfigMap, alpha.3 said neither the namespace nor the media type."""
    source = value.get("configMap") if isinstance(value, Mapping) else None
    return not isinstance(source, Mapping) or {"name", "key", "namespace", "mediaType"} <= set(source)
