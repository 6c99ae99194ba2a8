"""The manifests fit together, fit the settings, and give away as little as they can."""

from __future__ import annotations

import re
from typing import Any

import pytest

from compute.clusters.kubernetes.guards import network_policy
from compute.workload import Namespace
from tests.deploy.manifests import BASE, KUBERNETES, ROOT, SECRET_KEYS, Object, containers, of_kind, pods, render, render_example

PARTS = {"slipway-web", "slipway-relay", "slipway-worker", "slipway-controller", "slipway-gateway"}


@pytest.fixture(scope="module")
def base() -> list[Object]:
    return render(BASE)


@pytest.fixture(scope="module")
def example() -> list[Object]:
    return render_example()


def matches(selector: dict[str, str], template: Object) -> bool:
    return selector.items() <= template["metadata"]["labels"].items()


def test_every_part_is_there(base: list[Object]) -> None:
    assert set(pods(base)) == {*PARTS, "slipway-migrate"}
    assert of_kind(base, "Deployment")["slipway-controller"]["spec"]["replicas"] == 2
    assert of_kind(base, "Deployment")["slipway-worker"]["spec"]["replicas"] == 1


def test_the_overlay_brings_image_addresses_and_secret(example: list[Object]) -> None:
    images = {container["image"] for template in pods(example).values() for container in containers(template)}
    assert images == {"registry.example.com/slipway:0.1.0"}
    assert set(of_kind(example, "Secret")["slipway"]["data"]) == SECRET_KEYS
    assert of_kind(example, "ConfigMap")["slipway"]["data"]["SLIPWAY_TRUSTED_PROXIES"]
    assert {rule["host"] for rule in of_kind(example, "Ingress")["slipway"]["spec"]["rules"]} == {
        "slipway.example.com",
        "*.apps.slipway.example.com",
    }


def test_every_setting_is_one_that_operators_can_read_about(example: list[Object]) -> None:
    """And each is read somewhere: by the settings, a command or the manifests themselves."""
    documented = (ROOT / "docs" / "operators.md").read_text() + (ROOT / "docs" / "kubernetes.md").read_text()
    settings = (ROOT / "config" / "settings.py").read_text()
    manifests = "".join(path.read_text() for path in BASE.glob("*.yaml"))
    given = {one["name"] for template in pods(example).values() for container in containers(template) for one in container.get("env", [])}
    for name in {*of_kind(example, "ConfigMap")["slipway"]["data"], *SECRET_KEYS, *given}:
        assert f"`{name}`" in documented, name
        assert f'"{name}"' in settings or f"$({name})" in manifests or f"${name}" in manifests, name


def test_what_containers_refer_to_exists(example: list[Object]) -> None:
    known = {"configMapRef": of_kind(example, "ConfigMap"), "secretRef": of_kind(example, "Secret")}
    accounts = of_kind(example, "ServiceAccount")
    for name, template in pods(example).items():
        assert template["spec"]["serviceAccountName"] in accounts, name
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        for container in containers(template):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            for source in container.get("envFrom", []):
                for kind, reference in source.items():
                    assert reference["name"] in known[kind], f"{name}: {reference}"


def test_selectors_find_their_pods_and_no_others(example: list[Object]) -> None:
    templates = pods(example)
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        for name, owner in of_kind(example, kind).items():
            selector = owner["spec"]["selector"]
            found = {pod for pod, template in templates.items() if matches(selector.get("matchLabels", selector), template)}
            assert found == {name}, f"{kind} {name}"


