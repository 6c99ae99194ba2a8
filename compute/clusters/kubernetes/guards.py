"""A workspace's namespace and what keeps it in bounds: Pod Security, NetworkPolicy, ResourceQuota. Pure builders, and who writes them."""

from __future__ import annotations

import threading
import time
from typing import Any

from compute.clusters.base import ClusterError
from compute.clusters.kubernetes import labels
from compute.clusters.kubernetes.client import Connection
from compute.workload import Namespace

Json = dict[str, Any]
NAME = "slipway"  # of both guards
MEMORY_SECONDS = 600.0
SECURITY = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def namespace_object(namespace: Namespace) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": namespace.name, "labels": {**_labels(namespace), **SECURITY}},
    }


def network_policy(namespace: Namespace, home: str) -> Json:
    """In only from Slipway in the namespace ``home``: its gateway and relay, for users, and its worker, which asks IDEs when they
    were used last. Not from other sessions. Without ``home`` Slipway isn't in the cluster and no pod may come in (a node may).
    Out is open: notebooks fetch packages and data."""
    slipway: Json = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": home}},
        "podSelector": {"matchExpressions": [{"key": labels.COMPONENT, "operator": "In", "values": ["gateway", "relay", "worker"]}]},
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NAME, "namespace": namespace.name, "labels": _labels(namespace)},
        "spec": {
            "podSelector": {"matchLabels": {labels.MANAGED_BY: labels.MANAGER}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [slipway]}] if home else [],
        },
    }


def resource_quota(namespace: Namespace) -> Json | None:
    """The workspace's limits; None when it has none."""
    limits = {"requests.cpu": namespace.cpu, "requests.memory": namespace.memory, "requests.storage": namespace.storage}
    if namespace.sessions is not None:
        limits["pods"] = str(namespace.sessions)
    if namespace.gpus is not None:
        limits |= {f"requests.{resource}": str(namespace.gpus) for resource in namespace.gpu_resources}
    hard = {name: limit for name, limit in limits.items() if limit}
    if not hard:
        return None
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": NAME, "namespace": namespace.name, "labels": _labels(namespace)},
        "spec": {"hard": hard},
    }


def _labels(namespace: Namespace) -> dict[str, str]:
    return {labels.MANAGED_BY: labels.MANAGER, labels.WORKSPACE: namespace.workspace}


class Guards:
    """Writes them, and remembers for ten minutes what it wrote. ``home``: the namespace that Slipway runs in."""

    def __init__(self, connection: Connection, home: str) -> None:
        self.connection, self.home = connection, home
        self._lock = threading.Lock()
        self._written: dict[str, tuple[Namespace, float]] = {}

    def ensure(self, namespace: Namespace) -> None:
        """Namespace, policy and quota are what they should be. No request when this process wrote the same lately."""
        with self._lock:
            written, at = self._written.get(namespace.name, (None, 0.0))
        if written == namespace and time.monotonic() - at < MEMORY_SECONDS:
            return
        self._claim_name(namespace)
        self.connection.apply(f"/api/v1/namespaces/{namespace.name}", namespace_object(namespace))
        core, net = f"/api/v1/namespaces/{namespace.name}", f"/apis/networking.k8s.io/v1/namespaces/{namespace.name}"
        self.connection.apply(f"{net}/networkpolicies/{NAME}", network_policy(namespace, self.home))
        quota = resource_quota(namespace)
        if quota is not None:
            self.connection.apply(f"{core}/resourcequotas/{NAME}", quota)
        else:
            self.connection.delete(f"{core}/resourcequotas/{NAME}")
        with self._lock:
            self._written[namespace.name] = namespace, time.monotonic()

    def forget(self, namespace: str) -> None:
        """The namespace turned out to be gone: the next ``ensure`` makes it again."""
        with self._lock:
            self._written.pop(namespace, None)

    def _claim_name(self, namespace: Namespace) -> None:
        """Refuse a namespace that is neither Slipway's nor given to this workspace by an admin's label."""
        found = self.connection.metadata(f"/api/v1/namespaces/{namespace.name}")
        if found is None:
            return
        if found.get("deletionTimestamp"):
            raise ClusterError("NamespaceTerminating", f"The namespace {namespace.name} is being deleted on the cluster.")
        if (found.get("labels") or {}).get(labels.WORKSPACE) != namespace.workspace:
            raise ClusterError(
                "NamespaceTaken",
                f"The namespace {namespace.name} exists and is not this workspace's. An admin of the cluster can give it to the "
                f"workspace with the label {labels.WORKSPACE}={namespace.workspace}.",
            )
