"""Drivers, by the name that a ``Cluster`` row holds."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from compute.clusters.base import Driver

if TYPE_CHECKING:
    from compute.models import Cluster

DRIVERS = {
    "local": ("Local processes", "compute.clusters.local:LocalDriver"),
    "kubernetes": ("Kubernetes", "compute.clusters.kubernetes:KubernetesDriver"),
}
CHOICES = [(name, label) for name, (label, _) in DRIVERS.items()]


@lru_cache(maxsize=64)
def _build(driver: str, name: str, context: str, identity: str) -> Driver:
    module, _, attribute = DRIVERS[driver][1].partition(":")
    built: Driver = getattr(import_module(module), attribute)(name, context, identity)
    return built


def driver_for(cluster: Cluster) -> Driver:
    """The driver of a cluster, built once per process and way to reach it. Raises ``KeyError`` for an unknown driver."""
    return _build(cluster.driver, cluster.name, cluster.context, cluster.identity)


def context_problem(driver: str, context: str) -> str:
    """Why a cluster of this driver can't be reached through the context; empty if it can, or if that can't be told here."""
    if not context:
        return ""
    if driver != "kubernetes":
        return "Only Kubernetes clusters have a context. Leave this empty."
    problem: str = import_module("compute.clusters.kubernetes.contexts").problem(context)
    return problem
