"""The verbs of a session: launch, pause, resume, delete, open. Wizard, API, admin and commands call these and nothing else.

Each checks permission, changes the spec and queues a reconcile in one transaction, records who asked, and raises
``Refused`` (with words for the user) or ``Forbidden``. None of them talks to a cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from compute.access import may_own, membership_of, require_owner_or_admin, require_role
from compute.clusters import driver_for
from compute.errors import Forbidden, Problem, Refused
from compute.models import ComputePool, Role, SlurmCluster, Workspace
from compute.prepared import insert
from compute.workload import Account
from sessions import gateway, tasks
from sessions.models import Activity, Desired, Draft, Session, SessionConfiguration, SessionVolume
from sessions.spec import Checked, QuotaLine, SpecInput, check, load_parts, resolve, slurm_check
from sessions.spec.choices import exclusive_use
from sessions.spec.quota import quota_lines
from sessions.spec.resolve import snapshot
from sessions.spec.slurm_check import usual_account
from storage import services as storage
from storage.models import Volume, unique_name

# Why Slipway itself pauses a session.
IDLE, ABANDONED = "Idle", "OwnerLeft"


def launch(user: Any, workspace: Workspace, spec: SpecInput, draft: Draft | None = None) -> Session:
    """Make a session of the spec and queue its start. A draft launches once: again, it returns the same session.

    Raises ``Refused`` with every problem of ``sessions.spec.check``; then nothing has been made.
    """
    with transaction.atomic():
        # Launches and resumes of one workspace take turns, so that names, quotas and exclusive volumes hold.
        membership = membership_of(user, workspace, lock=True)
        require_role(membership, Role.MEMBER, "launch sessions")
        workspace = membership.workspace
        if draft is not None and (launched := _launched_by(draft)) is not None:
            return launched
        checked = check(user, workspace, spec)
        if checked.problems:
            raise Refused(checked.problems)
        session = _create(user, workspace, spec, checked)
        if draft is not None:
            Draft.objects.filter(pk=draft.pk).update(session=session, launched_host=session.host, data={})
        _record(session, user, "launch", f"{checked.preset} · {checked.image} · {checked.pod_size}")
    return session


def _lock(workspace: Workspace) -> None:
    """As a launch does, without reading anything."""
    list(Workspace.objects.select_for_update(no_key=True).filter(pk=workspace.pk).values_list("pk"))


def _launched_by(draft: Draft) -> Session | None:
    current = Draft.objects.select_related("session__workspace").get(pk=draft.pk)
    if current.launched_host and current.session is None:
        raise Refused(Problem("", "already_launched", "This draft has been launched, and its session deleted since. Start a new one."))
    return current.session


def _create(user: Any, workspace: Workspace, spec: SpecInput, checked: Checked) -> Session:
    """The session, its new home volume if it asks for one, its mounts, its snapshot and its first task. The spec has been checked."""
    assert checked.preset and checked.image and checked.pod_size
    account = checked.account or usual_account(workspace.cluster)
    home = checked.home or storage.create_home(user, workspace, spec.name, checked.new_home_size, account)
    session = Session(
        workspace=workspace,
        owner=user,
        name=spec.name,
        host=unique_name(spec.name),
        preset=checked.preset,
        image=checked.image,
        pod_size=checked.pod_size,
        compute_pool=checked.pool,
        slurm_cluster=checked.slurm_cluster,
        env=checked.env,
        requested_by=user,
        price_per_hour=checked.price_per_hour,
        reason="Queued",
        message="Waiting for its turn to be sent to the cluster.",
        status_generation=1,  # this is what the controller would say of it
    )
    home_path = checked.preset.ide_definition.home_path
    mounts = [SessionVolume(session=session, volume=home, mount_path=home_path, is_home=True)]
    mounts += [
        SessionVolume(session=session, volume=mount.volume, mount_path=mount.mount_path, read_only=mount.read_only)
        for mount in checked.data_volumes
    ]
    session.snapshot = snapshot(session, mounts, checked.configurations)
    tasks.queue_new(session)
    for mount in mounts:
        mount.session = session  # it has a key by now
    insert(mounts)
    _record_first_mount(mounts, account)
    insert([SessionConfiguration(session=session, configuration=configuration) for configuration in checked.configurations])
    return session


def _record_first_mount(mounts: Iterable[SessionVolume], account: Account | None) -> None:
    if account is not None:
        storage.record_first_mount([mount.volume for mount in mounts if not mount.read_only], account)


def pause(user: Any, session: Session) -> None:
    """Release the session's compute; volumes stay attached. Pausing a paused or deleted session changes nothing."""
    require_owner_or_admin(membership_of(user, session.workspace), session.owner_id, "pause this session")
    with transaction.atomic():
        fresh = _fresh(session)
        if fresh is not None and fresh.desired == Desired.RUNNING:
            _ask(fresh, user, Desired.PAUSED)
            _record(fresh, user, "pause")


