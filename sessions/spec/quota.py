"""What a workspace uses of its quota, and what one more session would make of it."""

from __future__ import annotations

from decimal import Decimal

from django.db.models import Count

from compute.models import Workspace
from compute.quota import QuotaLine
from compute.validators import GIB, parse_quantity
from presets.models import PodSize
from sessions.models import Session
from storage.quota import storage_line


def quota_lines(workspace: Workspace, pod_size: PodSize | None, new_storage: str = "") -> list[QuotaLine]:
    """The workspace's limits that are set, with a session of ``pod_size`` and new storage added. At most two queries."""
    lines = []
    if workspace.quota_sessions is not None or workspace.quota_cpu or workspace.quota_memory or workspace.quota_gpus is not None:
        lines += _compute_lines(workspace, pod_size)
    if (line := storage_line(workspace, new_storage)) is not None:
        lines.append(line)
    return lines


def _compute_lines(workspace: Workspace, pod_size: PodSize | None) -> list[QuotaLine]:
    active = Session.objects.filter(workspace=workspace).using_compute().order_by()
    sizes = active.values_list("pod_size__cpu", "pod_size__memory", "pod_size__gpus").annotate(n=Count("pk"))
    sessions = cpu = memory = gpus = Decimal(0)
    for size_cpu, size_memory, size_gpus, count in sizes:
        sessions += count
        cpu += parse_quantity(size_cpu) * count
        memory += parse_quantity(size_memory) * count
        gpus += size_gpus * count
    one = Decimal(1 if pod_size else 0)
    add_cpu = parse_quantity(pod_size.cpu) if pod_size else Decimal(0)
    add_memory = parse_quantity(pod_size.memory) if pod_size else Decimal(0)
    add_gpus = Decimal(pod_size.gpus if pod_size else 0)
    lines = []
    if workspace.quota_sessions is not None:
        lines.append(QuotaLine("running sessions", "", "", sessions, sessions + one, Decimal(workspace.quota_sessions)))
    if workspace.quota_cpu:
        lines.append(QuotaLine("CPU", "pod_size", "cores", cpu, cpu + add_cpu, parse_quantity(workspace.quota_cpu)))
    if workspace.quota_memory:
        limit = parse_quantity(workspace.quota_memory)
        lines.append(QuotaLine("memory", "pod_size", "GiB", memory / GIB, (memory + add_memory) / GIB, limit / GIB))
    if workspace.quota_gpus is not None:
        lines.append(QuotaLine("GPUs", "pod_size", "", gpus, gpus + add_gpus, Decimal(workspace.quota_gpus)))
    return lines
