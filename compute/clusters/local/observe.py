"""From a session's files to an Observation."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from typing import Any

from compute.clusters.local import layout
from compute.clusters.local.layout import Session
from compute.clusters.local.status import State, Status
from compute.workload import Observation, Step, StepState, StepStatus

NODE = socket.gethostname()


def observation(session: Session) -> Observation:
    """What is true of the session now. Raises ``OSError`` when its files cannot be read."""
    wanted = layout.read_json(session.desired)
    status = Status.load(session.status)
    now = datetime.now(UTC)
    if wanted is None:
        # Written right after its folder: without it nothing was ever started, or all is gone.
        return Observation(name=session.name, namespace=session.namespace, at=now, exists=False, retained=False)
    if wanted["want"] != "run":
        exists = wanted["want"] == "remove" or status is None or status.state != State.PAUSED
        revision = status.revision if status else 0
        return Observation(name=session.name, namespace=session.namespace, at=now, exists=exists, revision=revision, node=NODE)
    if status is None or status.revision != wanted["revision"] or status.state == State.PAUSED:
        status = Status(revision=wanted["revision"], steps={"compute": {"state": "active", "message": "Starting on this machine…"}})
    return _running(session, status, now)


def _running(session: Session, status: Status, now: datetime) -> Observation:
    failed = status.state == State.FAILED
    # A supervisor that is gone cannot say that the IDE is gone too.
    main = status.process
    ready = status.state == State.RUNNING and main is not None and main.alive()
    return Observation(
        name=session.name,
        namespace=session.namespace,
        at=now,
        exists=not failed,
        revision=status.revision,
        ready=ready,
        failed=failed,
        reason=status.reason,
        message=status.message,
        steps=tuple(_step(step, status.steps.get(step)) for step in Step),
        endpoint=f"unix:{session.socket}" if ready else "",
        node=NODE,
        log_tail=status.log_tail,
        warnings=tuple(status.warnings),
    )


def _step(step: Step, told: dict[str, Any] | None) -> StepStatus:
    if told is None:
        return StepStatus(step, StepState.WAITING)
    started, finished = told.get("started_at"), told.get("finished_at")
    return StepStatus(
        step,
        StepState(told["state"]),
        datetime.fromisoformat(started) if started else None,
        datetime.fromisoformat(finished) if finished else None,
        told["message"],
    )
