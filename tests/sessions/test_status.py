"""``sessions.status.derive`` as tables: what was asked and seen → what the page says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compute.workload import Observation, Step, StepState, StepStatus
from sessions.models import Desired, Phase
from sessions.status import Intent, View, derive, steps_as_json

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def intent(**changes: Any) -> Intent:
    values: dict[str, Any] = {
        "desired": Desired.RUNNING,
        "generation": 1,
        "revision": 1,
        "applied_generation": 1,
        "waiting_since": ago(5),
        "applied_at": ago(5),
    }
    return Intent(**{**values, **changes})


def seen(**changes: Any) -> Observation:
    values: dict[str, Any] = {"name": "s", "namespace": "n", "at": NOW, "exists": True, "revision": 1}
    return Observation(**{**values, **changes})


def view(asked: Intent, observation: Observation | None = None, **changes: Any) -> View:
    return View(intent=asked, observation=observation, now=NOW, **changes)


PULLING = StepStatus(Step.IMAGE, StepState.ACTIVE, ago(4), message="Installing 93 packages.")
LOST = seen(reason="NodeLost", message="It is lost.", steps=(StepStatus(Step.SERVER, StepState.ACTIVE, ago(4), message="It is lost."),))
ERROR = {"applied_generation": 0, "apply_reason": "DiskFull", "apply_message": "The disk is full."}
TABLE = [
    ("queued", intent(applied_generation=0), None, Phase.PENDING, "Queued"),
    ("sent and not seen", intent(), None, Phase.PENDING, "Starting"),
    ("a step is active", intent(), seen(steps=(PULLING,)), Phase.PENDING, "PullingImage"),
    ("refused for now", intent(**ERROR), None, Phase.PENDING, "DiskFull"),
    ("refused for good", intent(**ERROR, apply_final=True), None, Phase.FAILED, "DiskFull"),
    ("ready", intent(), seen(ready=True, endpoint="unix:/s"), Phase.RUNNING, "Ready"),
    ("ready without an endpoint", intent(), seen(ready=True), Phase.PENDING, "Starting"),
    (
        "ready, an older revision",
        intent(revision=2, generation=2, applied_generation=2),
        seen(ready=True, endpoint="unix:/s"),
        Phase.PENDING,
        "Starting",
    ),
    ("crashed", intent(), seen(exists=False, failed=True, reason="Crashed", message="Exit code 1."), Phase.FAILED, "Crashed"),
    ("crashed before the retry", intent(revision=2, generation=2), seen(failed=True, reason="Crashed"), Phase.PENDING, "Queued"),
    ("too slow", intent(waiting_since=ago(901)), seen(steps=(PULLING,)), Phase.FAILED, "StartTimeout"),
    ("too slow before, and still", intent(timed_out=("StartTimeout", "Too slow.")), seen(), Phase.FAILED, "StartTimeout"),
    (
        "too slow before, ready now",
        intent(timed_out=("StartTimeout", "Too slow.")),
        seen(ready=True, endpoint="unix:/s"),
        Phase.RUNNING,
        "Ready",
    ),
    ("its node is lost", intent(deadlines={Step.SERVER: 9}), LOST, Phase.PENDING, "NodeLost"),
    ("its node is lost for long", intent(deadlines={Step.SERVER: 3}), LOST, Phase.FAILED, "NodeLost"),
    ("its node is lost, its pod given up", intent(waiting_since=ago(901)), LOST, Phase.FAILED, "NodeLost"),
    ("its node was lost, and is not back", intent(timed_out=("NodeLost", "Away.")), seen(), Phase.FAILED, "NodeLost"),
    (
        "its node was lost, and is back",
        intent(timed_out=("NodeLost", "Away.")),
        seen(ready=True, endpoint="unix:/s"),
        Phase.RUNNING,
        "Ready",
    ),
    ("a step is too slow", intent(deadlines={Step.IMAGE: 3}), seen(steps=(PULLING,)), Phase.FAILED, "ImageTimeout"),
    ("another step may be as slow", intent(deadlines={Step.COMPUTE: 3}), seen(steps=(PULLING,)), Phase.PENDING, "PullingImage"),
    ("pausing", intent(desired=Desired.PAUSED, generation=2), seen(ready=True, endpoint="unix:/s"), Phase.TERMINATING, "Pausing"),
    ("pausing, gone before it was sent", intent(desired=Desired.PAUSED, generation=2), seen(exists=False), Phase.TERMINATING, "Pausing"),
    ("pausing, stuck", intent(desired=Desired.PAUSED), seen(stuck=True, message="Late."), Phase.TERMINATING, "StuckTerminating"),
    ("deleting, stuck", intent(desired=Desired.DELETED), seen(stuck=True, message="Late."), Phase.TERMINATING, "StuckTerminating"),
    ("paused", intent(desired=Desired.PAUSED), seen(exists=False), Phase.PAUSED, "Paused"),
    ("paused after a crash", intent(desired=Desired.PAUSED), seen(exists=False, failed=True), Phase.PAUSED, "Paused"),
    ("deleting", intent(desired=Desired.DELETED, generation=2), seen(), Phase.TERMINATING, "Deleting"),
    ("deleting, still remembered", intent(desired=Desired.DELETED), seen(exists=False), Phase.TERMINATING, "Deleting"),
    ("deleted", intent(desired=Desired.DELETED), seen(exists=False, retained=False), Phase.TERMINATING, "Deleted"),
]


@pytest.mark.parametrize(("asked", "observation", "phase", "reason"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_phase_and_reason(asked: Intent, observation: Observation | None, phase: str, reason: str) -> None:
    status = derive(view(asked, observation))
    assert (status.phase, status.reason) == (phase, reason)
    assert status.message


def test_only_a_deleted_session_that_is_gone_is_forgotten() -> None:
    gone = seen(exists=False, retained=False)
    assert derive(view(intent(desired=Desired.DELETED), gone)).gone
    assert not derive(view(intent(desired=Desired.DELETED, generation=2), gone)).gone
    assert not derive(view(intent(desired=Desired.DELETED), None)).gone
    assert not derive(view(intent(), gone)).gone


@pytest.mark.parametrize(
    ("asked", "observation", "again"),
    [
        (intent(), seen(), False),
        (intent(applied_at=ago(11)), None, True),
        (intent(applied_at=ago(11)), seen(), False),
        (intent(applied_at=ago(31)), seen(), True),
        (intent(applied_at=ago(11)), seen(ready=True, endpoint="unix:/s"), False),
        (intent(applied_at=ago(11)), seen(failed=True), False),
        (intent(applied_at=ago(1)), seen(exists=False), False),
        (intent(applied_at=ago(4)), seen(exists=False), True),
        (intent(applied_at=ago(11), generation=2), seen(), False),
        (intent(desired=Desired.PAUSED, applied_at=ago(11)), seen(), True),
        (intent(desired=Desired.DELETED, applied_at=ago(11)), seen(), True),
        (intent(applied_at=NOW + timedelta(hours=1)), seen(), True),
    ],
)
def test_what_has_no_effect_is_applied_again(asked: Intent, observation: Observation | None, again: bool) -> None:
    assert derive(view(asked, observation)).reapply is again


def test_a_lost_node_fails_with_its_own_words_and_nobody_elses_advice() -> None:
    status = derive(view(intent(deadlines={Step.SERVER: 3}), LOST))
    assert status.message == "It is lost."


def test_a_silent_cluster_makes_every_phase_unknown_with_the_time_and_the_cause() -> None:
    for asked in (intent(), intent(desired=Desired.PAUSED), intent(desired=Desired.DELETED)):
        status = derive(view(asked, seen(), unreachable_since=ago(20), unreachable_message="Connection refused."))
        assert status.phase == Phase.UNKNOWN
        assert "11:59:40" in status.message
        assert "Connection refused." in status.message
        assert not status.gone
    assert derive(view(intent(), seen(), unreachable_since=ago(5))).phase == Phase.PENDING
    # The clock was set back meanwhile.
    assert derive(view(intent(), seen(), unreachable_since=ago(-3600))).phase == Phase.UNKNOWN


def test_an_error_that_is_tried_again_is_told_while_pausing_and_deleting() -> None:
    for desired in (Desired.PAUSED, Desired.DELETED):
        status = derive(view(intent(desired=desired, **ERROR), seen()))
        assert status.phase == Phase.TERMINATING
        assert status.message == "The disk is full. Trying again."


def test_the_page_gets_four_steps_in_order_whatever_the_cluster_mentions() -> None:
    rows = steps_as_json(view(intent(), seen(steps=(PULLING,))))
    assert [row["step"] for row in rows] == ["compute", "image", "storage", "server"]
    assert [row["state"] for row in rows] == ["waiting", "active", "waiting", "waiting"]
    assert rows[1]["message"] == "Installing 93 packages."
    assert rows[1]["started_at"] == ago(4).isoformat()
    assert rows[1]["finished_at"] is None
