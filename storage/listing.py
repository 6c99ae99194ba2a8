"""Volumes as the pages show them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from compute.access import require_owner_or_admin
from compute.errors import Forbidden
from compute.models import Membership, Workspace
from storage.models import Volume, VolumeQuerySet


@dataclass(frozen=True)
class Use:
    """A session that a volume is attached to, running or not."""

    name: str
    host: str
    phase: str


@dataclass(frozen=True)
class VolumeRow:
    volume: Volume
    uses: list[Use]
    may_manage: bool

    @property
    def days_left(self) -> int:
        """Whole days until a trashed volume is deleted for good, rounded up."""
        left = (self.volume.purge_after or timezone.now()) - timezone.now()
        return max(0, -(-left // timedelta(days=1)))

    @property
    def is_purging(self) -> bool:
        """Whether its time in the trash is over: it can't be restored any more."""
        return self.volume.purge_after is not None and self.volume.purge_after <= timezone.now()


def search(workspace: Workspace, text: str, kind: str) -> VolumeQuerySet:
    """The workspace's live volumes whose name or owner contains ``text``, of one kind if ``kind`` is one."""
    found = Volume.objects.live().filter(workspace=workspace).select_related("owner")
    if text:
        found = found.filter(Q(name__icontains=text) | Q(owner__username__icontains=text))
    return found.filter(kind=kind) if kind in Volume.Kind.values else found


def uses_of(volumes: Iterable[Volume]) -> dict[int, list[Use]]:
    """Which sessions each volume is attached to. One query; of the sessions only what is shown."""
    rows = (
        Volume.objects.filter(pk__in=[volume.pk for volume in volumes], mounts__isnull=False)
        .order_by("mounts__session__name")
        .values_list("pk", "mounts__session__name", "mounts__session__host", "mounts__session__phase")
    )
    uses: dict[int, list[Use]] = defaultdict(list)
    for pk, name, host, phase in rows:
        uses[pk].append(Use(name, host, phase))
    return uses


def may_manage(membership: Membership, volume: Volume) -> bool:
    """Whether the member may delete and restore the volume."""
    try:
        require_owner_or_admin(membership, volume.owner_id, "")
    except Forbidden:
        return False
    return True


def rows(membership: Membership, volumes: Iterable[Volume]) -> list[VolumeRow]:
    """Rows for a page of volumes. One query."""
    shown = list(volumes)
    uses = uses_of(shown)
    return [VolumeRow(volume, uses.get(volume.pk, []), may_manage(membership, volume)) for volume in shown]