def test_services_and_probes_name_ports_that_containers_have(example: list[Object]) -> None:
    templates = pods(example)
    for name, service in of_kind(example, "Service").items():
        ports = {port["name"] for container in containers(templates[name]) for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for template in templates.values():
        for container in containers(template):
            ports = {port["name"] for port in container.get("ports", [])}
            for probe in ("readinessProbe", "livenessProbe"):
                for check in (container.get(probe) or {}).values():
                    if isinstance(check, dict):
                        assert check["port"] in ports


def test_the_gateway_finds_web_and_relay_where_they_listen(example: list[Object]) -> None:
    templates, services = pods(example), of_kind(example, "Service")
    (configuration,) = [one for one in containers(templates["slipway-gateway"]) if one["name"] == "configuration"]
    for flag, name in (("--web", "slipway-web"), ("--relay", "slipway-relay")):
        (port,) = services[name]["spec"]["ports"]
        assert f"{flag}={name}:{port['port']}" in configuration["command"]
        (container,) = templates[name]["spec"]["containers"]
        (listening,) = container["ports"]
        assert re.search(rf"0\.0\.0\.0:{listening['containerPort']}\b", " ".join(container["command"]))
    (nginx,) = templates["slipway-gateway"]["spec"]["containers"]
    assert f"--listen=0.0.0.0:{nginx['ports'][0]['containerPort']}" in configuration["command"]


def test_the_web_answers_its_own_probe(base: list[Object]) -> None:
    (web,) = pods(base)["slipway-web"]["spec"]["containers"]
    headers = {header["name"]: header["value"] for header in web["readinessProbe"]["httpGet"]["httpHeaders"]}
    assert headers["Host"] in of_kind(base, "ConfigMap")["slipway"]["data"]["SLIPWAY_ALLOWED_HOSTS"].split(",")
    assert headers["X-Forwarded-Proto"] == "https"  # else the answer is a redirect, which a probe takes for success


def test_every_pod_fits_the_restricted_level(base: list[Object]) -> None:
    assert of_kind(base, "Namespace")["slipway"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for template in pods(base).values():
        context = template["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True and context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in template["spec"]["volumes"]:
            assert set(volume) == {"name", "emptyDir"}
        for container in containers(template):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]) and "memory" in container["resources"]["limits"]


def test_parts_with_more_than_one_pod_have_a_budget(base: list[Object]) -> None:
    several = {name for name, owner in of_kind(base, "Deployment").items() if owner["spec"]["replicas"] > 1}
    assert set(of_kind(base, "PodDisruptionBudget")) == several


def test_only_who_asks_the_api_server_has_a_token(base: list[Object]) -> None:
    bound = {subject["name"] for binding in of_kind(base, "ClusterRoleBinding").values() for subject in binding["subjects"]}
    for name, template in pods(base).items():
        has_rights = template["spec"]["serviceAccountName"] in bound
        assert template["spec"]["automountServiceAccountToken"] is has_rights, name
    assert {name for name, one in pods(base).items() if one["spec"]["serviceAccountName"] in bound} == {
        "slipway-web",
        "slipway-worker",
        "slipway-controller",
    }


def test_no_rule_is_a_wildcard_and_no_one_reads_secrets(base: list[Object]) -> None:
    for role in of_kind(base, "ClusterRole").values():
        for rule in role["rules"]:
            assert "*" not in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]]
            if "secrets" in rule["resources"]:
                assert not {"get", "list", "watch"} & set(rule["verbs"])


def test_the_web_can_make_nothing(base: list[Object]) -> None:
    verbs = {verb for rule in of_kind(base, "ClusterRole")["slipway-web"]["rules"] for verb in rule["verbs"]}
    assert not {"create", "patch", "update"} & verbs


def test_the_subjects_follow_the_overlays_namespace(example: list[Object]) -> None:
    for binding in of_kind(example, "ClusterRoleBinding").values():
        assert {subject["namespace"] for subject in binding["subjects"]} == {"slipway"}
        assert binding["roleRef"]["name"] in of_kind(example, "ClusterRole")


def test_every_pod_of_the_namespace_is_closed_unless_opened(base: list[Object]) -> None:
    policies = {name: policy["spec"] for name, policy in of_kind(base, "NetworkPolicy").items()}
    assert policies["slipway-default"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    assert policies["slipway-gateway"]["podSelector"] == {"matchLabels": {"slipway.dev/component": "gateway"}}
    (rule,) = policies["slipway-behind-gateway"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"slipway.dev/component": "gateway"}}}]


def test_whom_workspaces_let_in_are_parts_of_slipway_and_not_the_web(base: list[Object]) -> None:
    """The web asks nobody's IDE: it serves strangers."""
    (rule,) = network_policy(Namespace("team", "team"), "slipway")["spec"]["ingress"]
    ((peer,),) = rule.values()
    (expression,) = peer["podSelector"]["matchExpressions"]
    components = {template["metadata"]["labels"]["slipway.dev/component"] for template in pods(base).values()}
    assert set(expression["values"]) == components - {"web", "controller", "migrate"}


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    return [str(value)]


def test_no_secret_is_in_the_repository(example: list[Object]) -> None:
    assert not list(KUBERNETES.rglob("secret.env"))
    assert not {"SLIPWAY_SECRET_KEY", "DATABASE_URL"} & set(strings(pods(example)))


def test_the_image_runs_as_somebody_else_than_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", dockerfile, re.M) == ["1000:1000"]
    assert len(re.findall(r"^FROM ", dockerfile, re.M)) == 2
    assert "--require-hashes" in dockerfile
    sources = {line.strip("!/\n") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {"compute", "config", "presets", "sessions", "storage", "static", "templates", "manage.py"} <= sources
    assert all((ROOT / name).exists() for name in sources)
