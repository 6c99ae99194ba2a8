"""One session as its page shows it: what lives (phase, progress, notices), and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.utils import timezone

from compute.access import require_owner_or_admin
from compute.errors import Forbidden
from compute.models import Membership, Workspace
from compute.workload import StepState
from presets.models import Configuration
from sessions.actions import Actions, actions_for
from sessions.idle import Idleness, idleness_of
from sessions.listing import sentence
from sessions.logs import readable, why_hidden
from sessions.marks import mark_of
from sessions.models import Activity, Desired, Phase, Session, SessionVolume
from sessions.paging import Page, keyset_page
from sessions.slurm_panel import Panel, panel_of
from sessions.spec import load_parts, pending_changes
from sessions.status import QUEUED, STEP_LABELS
from storage.models import Volume

ACTIVITY_SIZE = 15
SOON = 1  # seconds between the looks of a page whose session moves
SELDOM = 10  # of one that runs, or has failed: its cluster may have news
VERBS = {
    "launch": "launched it",
    "pause": "asked to pause it",
    "resume": "resumed it",
    "retry": "tried again",
    "delete": "asked to delete it",
    "open": "opened it",
}
# What Slipway itself sets in every session: nobody's choice, so not worth a line.
OWN_VARIABLES = frozenset({"SLIPWAY_SESSION_NAME", "SLIPWAY_WORKSPACE"})


@dataclass(frozen=True)
class StepRow:
    """A step of the progress. ``since`` is set while it is active; ``elapsed`` is how long it took, or takes so far."""

    label: str
    state: str
    message: str = ""
    since: datetime | None = None
    elapsed: str = ""


@dataclass(frozen=True)
class Happening:
    """A line of the activity. ``who`` did it, or, when empty, the cluster or Slipway said so."""

    activity: Activity
    who: str
    words: str


class Detail:
    """A session for one member. What costs a query is a property, asked once, when a template reads it."""

    def __init__(self, membership: Membership, session: Session, query: Mapping[str, str]) -> None:
        self.session = session
        self._membership = membership
        self._query = query

    @cached_property
    def actions(self) -> Actions:
        return actions_for(self._membership, self.session)

    @cached_property
    def sentence(self) -> str:
        """With its place in the queue, while it is in one; one query then."""
        session = self.session
        told = sentence(session)
        if session.reason != QUEUED or self._restated or session.phase != Phase.PENDING:
            return told
        ahead = Session.objects.needing_apply().filter(requested_at__lt=session.requested_at).count()
        return f"{told} {ahead} {'request is' if ahead == 1 else 'requests are'} ahead of it." if ahead else told

    @property
    def _restated(self) -> bool:
        """Something was asked for that the status does not speak of yet."""
        return self.session.status_generation < self.session.generation

    @property
    def failed(self) -> bool:
        return self.session.phase == Phase.FAILED and not self._restated

    @property
    def unknown(self) -> bool:
        return self.session.phase == Phase.UNKNOWN and not self._restated

    @cached_property
    def log_hidden(self) -> str:
        """Why the member may not read the log; empty for those who may."""
        return why_hidden(self._membership, self.session)

    @property
    def log_tail(self) -> str:
        return "" if self.log_hidden else readable(self.session, self.session.log_tail)

    @property
    def steps(self) -> list[StepRow]:
        """The four steps while the session starts, or to show how far a failed start came; else nothing."""
        session = self.session
        starting = session.desired == Desired.RUNNING and (session.phase in (Phase.PENDING, Phase.FAILED) or self._restated)
        if not starting:
            return []
        if self._restated or not session.steps:
            return [StepRow(label, StepState.WAITING) for label in STEP_LABELS.values()]
        return [_step(step, session.phase_since if self.failed else None) for step in session.steps]

    @property
    def look_again(self) -> int:
        """After how many seconds the page asks what is new. 0: nothing will be, by itself."""
        if self.session.is_moving:
            return SOON
        return SELDOM if self.session.desired == Desired.RUNNING else 0

    @cached_property
    def idleness(self) -> Idleness | None:
        return idleness_of(self.session)

    @cached_property
    def mark(self) -> str:
        """Changes when anything of the living part changes."""
        session = self.session
        shown = (session.phase, self.sentence, session.reason, session.steps, session.warnings, session.log_tail, session.is_moving)
        told = (*shown, self.actions, session.running_since, session.restarts, self.idleness)
        return mark_of(*told)

    @cached_property
    def mounts(self) -> list[SessionVolume]:
        load_parts(self.session)
        return list(self.session.mounts.all())

    @cached_property
    def configurations(self) -> list[Configuration]:
        load_parts(self.session)
        return list(self.session.configurations.all())

    @cached_property
    def pending_changes(self) -> list[tuple[str, str, str]]:
        """What the next resume would change. Nothing while the session is on its way out or was resumed just now."""
        if self.session.desired == Desired.DELETED or self.session.phase == Phase.PENDING:
            return []
        return pending_changes(self.session)

    @property
    def is_quiet(self) -> bool:
        """Nothing to say between the header and the log."""
        idle = self.idleness is not None and self.idleness.is_near
        return not (self.failed or self.unknown or idle or self.session.warnings or self.steps or self.pending_changes)

    @property
    def cost_so_far(self) -> Decimal | None:
        """Since the session was last seen to start running; None when it does not run."""
        since = self.session.running_since
        if since is None or self.session.phase != Phase.RUNNING:
            return None
        hours = Decimal(max(0, (timezone.now() - since).total_seconds())) / 3600
        return self.session.price_per_hour * hours

    @property
    def image_reference(self) -> str:
        """What runs, not what the catalog says by now."""
        return self.session.snapshot.get("image") or self.session.image.reference

    @property
    def resources(self) -> dict[str, Any]:
        size = self.session.pod_size
        return self.session.snapshot.get("resources") or {"cpu": size.cpu, "memory": size.memory, "gpus": size.gpus}

    @property
    def own_variables(self) -> list[str]:
        return sorted(self.session.env)

    @property
    def given_variables(self) -> list[str]:
        """Names that the secrets bundle, configurations and Slurm add to the user's own."""
        snapshot = self.session.snapshot
        names = {*snapshot.get("env", {}), *snapshot.get("secret_env", {})}
        return sorted(names - set(self.session.env) - OWN_VARIABLES)

    @cached_property
    def slurm(self) -> Panel | None:
        """The attached Slurm cluster; None when there is none."""
        return panel_of(self._membership, self.session)

    @cached_property
    def activity(self) -> Page[Activity]:
        return keyset_page(self.session.activity.select_related("actor"), "at", self._query, ACTIVITY_SIZE)

    @property
    def happenings(self) -> list[Happening]:
        return [_happening(activity) for activity in self.activity.rows]


