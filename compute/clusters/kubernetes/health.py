"""Whether a cluster can be used now, which rights are missing, and what it has in all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from compute.clusters.base import Capacity, ClusterError, Health
from compute.clusters.kubernetes.client import Connection

# Every verb that the driver uses, by (API group, resource): deploy/kubernetes' ClusterRole is tested against it.
RIGHTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "statefulsets"): ("get", "list", "watch", "create", "patch", "delete"),
    ("", "pods"): ("get", "list", "watch", "delete"),
    ("", "pods/log"): ("get",),
    ("", "secrets"): ("create", "patch", "delete"),
    ("", "persistentvolumeclaims"): ("get", "list", "watch", "create", "delete"),
    ("", "events"): ("list", "watch"),
    ("", "namespaces"): ("get", "create", "patch"),
    ("", "resourcequotas"): ("create", "patch", "delete"),
    ("networking.k8s.io", "networkpolicies"): ("create", "patch"),
    ("", "nodes"): ("list",),
}
ASKED_AT_ONCE = 8


def health(connection: Connection) -> Health:
    """Never raises: what is wrong is a problem in words."""
    try:
        version = connection.call("GET", "/version").get("gitVersion", "")
        wanted = [(group, resource, verb) for (group, resource), verbs in RIGHTS.items() for verb in verbs]
        with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
            allowed = list(pool.map(partial(_may, connection), wanted))
    except ClusterError as error:
        return Health(ok=False, problems=(str(error),))
    missing: dict[str, list[str]] = {}
    for (_, resource, verb), yes in zip(wanted, allowed, strict=True):
        if not yes:
            missing.setdefault(resource, []).append(verb)
    problems = tuple(f"Slipway lacks the right to {_listed(verbs)} {resource}." for resource, verbs in missing.items())
    return Health(ok=not problems, version=version, problems=problems)


def _may(connection: Connection, right: tuple[str, str, str]) -> bool:
    group, resource, verb = right
    name, _, subresource = resource.partition("/")
    attributes = {"group": group, "resource": name, "subresource": subresource, "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = connection.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    return bool((answer.get("status") or {}).get("allowed"))


def _listed(verbs: list[str]) -> str:
    *first, last = verbs
    return f"{', '.join(first)} and {last}" if first else last


def capacity(connection: Connection) -> Capacity:
    """The sum of what the nodes can give to pods, cordoned ones left out. GPUs are all resources of a vendor's domain."""
    cpu, memory, gpus = Decimal(0), Decimal(0), dict[str, int]()
    for page in connection.pages("/api/v1/nodes"):
        for node in page.get("items") or ():
            if (node.get("spec") or {}).get("unschedulable"):
                continue
            amounts: dict[str, Any] = (node.get("status") or {}).get("allocatable") or {}
            cpu += parse_quantity(amounts.get("cpu", "0"))
            memory += parse_quantity(amounts.get("memory", "0"))
            for name in amounts:
                if "/" in name and "kubernetes.io/" not in name:
                    gpus[name] = gpus.get(name, 0) + int(parse_quantity(amounts[name]))
    return Capacity(float(cpu), int(memory), gpus)
