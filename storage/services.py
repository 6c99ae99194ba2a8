"""The verbs of storage: volumes and secrets. The only code that deletes a claim, and only one that a user named.

Each checks permission, changes rows in one transaction, and raises ``Refused`` (with words for the user) or ``Forbidden``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from compute.access import membership_of, require_owner_or_admin, require_role
from compute.clusters import driver_for
from compute.clusters.base import ClusterError
from compute.errors import Problem, Refused
from compute.models import Role, Workspace
from compute.prepared import insert, prepared
from compute.validators import NAME_MAX
from compute.workload import Account
from storage.models import Secret, SecretsBundle, Volume, unique_name
from storage.quota import storage_line

log = logging.getLogger(__name__)


def create_volume(
    user: Any,
    workspace: Workspace,
    *,
    name: str,
    kind: str,
    size: str,
    access_mode: str = Volume.AccessMode.ONCE,
    storage_class: str = "",
) -> Volume:
    """A new, empty volume of the workspace, owned by the user. Its claim is made when a session first mounts it.

    Raises ``Refused`` with a problem per field (name, kind, size, access_mode, storage_class).
    """
    require_role(membership_of(user, workspace), Role.MEMBER, "create volumes")
    volume = Volume(
        workspace=workspace,
        owner=user,
        name=name.strip(),
        kind=kind,
        size=size.strip(),
        access_mode=access_mode,
        storage_class=storage_class.strip(),
    )
    with transaction.atomic():
        _lock(workspace)
        _validate(volume)
        if volume.kind == Volume.Kind.HOME and volume.access_mode == Volume.AccessMode.READ:
            raise Refused(Problem("access_mode", "home_read_only", "A home volume must be writable: choose another access mode."))
        _check_quota(volume)
        volume.save()
    return volume


def create_home(user: Any, workspace: Workspace, session_name: str, size: str, account: Account | None = None) -> Volume:
    """The home volume of a new session, named after it and for the account to write to (None: unknown). The caller has checked
    permission, size and quota."""
    name = free_name(workspace, f"home-{session_name}")
    owner = {"uid": account.uid, "gid": account.gid} if account else {}
    home = Volume(workspace=workspace, owner=user, name=name, claim=unique_name(name), kind=Volume.Kind.HOME, size=size, **owner)
    insert([home])
    return home


def record_first_mount(volumes: Iterable[Volume], account: Account) -> None:
    """Those that nobody has written to yet will belong to the account. One query if there are any, else none."""
    if fresh := [volume.pk for volume in volumes if volume.uid is None]:
        Volume.objects.filter(pk__in=fresh, uid=None).update(uid=account.uid, gid=account.gid)


def free_name(workspace: Workspace, wanted: str) -> str:
    """``wanted``, or with the smallest number that makes it free among the workspace's live volumes. One query, two if it is taken."""
    stem = wanted[:NAME_MAX].strip("-")
    if not _live_named(workspace.pk, stem):
        return stem
    taken = set(
        Volume.objects.live().filter(workspace=workspace, name__startswith=stem[: NAME_MAX - 4]).order_by().values_list("name", flat=True)
    )
    name, number = stem, 2
    while name in taken:
        ending = f"-{number}"
        name, number = stem[: NAME_MAX - len(ending)].strip("-") + ending, number + 1
    return name


@prepared
def _live_named(workspace: int, name: str) -> QuerySet[Volume, tuple[int]]:
    return Volume.objects.live().filter(workspace=workspace, name=name).order_by().values_list("pk")


def trash_volume(user: Any, volume: Volume, *, released_by: str = "") -> None:
    """Delete a volume: it goes to the trash, where its data stays for ``SLIPWAY_TRASH_DAYS``.

    ``released_by`` is the host of a session that is being deleted: its mount does not count as use. Raises ``Refused``
    when a session mounts the volume. Trashing one that is trashed or purged changes nothing.
    """
    require_owner_or_admin(membership_of(user, volume.workspace), volume.owner_id, "delete this volume")
    with transaction.atomic():
        _lock(volume.workspace)  # a launch that has found the volume live must have mounted it first
        fresh = Volume.objects.select_for_update().filter(pk=volume.pk).first()
        if fresh is None or fresh.trashed_at:
            return
        users = fresh.mounts.exclude(session__host=released_by).values_list("session__name", flat=True)
        if users:
            names = ", ".join(f"“{name}”" for name in users)
            raise Refused(Problem("volumes", "volume_in_use", f"“{volume}” belongs to {names}. Delete the session first."))
        fresh.trash(user)
        fresh.save(update_fields=["trashed_at", "trashed_by", "purge_after"])


