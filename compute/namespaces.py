"""A workspace's slice of its cluster, from its row."""

from __future__ import annotations

from compute.clusters import driver_for
from compute.models import ComputePool, Workspace
from compute.workload import Namespace


def namespace_of(workspace: Workspace) -> Namespace:
    """What the workspace's namespace must be guarded with. At most one query, and only with a GPU quota."""
    gpu_resources: tuple[str, ...] = ()
    if workspace.quota_gpus is not None:
        pools = ComputePool.objects.filter(cluster=workspace.cluster_id).exclude(gpu_resource="")
        gpu_resources = tuple(pools.order_by("gpu_resource").values_list("gpu_resource", flat=True).distinct())
    return Namespace(
        name=workspace.namespace,
        workspace=workspace.name,
        sessions=workspace.quota_sessions,
        cpu=workspace.quota_cpu,
        memory=workspace.quota_memory,
        storage=workspace.quota_storage,
        gpus=workspace.quota_gpus,
        gpu_resources=gpu_resources,
    )


def ensure_namespace(workspace: Workspace) -> None:
    """Make the workspace's namespace and its guards what its row says. Raises ``ClusterError``."""
    driver_for(workspace.cluster).ensure_namespace(namespace_of(workspace))
