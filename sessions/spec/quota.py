"""What a workspace uses of its quota, and what one more session would make of it."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Count

from compute.models import Workspace
from compute.validators import GIB, parse_quantity
from presets.models import PodSize
from sessions.models import Session
from storage.models import Volume


@dataclass(frozen=True)
class QuotaLine:
    """One limit of a workspace, in ``unit`` (cores, GiB, or a count). ``field`` is where a user can do something about it."""

    label: str
    field: str
    unit: str
    used: Decimal
    would_be: Decimal
    limit: Decimal

    @property
    def exceeded(self) -> bool:
        return self.would_be > self.limit and self.would_be > self.used

    @property
    def percent(self) -> int:
        return min(100, int(100 * self.would_be / self.limit)) if self.limit else 100

    @property
    def sentence(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return (
            f"This would exceed the workspace's quota of {self.label}: {_plain(self.used)} of {_plain(self.limit)}{unit} are used, "
            f"and this makes it {_plain(self.would_be)}. Choose less, or pause or delete something."
        )


def _plain(number: Decimal) -> str:
    return f"{number.quantize(Decimal('0.01')).normalize():f}"


def quota_lines(workspace: Workspace, pod_size: PodSize | None, new_storage: str = "") -> list[QuotaLine]:
    """The workspace's limits that are set, with a session of ``pod_size`` and new storage added. At most two queries."""
    lines = []
    if workspace.quota_sessions is not None or workspace.quota_cpu or workspace.quota_memory or workspace.quota_gpus is not None:
        lines += _compute_lines(workspace, pod_size)
    if workspace.quota_storage:
        used = _sum_storage(workspace)
        added = parse_quantity(new_storage) if new_storage else Decimal(0)
        lines.append(
            QuotaLine("storage", "home.size", "GiB", used / GIB, (used + added) / GIB, parse_quantity(workspace.quota_storage) / GIB)
        )
    return lines


def _sum_storage(workspace: Workspace) -> Decimal:
    sizes = Volume.objects.filter(workspace=workspace).order_by().values_list("size").annotate(n=Count("pk"))
    return sum((parse_quantity(size) * count for size, count in sizes), Decimal(0))


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
