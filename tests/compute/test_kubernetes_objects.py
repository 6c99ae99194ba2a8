"""What a session is on Kubernetes, as whole objects."""

from __future__ import annotations

import copy
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest

from compute.clusters.kubernetes import objects
from compute.clusters.kubernetes.guards import network_policy, resource_quota
from compute.workload import Account, Claim, File, InitScript, Mount, Namespace, Probe, Program, Resources, Supply, Workload

LABELS = {
    "slipway.dev/session": "lab-abc123",
    "slipway.dev/workspace": "team",
    "slipway.dev/owner": "ada-example.com",
    "app.kubernetes.io/managed-by": "slipway",
}
WORKLOAD = Workload(
    name="lab-abc123",
    namespace="team",
    revision=4,
    generation=7,
    image="quay.io/jupyter/base-notebook:1",
    ide="jupyterlab",
    token="t",
    port=8888,
    resources=Resources("500m", "2Gi", 1, "nvidia.com/gpu"),
    owner="ada@example.com",
    env={"PLAIN": "1"},
    secret_env={"TOKEN": "secret"},
    claims=(Claim("home", "1Gi"),),
    mounts=(Mount("home", "/home/user", home=True), Mount("data", "/data", read_only=True)),
    init_scripts=(InitScript("Set up!", "true"),),
    node_selector={"pool": "gpu"},
    tolerations=({"key": "gpu", "operator": "Exists"},),
    probe=Probe("/api"),
    labels={"slipway.dev/workspace": "team"},
    command=("jupyter", "$(HOME)"),
    home="/home/jovyan",
    files=(File("/opt/conf.py", "x"),),
)
MOUNTS = [
    {"name": "claim-1", "mountPath": "/home/jovyan"},
    {"name": "claim-2", "mountPath": "/data", "readOnly": True},
    {"name": "shm", "mountPath": "/dev/shm"},
    {"name": "slipway", "mountPath": "/opt/conf.py", "subPath": "file.1", "readOnly": True},
]
AMOUNTS = {"cpu": "500m", "memory": "2Gi", "nvidia.com/gpu": "1"}
CONTAINER: dict[str, Any] = {
    "image": "quay.io/jupyter/base-notebook:1",
    "workingDir": "/home/jovyan",
    "env": [
        {"name": "HOME", "value": "/home/jovyan"},
        {"name": "PLAIN", "valueFrom": {"secretKeyRef": {"name": "lab-abc123", "key": "env.PLAIN"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "lab-abc123", "key": "env.TOKEN"}}},
    ],
    "resources": {"requests": AMOUNTS, "limits": AMOUNTS},
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}


def test_the_pod_is_hardened_and_has_what_the_workload_asks_for() -> None:
    assert objects.statefulset(WORKLOAD)["spec"] == {
        "replicas": 1,
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "revisionHistoryLimit": 1,
        "serviceName": "lab-abc123",
        "selector": {"matchLabels": {"slipway.dev/session": "lab-abc123"}},
        "template": {
            "metadata": {"labels": LABELS, "annotations": {"slipway.dev/revision": "4", "slipway.dev/owner": "ada@example.com"}},
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 15,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 1000,
                    "runAsGroup": 100,
                    "fsGroup": 100,
                    "fsGroupChangePolicy": "OnRootMismatch",
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "initContainers": [
                    {
                        **CONTAINER,
                        "name": "init-1-set-up",
                        "command": ["sh", "/run/slipway/init.sh"],
                        "volumeMounts": [
                            *MOUNTS,
                            {"name": "slipway", "mountPath": "/run/slipway/init.sh", "subPath": "init.1", "readOnly": True},
                        ],
                    }
                ],
                "containers": [
                    {
                        **CONTAINER,
                        "name": "ide",
                        "command": ["jupyter", "$$(HOME)"],
                        "volumeMounts": MOUNTS,
                        "ports": [{"name": "http", "containerPort": 8888, "protocol": "TCP"}],
                        "readinessProbe": {
                            "httpGet": {"path": "/api", "port": 8888, "scheme": "HTTP"},
                            "periodSeconds": 1,
                            "timeoutSeconds": 5,
                            "failureThreshold": 6,
                        },
                    }
                ],
                "volumes": [
                    {"name": "claim-1", "persistentVolumeClaim": {"claimName": "home"}},
                    {"name": "claim-2", "persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "1073741824"}},
                    {
                        "name": "slipway",
                        "secret": {
                            "secretName": "lab-abc123",
                            "defaultMode": 0o444,
                            "items": [{"key": "init.1", "path": "init.1"}, {"key": "file.1", "path": "file.1"}],
                        },
                    },
                ],
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
            },
        },
    }