def _happening(activity: Activity) -> Happening:
    actor = activity.actor
    if actor is None and activity.verb == "pause" and activity.reason:
        return Happening(activity, "Slipway", "paused it")
    if activity.verb in VERBS:
        return Happening(activity, actor.get_full_name() or actor.get_username() if actor else "Someone", VERBS[activity.verb])
    return Happening(activity, "", "The cluster refused" if activity.verb == "error" else activity.verb.capitalize())


def _step(step: Mapping[str, Any], failed_at: datetime | None) -> StepRow:
    """A step that took too long is still active on the cluster: for who waited, it has failed."""
    started, finished = _time(step.get("started_at")), _time(step.get("finished_at"))
    is_active = step["state"] == StepState.ACTIVE and failed_at is None
    state = StepState.FAILED if step["state"] == StepState.ACTIVE and failed_at else step["state"]
    until = timezone.now() if is_active else finished or failed_at
    elapsed = duration(until - started) if started and until else ""
    return StepRow(step.get("label", step["step"]), state, step.get("message", ""), started if is_active else None, elapsed)


def duration(length: timedelta) -> str:
    """ "12 s", "3 min 5 s", "1 h 20 min"; sessions.js says the same."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def session_for_detail(workspace: Workspace, host: str) -> Session | None:
    """The session with its catalog rows, or None. One query; successors of its image come along, two deep."""
    sessions = Session.objects.in_workspace(workspace).for_display().select_related("image__redirect_to__redirect_to")
    session = sessions.filter(host=host).first()
    if session is not None:
        session.workspace = workspace
    return session


@dataclass(frozen=True)
class VolumeOnDelete:
    """A volume on the page that asks before a session is deleted. ``kept_because`` says why it can't be ticked."""

    volume: Volume
    kept_because: str = ""


def volumes_on_delete(membership: Membership, session: Session) -> list[VolumeOnDelete]:
    """The session's volumes, and which of them the member may delete with it. Two queries."""
    mounts = list(session.mounts.select_related("volume"))
    others: dict[int, str] = dict(
        SessionVolume.objects.filter(volume__in=[mount.volume_id for mount in mounts])
        .exclude(session=session)
        .values_list("volume_id", "session__name")
    )
    return [VolumeOnDelete(mount.volume, _kept_because(membership, mount.volume, others)) for mount in mounts]


def _kept_because(membership: Membership, volume: Volume, others: Mapping[int, str]) -> str:
    if volume.pk in others:
        return f"The session “{others[volume.pk]}” uses it as well."
    try:
        require_owner_or_admin(membership, volume.owner_id, "delete this volume")
    except Forbidden as forbidden:
        return str(forbidden)
    return ""
