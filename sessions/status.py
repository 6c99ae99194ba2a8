"""What a session's page says, derived from what was asked, what was applied and what the cluster said. Pure.

An ordered list of small checks; the first that has something to say decides. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from compute.workload import NODE_LOST, Observation, Step, StepState, StepStatus
from sessions.models import Desired, Phase, Session

# A cluster that is silent for a moment is not news.
UNREACHABLE_AFTER = timedelta(seconds=15)
# After this long without effect, what was applied is applied again (it is idempotent, and heals what was lost).
REAPPLY_AFTER = timedelta(seconds=10)
# A start that the cluster is busy with is not without effect; but something that it needs may have been taken away.
REAPPLY_START_AFTER = timedelta(seconds=30)
# A start that an observation still denies this soon after it was applied has only not been seen yet.
SETTLE = timedelta(seconds=3)
QUEUED = "Queued"
START_TIMEOUT = "StartTimeout"
# Reason, and what to do about it, when a step takes longer than its deadline.
STEP_TIMEOUTS = {
    Step.COMPUTE: ("SchedulingTimeout", "Retry, or choose a smaller pod size or another compute pool."),
    Step.IMAGE: ("ImageTimeout", "Retry; if it happens again, tell the people who curate this image."),
    Step.STORAGE: ("StorageTimeout", "Retry; if it happens again, a volume can't be mounted where the session runs."),
    Step.SERVER: ("ServerTimeout", "Its log says more. Retry, or choose another image."),
}
TIMEOUTS = frozenset({START_TIMEOUT, NODE_LOST, *(reason for reason, _ in STEP_TIMEOUTS.values())})
STEP_LABELS = {
    Step.COMPUTE: "Finding compute",
    Step.IMAGE: "Preparing the image",
    Step.STORAGE: "Mounting storage",
    Step.SERVER: "Starting the IDE",
}


@dataclass(frozen=True)
class Intent:
    """The spec and applied fields that matter here. ``generation`` is applied when ``applied_generation`` equals it.

    ``waiting_since``: since when it has been waiting to run (now, if it was not waiting a moment ago).
    ``timed_out``: that wait has been given up for this generation already, with this reason and message.
    ``at_rest``: the cluster has confirmed its pause; it needs nothing of the cluster.
    ``deadlines``: seconds that each step may take; a step that is not in it may take what is left of ``start_timeout``.
    """

    desired: str
    generation: int
    revision: int
    applied_generation: int
    waiting_since: datetime
    applied_at: datetime | None = None
    apply_reason: str = ""
    apply_message: str = ""
    apply_final: bool = False
    start_timeout: int = 900
    timed_out: tuple[str, str] | None = None
    at_rest: bool = False
    deadlines: Mapping[Step, int] = field(default_factory=dict)

    @property
    def applied(self) -> bool:
        return self.applied_generation >= self.generation


@dataclass(frozen=True)
class Status:
    """``gone``: the session may be forgotten. ``reapply``: the cluster does not hold what was applied."""

    phase: str
    reason: str = ""
    message: str = ""
    gone: bool = False
    reapply: bool = False


@dataclass(frozen=True)
class View:
    """Everything a check may look at. ``observation`` is None as long as the cluster has said nothing."""

    intent: Intent
    observation: Observation | None
    now: datetime
    unreachable_since: datetime | None = None
    unreachable_message: str = ""

    @property
    def current(self) -> Observation | None:
        """The observation, if it speaks of the wanted revision."""
        seen = self.observation
        return seen if seen is not None and seen.revision == self.intent.revision else None

    @property
    def unrecorded(self) -> bool:
        """Whether it has ended as wanted before the worker has recorded that it asked for that."""
        seen = self.observation
        return self.intent.desired != Desired.RUNNING and not self.intent.applied and seen is not None and not seen.exists

    @property
    def age_of_apply(self) -> timedelta:
        applied_at = self.intent.applied_at
        # A clock that was set back must not make things look applied in the future for ever.
        return abs(self.now - applied_at) if applied_at else timedelta(0)

    @property
    def stalled(self) -> bool:
        return self.intent.applied and self.age_of_apply > REAPPLY_AFTER


def intent_of(session: Session, now: datetime, start_timeout: int, deadlines: Mapping[Step, int]) -> Intent:
    """The intent in a row. Errors of older generations are left out; encrypted fields are not read."""
    same = session.status_generation == session.generation
    waiting = same and session.phase == Phase.PENDING
    wrong = session.error_generation == session.generation
    return Intent(
        desired=session.desired,
        generation=session.generation,
        revision=session.revision,
        applied_generation=session.applied_generation,
        waiting_since=session.phase_since if waiting else now,
        applied_at=session.applied_at,
        apply_reason=session.apply_reason if wrong else "",
        apply_message=session.apply_message if wrong else "",
        apply_final=session.apply_final and wrong,
        timed_out=(session.reason, session.message) if same and session.phase == Phase.FAILED and session.reason in TIMEOUTS else None,
        start_timeout=start_timeout,
        at_rest=same and session.desired == Desired.PAUSED and session.phase == Phase.PAUSED,
        deadlines=deadlines,
    )


def derive(view: View) -> Status:
    """The status of a session. Total: every view has one."""
    for check in CHECKS:
        status = check(view)
        if status is not None:
            return status
    raise AssertionError("The last check decides everything.")


def _unreachable(view: View) -> Status | None:
    since = view.unreachable_since
    if (
        view.intent.at_rest or since is None or abs(view.now - since) < UNREACHABLE_AFTER
    ):  # not even a clock that was set back makes it wait
        return None
    told = f" {view.unreachable_message}" if view.unreachable_message else ""
    return Status(Phase.UNKNOWN, "ClusterUnreachable", f"The cluster has not answered since {since:%H:%M:%S} UTC.{told}")


def _apply_failed(view: View) -> Status | None:
    """The cluster refused for good what was asked; with a pause or delete it keeps being tried."""
    intent = view.intent
    if intent.applied or not intent.apply_final:
        return None
    return Status(Phase.FAILED, intent.apply_reason, intent.apply_message)


def _deleting(view: View) -> Status | None:
    if view.intent.desired != Desired.DELETED:
        return None
    seen = view.observation
    gone = view.intent.applied and seen is not None and not seen.exists and not seen.retained
    if gone:
        return Status(Phase.TERMINATING, "Deleted", "Everything but the volumes is gone.", gone=True)
    return _ending(view, "Deleting", "Shutting down and removing the session.")


def _pausing(view: View) -> Status | None:
    if view.intent.desired != Desired.PAUSED:
        return None
    seen = view.observation
    if view.intent.applied and seen is not None and not seen.exists:
        return Status(Phase.PAUSED, "Paused", "Compute is released; every volume stays attached. Resume to go on.")
    return _ending(view, "Pausing", "Releasing compute; volumes stay attached.")


def _ending(view: View, reason: str, message: str) -> Status:
    """On its way out, unless something holds it up."""
    seen = view.observation
    if seen is not None and seen.stuck:
        reason, message = "StuckTerminating", seen.message
    return Status(Phase.TERMINATING, reason, _trouble(view) or message, reapply=view.stalled)


def _ready(view: View) -> Status | None:
    seen = view.current
    if seen is None or not seen.ready or not seen.endpoint:
        return None
    return Status(Phase.RUNNING, "Ready", "Ready to open.", reapply=seen.drifted)


def _failed(view: View) -> Status | None:
    seen = view.current
    if seen is None or not seen.failed:
        return None
    return Status(Phase.FAILED, seen.reason or "Failed", seen.message or "The cluster gave up on this session.")


def _timed_out(view: View) -> Status | None:
    """Waiting for ever is a failure; it stays one until somebody retries, or the IDE answers after all."""
    intent = view.intent
    if intent.timed_out:
        return Status(Phase.FAILED, *intent.timed_out)
    overdue, seen = _overdue(view), view.current
    if overdue is not None and seen is not None and seen.reason == NODE_LOST:
        return Status(Phase.FAILED, NODE_LOST, seen.message)  # no log, image or size is to blame
    return overdue


def _overdue(view: View) -> Status | None:
    """A step, or all of the start, has taken longer than it may."""
    intent = view.intent
    active = next((step for step in _steps(view) if step.state == StepState.ACTIVE), None)
    if active is not None and (overdue := _overdue_step(view, active)):
        return overdue
    if view.now - intent.waiting_since <= timedelta(seconds=intent.start_timeout):
        return None
    where = STEP_LABELS[active.step].lower() if active else "waiting for the cluster"
    message = (
        f"The session did not start within {_minutes(intent.start_timeout)}; it was still {where}. Retry, or choose another size or pool."
    )
    return Status(Phase.FAILED, START_TIMEOUT, message)


def _overdue_step(view: View, active: StepStatus) -> Status | None:
    deadline = view.intent.deadlines.get(active.step)
    if deadline is None or active.started_at is None or view.now - active.started_at <= timedelta(seconds=deadline):
        return None
    reason, advice = STEP_TIMEOUTS[active.step]
    told = f" {active.message}" if active.message else ""
    return Status(Phase.FAILED, reason, f"{STEP_LABELS[active.step]} took longer than {_minutes(deadline)}.{told} {advice}")


def _minutes(seconds: int) -> str:
    minutes = max(1, round(seconds / 60))
    return "a minute" if minutes == 1 else f"{minutes} minutes"


def _pending(view: View) -> Status:
    """Asked to run, and not there yet."""
    trouble = _trouble(view)
    if trouble:
        return Status(Phase.PENDING, view.intent.apply_reason, trouble)
    if not view.intent.applied:
        return Status(Phase.PENDING, QUEUED, "Waiting for its turn to be sent to the cluster.")
    seen = view.current
    lost = seen is not None and not seen.exists and view.age_of_apply > SETTLE
    stalled = view.stalled and (seen is None or view.age_of_apply > REAPPLY_START_AFTER)
    reapply = lost or stalled or (seen is not None and seen.drifted)
    active = next((s for s in _steps(view) if s.state == StepState.ACTIVE), None)
    if active is not None:
        reason = NODE_LOST if seen is not None and seen.reason == NODE_LOST else _camel(active.step)
        return Status(Phase.PENDING, reason, active.message or f"{STEP_LABELS[active.step]}.", reapply=reapply)
    return Status(Phase.PENDING, "Starting", "The cluster is starting the session.", reapply=reapply)


CHECKS: tuple[Callable[[View], Status | None], ...] = (
    _unreachable,
    _apply_failed,
    _deleting,
    _pausing,
    _ready,
    _failed,
    _timed_out,
    _pending,
)


def _trouble(view: View) -> str:
    """The last error of the newest generation, while it is being tried again."""
    return f"{view.intent.apply_message} Trying again." if view.intent.apply_message and not view.intent.applied else ""


def _steps(view: View) -> tuple[Any, ...]:
    return view.current.steps if view.current else ()


def _camel(step: Step) -> str:
    return {Step.COMPUTE: "Scheduling", Step.IMAGE: "PullingImage", Step.STORAGE: "MountingStorage", Step.SERVER: "StartingServer"}[step]


def steps_as_json(view: View) -> list[dict[str, Any]]:
    """The four steps for the page, in their order; what the cluster has not mentioned is waiting."""
    told = {status.step: status for status in _steps(view)}
    rows = []
    for step, label in STEP_LABELS.items():
        status = told.get(step)
        rows.append(
            {
                "step": str(step),
                "label": label,
                "state": str(status.state if status else StepState.WAITING),
                "started_at": status.started_at.isoformat() if status and status.started_at else None,
                "finished_at": status.finished_at.isoformat() if status and status.finished_at else None,
                "message": status.message if status else "",
            }
        )
    return rows