def restore_volume(user: Any, volume: Volume) -> Volume:
    """Bring a volume back from the trash, under a free name if its own was taken meanwhile.

    Raises ``Refused`` from the moment that a purge may have begun: a claim that is being deleted can't be kept.
    """
    require_owner_or_admin(membership_of(user, volume.workspace), volume.owner_id, "restore this volume")
    with transaction.atomic():
        _lock(volume.workspace)
        fresh = Volume.objects.select_for_update().filter(pk=volume.pk).first()
        if fresh is None:
            raise Refused(Problem("", "volume_gone", f"“{volume}” has been deleted for good."))
        if fresh.purge_after and fresh.purge_after <= timezone.now():
            raise Refused(Problem("", "volume_purging", f"“{volume}” is being deleted for good and can't be restored any more."))
        if fresh.trashed_at:
            fresh.name = free_name(fresh.workspace, fresh.name)
            fresh.trashed_at = fresh.trashed_by = fresh.purge_after = None
            fresh.save(update_fields=["name", "trashed_at", "trashed_by", "purge_after"])
    return fresh


def purge_volume(user: Any, volume: Volume) -> None:
    """Delete a trashed volume and its data for good.

    Raises ``Refused`` when the cluster can't now: the volume stays in the trash, and the sweep tries again.
    """
    require_owner_or_admin(membership_of(user, volume.workspace), volume.owner_id, "delete this volume for good")
    if volume.mounts.exists():
        raise Refused(
            Problem("", "volume_in_use", f"“{volume}” is still attached to a session that is being deleted. Try again in a moment.")
        )
    # From here on it can't be restored: nobody gets back a volume whose claim is about to go.
    if not Volume.objects.trashed().filter(pk=volume.pk).update(purge_after=timezone.now()):
        raise Refused(Problem("", "not_in_trash", f"“{volume}” is not in the trash."))
    try:
        _purge(volume)
    except ClusterError as error:
        message = f"The cluster could not delete “{volume}” now: {error} It stays in the trash, and Slipway tries again."
        raise Refused(Problem("", "cluster_failed", message)) from error


def purge_due() -> int:
    """Purge what has been in the trash for its time; returns how many. One that fails stays, and is tried again."""
    done = 0
    due = Volume.objects.due_for_purge().filter(mounts=None).select_related("workspace__cluster").order_by("purge_after")
    for volume in due:
        try:
            done += _purge(volume)
        except ClusterError as error:
            log.warning("Purging volume %s failed: %s", volume.claim, error)
        except Exception:  # one bad row must not keep the rest from their turn
            log.exception("Purging volume %s failed", volume.claim)
    return done


def _purge(volume: Volume) -> bool:
    """The claim first, then the row: a row without a claim can be purged again, a claim without a row can't be found."""
    if volume.mounts.exists():
        return False
    driver_for(volume.workspace.cluster).delete_claim(volume.workspace.namespace, volume.claim)
    return bool(Volume.objects.trashed().filter(pk=volume.pk).delete()[0])


def bundle_of(workspace: Workspace) -> SecretsBundle:
    """The workspace's bundle, made at its first use."""
    return SecretsBundle.objects.get_or_create(workspace=workspace)[0]


def write_secret(user: Any, workspace: Workspace, *, name: str, value: str, description: str = "") -> Secret:
    """Create or replace a managed secret. Running sessions get it at their next resume.

    Raises ``Refused`` with a problem per field (name, value, description).
    """
    require_role(membership_of(user, workspace), Role.ADMIN, "write secrets")
    with transaction.atomic():
        bundle = SecretsBundle.objects.select_for_update().get(pk=bundle_of(workspace).pk)
        secret = Secret.objects.filter(bundle=bundle, name=name.strip()).first() or Secret(bundle=bundle, name=name.strip())
        secret.value, secret.description, secret.updated_by = value, description.strip(), user
        _validate(secret)
        secret.save()
    return secret


def delete_secret(user: Any, secret: Secret) -> None:
    """Remove a managed secret; running sessions keep it until they are paused."""
    require_role(membership_of(user, secret.bundle.workspace), Role.ADMIN, "delete secrets")
    secret.delete()


def _lock(workspace: Workspace) -> None:
    """Changes that must hold together for a workspace (names, quota, what is mounted) take turns, also with launches."""
    Workspace.objects.select_for_update(no_key=True).get(pk=workspace.pk)


def _validate(row: Volume | Secret) -> None:
    try:
        row.full_clean()
    except ValidationError as error:
        problems = [
            Problem("" if field == "__all__" else field, item.code or "invalid", " ".join(item.messages))
            for field, items in error.error_dict.items()
            for item in items
        ]
        # The one constraint across fields is that of the name.
        raise Refused([Problem(p.field or "name", p.code, p.message) for p in problems]) from error


def _check_quota(volume: Volume) -> None:
    line = storage_line(volume.workspace, volume.size, field="size")
    if line is not None and line.exceeded:
        raise Refused(Problem(line.field, "quota_exceeded", line.sentence))