def test_values_scripts_and_files_are_in_the_secret_alone() -> None:
    built = objects.secret(WORKLOAD)
    texts = {key: b64decode(value).decode() for key, value in built.pop("data").items()}
    assert texts == {"env.PLAIN": "1", "env.TOKEN": "secret", "init.1": "true", "file.1": "x"}
    assert built == {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "slipway.dev/session",
        "metadata": {
            "name": "lab-abc123",
            "namespace": "team",
            "labels": LABELS,
            "annotations": {"slipway.dev/owner": "ada@example.com", "slipway.dev/generation": "7"},
        },
    }


def test_programs_and_live_files_are_volumes_of_the_secret_and_their_text_is_nowhere_else() -> None:
    tools = {"programs": (Program("sbatch", "#!/bin/sh"),), "live_files": {"token": "top-secret"}, "account": Account(20001, 20002)}
    workload = replace(WORKLOAD, **tools, init_scripts=(), files=(), supply=Supply("slurm:1", 'cp x "$TARGET"'))
    workload = replace(workload, known_accounts=(Account(20001, 20002, "ada"),))
    built = objects.statefulset(workload)
    assert "top-secret" not in str(built)
    data = {key: b64decode(value).decode() for key, value in objects.secret(workload)["data"].items()}
    assert (data["live.token"], data["program.sbatch"]) == ("top-secret", "#!/bin/sh")
    pod = built["spec"]["template"]["spec"]
    assert {pod["securityContext"][name] for name in ("runAsUser",)} == {20001}
    assert {pod["securityContext"][name] for name in ("runAsGroup", "fsGroup")} == {20002}
    secret = {"secretName": "lab-abc123"}
    assert pod["volumes"][3:] == [
        {"name": "slipway", "secret": {**secret, "defaultMode": 0o444, "items": [{"key": "profile", "path": "profile"}]}},
        {"name": "bin", "secret": {**secret, "defaultMode": 0o555, "items": [{"key": "program.sbatch", "path": "sbatch"}]}},
        {"name": "live", "secret": {**secret, "defaultMode": 0o440, "items": [{"key": "live.token", "path": "token"}]}},
        {"name": "supply", "emptyDir": {}},
        {"name": "accounts", "emptyDir": {}},
    ]
    (ide,), (supply, names) = pod["containers"], pod["initContainers"]
    assert ide["command"] == ["sh", "-c", 'PATH="/opt/slipway/bin:$$PATH" exec "$$@"', "sh", "jupyter", "$$(HOME)"]
    assert ide["volumeMounts"][3:] == [
        {"name": "bin", "mountPath": "/opt/slipway/bin", "readOnly": True},
        {"name": "slipway", "mountPath": "/etc/profile.d/slipway.sh", "subPath": "profile", "readOnly": True},
        {"name": "live", "mountPath": "/opt/slipway/live", "readOnly": True},
        {"name": "supply", "mountPath": "/opt/slipway/supply", "readOnly": True},
        {"name": "accounts", "mountPath": "/etc/passwd", "subPath": "passwd", "readOnly": True},
        {"name": "accounts", "mountPath": "/etc/group", "subPath": "group", "readOnly": True},
    ]
    assert (names["name"], names["image"], names["env"]) == (
        "accounts",
        ide["image"],
        [{"name": "TARGET", "value": "/opt/slipway/accounts"}],
    )
    assert supply == {
        "name": "supply",
        "image": "slurm:1",
        "command": ["sh", "-c", 'cp x "$$TARGET"'],
        "env": [{"name": "TARGET", "value": "/opt/slipway/supply"}],
        "resources": {kind: {"cpu": "500m", "memory": "2Gi"} for kind in ("requests", "limits")},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "supply", "mountPath": "/opt/slipway/supply"}],
    }


