"""What a workspace's volumes take of its storage quota."""

from __future__ import annotations

from decimal import Decimal

from django.db.models import Count

from compute.models import Workspace
from compute.quota import QuotaLine
from compute.validators import GIB, parse_quantity
from storage.models import Volume


def storage_line(workspace: Workspace, added: str = "", *, field: str = "home.size") -> QuotaLine | None:
    """The storage limit with a volume of size ``added`` on top, or None without a limit. The trash counts: its data is there. One query."""
    if not workspace.quota_storage:
        return None
    sizes = Volume.objects.filter(workspace=workspace).order_by().values_list("size").annotate(n=Count("pk"))
    used = sum((parse_quantity(size) * count for size, count in sizes), Decimal(0))
    more = parse_quantity(added) if added else Decimal(0)
    return QuotaLine("storage", field, "GiB", used / GIB, (used + more) / GIB, parse_quantity(workspace.quota_storage) / GIB)