def resume(user: Any, session: Session) -> None:
    """Start a paused or failed session again, with the catalog as it is now. Resuming a running or deleted one changes nothing."""
    require_owner_or_admin(membership_of(user, session.workspace), session.owner_id, "resume this session")
    with transaction.atomic():
        _lock(session.workspace)
        fresh = _fresh(session)
        if fresh is None or not fresh.can_resume:
            return
        account, problems = _why_not_resume(fresh)
        if problems:
            raise Refused(problems)
        load_parts(fresh)
        _record_first_mount(fresh.mounts.all(), account)
        verb = "retry" if fresh.desired == Desired.RUNNING else "resume"
        fresh.image = fresh.image.successor()
        fresh.snapshot = resolve(fresh)
        fresh.price_per_hour = fresh.pod_size.price_per_hour(fresh.compute_pool)
        _ask(fresh, user, Desired.RUNNING)
        _record(fresh, user, verb)


def _why_not_resume(session: Session) -> tuple[Account | None, list[Problem]]:
    """Whom it would run as, and what has come in the way since the launch. A preset, image or size that was only hidden goes on:
    its sessions keep it."""
    workspace, pool, slurm = session.workspace, session.compute_pool, session.slurm_cluster
    problems, account = [], usual_account(workspace.cluster)
    mounts = list(session.mounts.select_related("volume"))
    if not may_own(session.owner_id, workspace.pk).exists():
        problems.append(
            Problem("", "owner_left", f"{session.owner} is no longer a member of {workspace}. Only a member's session can run.")
        )
    if not workspace.cluster.enabled:
        problems.append(Problem("", "cluster_disabled", f"{workspace.cluster} starts no sessions at the moment."))
    if pool is not None and not ComputePool.objects.offered_to(workspace).filter(pk=pool.pk).exists():
        problems.append(Problem("compute_pool", "pool_not_allowed", f"{workspace} may not use the compute pool {pool} any more."))
    if slurm is not None and not SlurmCluster.objects.serving(workspace).filter(pk=slurm.pk).exists():
        problems.append(Problem("slurm_cluster", "slurm_gone", f"The Slurm cluster {slurm} does not serve {workspace} any more."))
    elif slurm is not None:
        writable = [("slurm_cluster", mount.volume) for mount in mounts if not mount.read_only]
        account, found = slurm_check.check(slurm, session.owner, workspace.cluster, writable)
        problems += found
    if reason := driver_for(workspace.cluster).offers(session.image.successor().reference):
        problems.append(Problem("image", "image_unsupported", f"{session.image} can't run on {workspace.cluster}: {reason}"))
    volumes = {mount.volume_id: mount.volume.name for mount in mounts}
    for volume, holder in exclusive_use(list(volumes), besides=session).items():
        message = (
            f"“{volumes[volume]}” is in use by the session “{holder}”, and one session at a time may mount it. Pause that session first."
        )
        problems.append(Problem("", "volume_in_use", message))
    if not Session.objects.using_compute().filter(pk=session.pk).exists():  # a failed one, or one still pausing, is counted already
        exceeded: list[QuotaLine] = [line for line in quota_lines(session.workspace, session.pod_size) if line.exceeded]
        problems += [Problem("", "quota_exceeded", line.sentence) for line in exceeded]
    return account, problems