def test_a_session_without_a_home_volume_has_a_home_that_it_can_write() -> None:
    pod = objects.statefulset(replace(WORKLOAD, mounts=()))["spec"]["template"]["spec"]
    assert {"name": "home", "emptyDir": {}} in pod["volumes"]
    assert {"name": "home", "mountPath": "/home/jovyan"} in pod["containers"][0]["volumeMounts"]


def test_a_claim_without_a_class_takes_the_default_one() -> None:
    assert objects.claim(Claim("home", "1Gi", labels={"a": "b"})) == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "home", "labels": {"a": "b", "app.kubernetes.io/managed-by": "slipway"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def test_the_hash_does_not_see_what_the_api_server_fills_in() -> None:
    built = objects.statefulset(WORKLOAD)
    kept = copy.deepcopy(built)
    pod = kept["spec"]["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    pod["containers"][0] |= {"imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log"}
    pod["containers"][0]["resources"]["limits"]["memory"] = "2048Mi"
    pod["volumes"][2]["emptyDir"]["sizeLimit"] = "1Gi"
    assert objects.spec_hash(kept) == objects.spec_hash(built)


@pytest.mark.parametrize("change", ["image", "command", "env", "volumeMounts", "securityContext", "resources"])
def test_the_hash_sees_what_a_session_would_notice(change: str) -> None:
    built = objects.statefulset(WORKLOAD)
    other = copy.deepcopy(built)
    del other["spec"]["template"]["spec"]["containers"][0][change]
    assert objects.spec_hash(other) != objects.spec_hash(built)


def test_an_ide_that_takes_probes_for_use_is_probed_aside_once_it_answers() -> None:
    probe = Probe("/", (200, 302), quiet_path="/healthz", period=2, timeout=3, failures=4, delay=5)
    (ide,) = objects.statefulset(replace(WORKLOAD, probe=probe, port=9000))["spec"]["template"]["spec"]["containers"]
    asks = {"port": 9000, "scheme": "HTTP"}
    assert ide["readinessProbe"] == {
        "httpGet": {"path": "/healthz", **asks},
        "periodSeconds": 2,
        "timeoutSeconds": 3,
        "failureThreshold": 4,
    }
    first = {"httpGet": {"path": "/", **asks}, "failureThreshold": 1_000_000, "initialDelaySeconds": 5}
    assert ide["startupProbe"] == {**ide["readinessProbe"], **first}
    assert ide["ports"][0]["containerPort"] == 9000


def test_only_slipways_own_gateway_relay_and_worker_may_come_in() -> None:
    policy = network_policy(Namespace("team", "team"), "slipway")["spec"]
    assert policy == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/managed-by": "slipway"}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [
                    {
                        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "slipway"}},
                        "podSelector": {
                            "matchExpressions": [
                                {"key": "slipway.dev/component", "operator": "In", "values": ["gateway", "relay", "worker"]}
                            ]
                        },
                    }
                ]
            }
        ],
    }
    assert network_policy(Namespace("team", "team"), "")["spec"]["ingress"] == []


def test_a_workspace_without_limits_has_no_quota() -> None:
    assert resource_quota(Namespace("team", "team")) is None
