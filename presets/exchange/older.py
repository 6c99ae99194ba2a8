"""WorkspaceKinds as alpha.3 has them, made into beta.0's, which is what Slipway reads and writes."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]
SHORTEST_INACTIVITY = 16  # seconds, in beta.0
PATH_PREFIX = re.compile(r"\{\{-?\s{0,9}\.PathPrefix(?=[\s}])")


def modern(content: Json) -> Json:
    """A copy in the shape of beta.0, without keys whose value is null. What is in that shape already stays as it is.

    What has another type than it should is left for the parser to find.
    """
    top: Json = without_nulls(content)
    spec = top.get("spec")
    template = spec.get("podTemplate") if isinstance(spec, dict) else None
    if isinstance(spec, dict) and isinstance(template, dict):
        _culling(spec, template)
        _account(template)
        _ports(template)
        _prefixes(template)
    return top


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _culling(spec: Json, template: Json) -> None:
    """``podTemplate.culling`` → ``activityProbe`` and one rule for all."""
    culling = template.pop("culling", None)
    if not isinstance(culling, dict):
        return
    seconds = culling.get("maxInactiveSeconds", 86400)
    if culling.get("enabled", True) is True and type(seconds) is int:
        rule = {"config": {"secondsSinceActive": max(seconds, SHORTEST_INACTIVITY)}, "effect": {"pauseWorkspace": True}}
        spec.setdefault("activityRules", [rule])
    probe = culling.get("activityProbe")
    if isinstance(probe, dict) and isinstance(probe.get("jupyter"), dict):
        port = probe["jupyter"].get("portId") or next(iter(_image_ports(template)), "")
        if port and probe["jupyter"].get("lastActivity") is True:
            template.setdefault("activityProbe", {"jupyter": {"lastActivity": True, "portId": port}})
    elif isinstance(probe, dict) and isinstance(probe.get("exec"), dict) and isinstance(probe["exec"].get("script"), str):
        known = {key: value for key, value in probe["exec"].items() if key in ("script", "timeoutSeconds")}
        template.setdefault("activityProbe", {"podExec": known})


def _account(template: Json) -> None:
    """beta.0 makes an account for each workspace; a name can't be said any more."""
    account = template.get("serviceAccount")
    if isinstance(account, dict):
        account.pop("name", None)
        if not account:
            del template["serviceAccount"]


def _image_ports(template: Json) -> dict[str, Json]:
    """The ports of all images, by id."""
    found: dict[str, Json] = {}
    try:
        for value in template["options"]["imageConfig"]["values"]:
            for port in value["spec"]["ports"]:
                found.setdefault(str(port["id"]), port)
    except (KeyError, TypeError, AttributeError):
        return found
    return found


def _ports(template: Json) -> None:
    """Protocol and proxy belonged to the images and the template; now a list of ports has them."""
    proxy = template.pop("httpProxy", None)
    ports = _image_ports(template)
    if "ports" not in template and ports:
        plain = {key: value for key, value in proxy.items() if _is_proxy(key, value)} if isinstance(proxy, dict) else {}
        template["ports"] = [
            {"id": id_, "protocol": "HTTP", "defaultDisplayName": str(port.get("displayName") or id_).ljust(2)}
            | ({"httpProxy": plain} if plain else {})
            for id_, port in ports.items()
        ]
    try:
        for value in template["options"]["imageConfig"]["values"]:
            for port in value["spec"]["ports"]:
                port.pop("protocol", None)
    except (KeyError, TypeError, AttributeError):
        return


def _prefixes(template: Json) -> None:
    """``{{ .PathPrefix }}`` is now a function of the port."""
    ports, env = template.get("ports"), template.get("extraEnv")
    first = ports[0].get("id") if isinstance(ports, list) and ports and isinstance(ports[0], dict) else None
    for variable in env if isinstance(env, list) else ():
        if isinstance(variable, dict) and isinstance(variable.get("value"), str) and isinstance(first, str):
            variable["value"] = PATH_PREFIX.sub(lambda found: f'{found[0][:-11]}httpPathPrefix "{first}"', variable["value"])


def _is_proxy(key: str, value: Any) -> bool:
    return (key == "removePathPrefix" and isinstance(value, bool)) or (key == "requestHeaders" and isinstance(value, dict))