def pause_abandoned() -> int:
    """Pause what runs for people who left the workspace or whose account was closed; returns how many. Volumes stay."""
    able = may_own(OuterRef("owner_id"), OuterRef("workspace_id"))
    paused = 0
    for found in Session.objects.filter(~Exists(able), desired=Desired.RUNNING).only("pk", "workspace_id")[:100]:
        with transaction.atomic():
            session = _fresh(found)
            if session is not None and session.desired == Desired.RUNNING:
                _ask(session, None, Desired.PAUSED)
                words = f"{session.owner} is no longer a member of {session.workspace}."
                _record(session, None, "pause", words, reason=ABANDONED)
                paused += 1
    return paused


def pause_idle(session: Session, message: str) -> bool:
    """Pause a session that nobody uses, as Slipway's own act. False when anything was asked for since ``session`` was read."""
    with transaction.atomic():
        fresh = _fresh(session)
        if fresh is None or fresh.generation != session.generation or fresh.desired != Desired.RUNNING:
            return False
        _ask(fresh, None, Desired.PAUSED)
        _record(fresh, None, "pause", message, reason=IDLE)
    return True


def delete(user: Any, session: Session, volumes: Collection[str] = ()) -> None:
    """Remove the session. Its volumes stay, but for those named in ``volumes``, which go to the trash. Deleting a deleted
    session changes nothing.

    Raises ``Refused`` when a named volume is not the session's, is used by another session, or isn't the user's to delete.
    """
    require_owner_or_admin(membership_of(user, session.workspace), session.owner_id, "delete this session")
    with transaction.atomic():
        _lock(session.workspace)  # before the session's row, as everywhere: its volumes may go to the trash
        fresh = _fresh(session)
        if fresh is None or fresh.desired == Desired.DELETED:
            return
        mounted: dict[str, Volume] = {mount.volume.name: mount.volume for mount in fresh.mounts.select_related("volume")}
        for name in volumes:
            if name not in mounted:
                raise Refused(Problem("volumes", "volume_gone", f"“{name}” is not a volume of this session."))
            storage.trash_volume(user, mounted[name], released_by=fresh.host)
        _ask(fresh, user, Desired.DELETED)
        _record(fresh, user, "delete", f"With its volumes: {', '.join(volumes)}" if volumes else "")


def open_session(user: Any, session: Session, login_key: str) -> str:
    """A one-time address that opens the IDE. ``login_key`` is the key of the sign-in that asks; signing out ends the access."""
    membership = membership_of(user, session.workspace)
    require_role(membership, Role.MEMBER, "open sessions")
    if session.owner_id != user.pk:
        raise Forbidden("Only its owner can open a session: whoever is in it acts with the owner's files and tokens.")
    if not session.can_open:
        raise Refused(Problem("", "not_running", f"The session is not running: {session.message or session.phase}"))
    _record(session, user, "open")
    return gateway.issue_ticket(session, user, login_key)


def _fresh(session: Session) -> Session | None:
    """The row as it is now, locked for this transaction. None when it has been removed since ``session`` was read."""
    rows = Session.objects.select_for_update(of=("self",)).filter(pk=session.pk)
    return rows.select_related("workspace__cluster", "preset", "pod_size", "compute_pool", "slurm_cluster", "owner", "image").first()


def _ask(session: Session, user: Any | None, desired: Desired) -> None:
    """Write a new intent, and queue its reconcile with it."""
    session.desired = desired
    session.generation += 1
    session.requested_at = timezone.now()
    session.requested_by = user
    fields = ["desired", "generation", "requested_at", "requested_by"]
    if desired == Desired.RUNNING:
        session.revision = session.generation
        fields += ["revision", "image", "snapshot", "price_per_hour"]
    session.save(update_fields=fields)
    tasks.queue(session.pk)


def _record(session: Session, user: Any | None, verb: str, message: str = "", reason: str = "") -> None:
    said = {"verb": verb, "reason": reason, "message": message}
    insert([Activity(workspace=session.workspace, session=session, host=session.host, actor=user, **said)])
