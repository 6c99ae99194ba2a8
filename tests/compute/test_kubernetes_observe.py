"""From objects of a cluster to what a session's page is told: tables of what real clusters answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compute.clusters.kubernetes import labels, records
from compute.clusters.kubernetes.observe import observation
from compute.workload import Observation, Step, StepState, StepStatus

START = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
NS, HOST = "team-a", "lab-abc123"
NOBODY = "0/9 nodes are available: 1 Insufficient nvidia.com/gpu."


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def text(seconds: float) -> str:
    return at(seconds).isoformat().replace("+00:00", "Z")


def statefulset(replicas: int = 1, revision: int = 1) -> records.StatefulSet:
    meta = {
        "name": HOST,
        "namespace": NS,
        "uid": "s1",
        "generation": 1,
        "creationTimestamp": text(0),
        "annotations": {labels.REVISION: str(revision)},
    }
    return records.statefulset({"metadata": meta, "spec": {"replicas": replicas}})


def condition(kind: str, status: str, seconds: float, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "lastTransitionTime": text(seconds), "reason": reason, "message": message}


SCHEDULED = condition("PodScheduled", "True", 1)
UNREADY = condition("Ready", "False", 1, "ContainersNotReady")


def run(start: float, end: float, code: int = 1, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": text(start), "finishedAt": text(end)}}


def container(
    state: dict[str, Any], *, name: str = "ide", restarts: int = 0, last: dict[str, Any] | None = None, ready: bool = False
) -> dict[str, Any]:
    pulled = "sha256:1" if "waiting" not in state or last else ""
    return {"name": name, "ready": ready, "restartCount": restarts, "imageID": pulled, "state": state, "lastState": last or {}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def pod(
    *containers: dict[str, Any],
    conditions: tuple[dict[str, Any], ...] = (SCHEDULED, UNREADY),
    init: tuple[dict[str, Any], ...] = (),
    node: str = "node1",
    ip: str = "",
    claims: tuple[str, ...] = ("home",),
    revision: int = 1,
    deleted: float | None = None,
    **status: Any,
) -> records.Pod:
    meta = {"name": f"{HOST}-0", "namespace": NS, "uid": "p1", "creationTimestamp": text(0), "labels": {labels.SESSION: HOST}}
    meta["annotations"] = {labels.REVISION: str(revision)}
    if deleted is not None:
        meta["deletionTimestamp"] = text(deleted)
    return records.pod(
        {
            "metadata": meta,
            "spec": {
                "nodeName": node,
                "containers": [{"name": "ide", "image": "registry/lab:1", "ports": [{"containerPort": 8888}]}],
                "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims],
            },
            "status": {"podIP": ip, "conditions": conditions, "containerStatuses": containers, "initContainerStatuses": init, **status},
        }
    )


def event(
    kind: str, name: str, about: str, reason: str, message: str, first: float, last: float | None = None, count: int = 1
) -> records.Event:
    found = records.event(
        {
            "metadata": {"name": "e", "namespace": NS, "uid": f"{reason}{first}"},
            "involvedObject": {"kind": kind, "name": name, "namespace": NS, "uid": about},
            "reason": reason,
            "message": message,
            "firstTimestamp": text(first),
            "lastTimestamp": text(first if last is None else last),
            "count": count,
        }
    )
    assert found is not None
    return found


def of_pod(reason: str, message: str, first: float, last: float | None = None, count: int = 1, about: str = "p1") -> records.Event:
    return event("Pod", f"{HOST}-0", about, reason, message, first, last, count)


def claim(phase: str = "Bound") -> dict[str, records.PVC]:
    return {"home": records.pvc({"metadata": {"name": "home", "namespace": NS, "uid": "c1"}, "status": {"phase": phase}})}


def seen(pod: records.Pod | None, *events: records.Event, now: float = 10, **more: Any) -> Observation:
    given = {"statefulset": statefulset(), "claims": claim(), **more}
    return observation(NS, HOST, pods=[pod] if pod else [], events=events, at=at(now), **given)


def states(observed: Observation) -> str:
    """The four steps as one word: d(one), a(ctive), w(aiting), f(ailed)."""
    return "".join(step.state[0] for step in observed.steps)


def test_a_ready_pod_is_told_wholly() -> None:
    ready = (SCHEDULED, condition("Ready", "True", 8))
    ours = pod(container({"running": {"startedAt": text(5)}}, ready=True, restarts=2), conditions=ready, ip="10.0.0.7", phase="Running")
    events = (of_pod("Pulling", "Pulling image", 2), of_pod("Pulled", "Pulled image", 4))
    assert seen(ours, *events) == Observation(
        name=HOST,
        namespace=NS,
        at=at(10),
        exists=True,
        revision=1,
        ready=True,
        steps=(
            StepStatus(Step.COMPUTE, StepState.DONE, at(0), at(1)),
            StepStatus(Step.IMAGE, StepState.DONE, at(2), at(4)),
            StepStatus(Step.STORAGE, StepState.DONE, at(1), at(2)),
            StepStatus(Step.SERVER, StepState.DONE, at(4), at(8)),
        ),
        endpoint="10.0.0.7:8888",
        restarts=2,
        node="node1",
    )


def test_an_ipv6_endpoint_is_in_brackets() -> None:
    ready = (SCHEDULED, condition("Ready", "True", 8))
    ours = pod(container({"running": {"startedAt": text(5)}}, ready=True), conditions=ready, ip="fd00::7")
    assert seen(ours).endpoint == "[fd00::7]:8888"


def test_what_is_not_there_is_said() -> None:
    gone = Observation(name=HOST, namespace=NS, at=at(10), exists=False, retained=False)
    assert seen(None, statefulset=None) == gone
    assert seen(None, statefulset=statefulset(0)) == replace(gone, retained=True, revision=1)
    assert seen(None).exists and states(seen(None)) == "awww"


def test_a_pod_outlives_its_statefulset_and_its_pause() -> None:
    ours = pod(
        container({"running": {"startedAt": text(5)}}, ready=True),
        conditions=(SCHEDULED, condition("Ready", "True", 8)),
        ip="10.0.0.7",
        deleted=20,
    )
    orphan, paused = seen(ours, statefulset=None), seen(ours, statefulset=statefulset(0))
    assert orphan.exists and not orphan.retained and not orphan.ready
    assert paused.exists and paused.retained and not paused.ready and paused.message == "Stopping."
    assert not paused.stuck and not orphan.stuck


def test_a_pod_that_outlives_its_grace_is_stuck() -> None:
    ours = pod(container({"running": {"startedAt": text(5)}}), deleted=20)
    for wanted in (None, statefulset(0), statefulset(1), statefulset(1, revision=2)):
        assert not seen(ours, statefulset=wanted, now=39).stuck
        late = seen(ours, statefulset=wanted, now=41)
        assert late.stuck
        assert "was to end by 12:00:20 UTC and is still there: the node node1 may not answer" in late.message
        assert replace(late, at=at(50)) == seen(ours, statefulset=wanted, now=50)  # said once, not every second


def test_a_pod_that_a_lost_node_does_not_end_is_told_of_as_such() -> None:
    silent = (SCHEDULED, condition("Ready", "False", 9))
    ours = pod(container({"running": {"startedAt": text(5)}}, ready=True), conditions=silent, deleted=20)
    for wanted in (statefulset(1), statefulset(1, revision=2)):
        late = seen(ours, statefulset=wanted, now=41)
        assert (late.reason, late.stuck, states(late)) == ("NodeLost", True, "awww")
        assert "node1 has not answered since 12:00:09" in late.message


def test_a_wanted_pod_that_is_being_deleted_was_deleted_by_somebody_else() -> None:
    ours = pod(container({"running": {"startedAt": text(5)}}), deleted=20)
    theirs, retried = seen(ours), seen(ours, statefulset=statefulset(revision=2))
    assert (theirs.reason, states(theirs)) == ("PodDeleted", "awww")
    assert "was deleted on the cluster" in theirs.message and theirs.steps[0].message == theirs.message
    assert (retried.reason, retried.message, states(retried)) == ("Stopping", "Stopping.", "awww")


def test_what_ran_for_long_and_answers_no_more_has_been_starting_only_since_then() -> None:
    ready_no_more = (SCHEDULED, condition("Ready", "False", 3600, "ContainersNotReady"))
    busy = pod(container({"running": {"startedAt": text(5)}}), conditions=ready_no_more, ip="10.0.0.7")
    crashed = pod(container(run(5, 3600)), conditions=ready_no_more, ip="10.0.0.7")
    for observed in (seen(busy, now=3601), seen(crashed, now=3601), seen(busy, of_pod("Pulled", "", 4), now=3601)):
        assert states(observed) == "ddda"
        assert observed.steps[3].started_at == at(3600)
    first = pod(container({"running": {"startedAt": text(5)}}), conditions=(SCHEDULED, UNREADY))
    assert seen(first).steps[3].started_at == at(5)


def test_a_pod_of_an_older_revision_is_not_ready() -> None:
    ours = pod(
        container({"running": {"startedAt": text(5)}}, ready=True), conditions=(SCHEDULED, condition("Ready", "True", 8)), ip="10.0.0.7"
    )
    observed = seen(ours, statefulset=statefulset(revision=2))
    assert (observed.exists, observed.revision, observed.ready, observed.endpoint, states(observed)) == (True, 2, False, "", "awww")


BACKOFF = container(waiting("ImagePullBackOff", "Back-off pulling image"))
UNSCHEDULED = condition("PodScheduled", "False", 0, "Unschedulable", NOBODY)
NO_CLAIM = condition("PodScheduled", "False", 0, "Unschedulable", '0/9 nodes are available: 9 persistentvolumeclaim "home" not found.')
UNBOUND = condition(
    "PodScheduled", "False", 0, "Unschedulable", "0/9 nodes are available: 9 pod has unbound immediate PersistentVolumeClaims."
)
PULL_FAILED = "Failed to pull image: not found"
LOOP = waiting("CrashLoopBackOff", "back-off 40s")
RUNC = 'failed to create task: runc create failed: unable to start container process: exec: "jupyter": not found in $PATH: unknown'
NO_PROGRAM = {
    "terminated": {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z", "finishedAt": text(51), "message": RUNC}
}
NOT_FOUND = 'The container can\'t be started: exec: "jupyter": not found in $PATH. Choose another image'


@pytest.mark.parametrize(
    ("observed", "reason", "steps", "words"),
    [
        (seen(pod(conditions=(UNSCHEDULED,), node="")), "Unschedulable", "awww", NOBODY),
        (seen(pod(conditions=(NO_CLAIM,), node=""), claims={}), "ClaimMissing", "wwaw", "does not exist"),
        (seen(pod(conditions=(UNBOUND,), node="")), "Scheduling", "awww", "Waiting for the scheduler."),
        (seen(pod(conditions=(UNBOUND,), node=""), claims=claim("Pending")), "ClaimNotBound", "wwaw", "Waiting for storage"),
        (
            seen(
                pod(conditions=(UNBOUND,), node=""),
                event("PersistentVolumeClaim", "home", "c1", "ProvisioningFailed", 'storageclass "fast" not found', 1),
                claims=claim("Pending"),
            ),
            "ClaimNotBound",
            "wwaw",
            'storageclass "fast" not found',
        ),
        (
            seen(
                None,
                event(
                    "StatefulSet",
                    HOST,
                    "s1",
                    "FailedCreate",
                    'create Pod x failed error: pods "x" is forbidden: exceeded quota: slipway',
                    3,
                ),
            ),
            "QuotaExceeded",
            "awww",
            "exceeded quota: slipway",
        ),
        (seen(pod(container(waiting("ContainerCreating")))), "", "dwaw", ""),
        (seen(pod(container(waiting("ContainerCreating"))), of_pod("Pulling", "Pulling image", 3)), "", "dadw", ""),
        (
            seen(pod(container(waiting("ContainerCreating"))), of_pod("FailedMount", "no such device", 3)),
            "FailedMount",
            "dwaw",
            "no such device",
        ),
        (seen(pod(BACKOFF), of_pod("Failed", PULL_FAILED, 3)), "ImagePullBackOff", "dadw", PULL_FAILED),
        (seen(pod(container(LOOP, restarts=1, last=run(5, 6, 3)))), "Crashed", "ddda", "exit code 3"),
        (seen(pod(container({"running": {"startedAt": text(5)}}))), "", "ddda", ""),
        (
            seen(pod(container(waiting("PodInitializing")), init=(container(LOOP, name="init-0-setup", restarts=1, last=run(5, 6, 7)),))),
            "InitScriptFailed",
            "ddda",
            "“setup” ended with exit code 7",
        ),
        (
            seen(pod(container({"running": {"startedAt": text(2)}}, ready=True), conditions=(SCHEDULED, condition("Ready", "False", 9)))),
            "NodeLost",
            "ddda",
            "node1 has not answered since 12:00:09",
        ),
        (
            seen(pod(container(waiting("CreateContainerConfigError", "secret not found")))),
            "CreateContainerConfigError",
            "ddda",
            "secret not found",
        ),
    ],
)
def test_what_still_may_come_right_is_pending(observed: Observation, reason: str, steps: str, words: str) -> None:
    assert (observed.failed, observed.reason, states(observed)) == (False, reason, steps)
    assert words in observed.message


@pytest.mark.parametrize(
    ("observed", "reason", "steps", "words"),
    [
        (seen(pod(container(waiting("InvalidImageName")))), "InvalidImageName", "dfdw", "not the name of an image"),
        (seen(pod(BACKOFF), of_pod("Failed", PULL_FAILED, 3), now=64), "ImagePullBackOff", "dfdw", PULL_FAILED),
        (seen(pod(BACKOFF), of_pod("Failed", PULL_FAILED, 3, 20, count=3), now=40), "ImagePullBackOff", "dfdw", PULL_FAILED),
        (seen(pod(BACKOFF), now=64), "ImagePullBackOff", "dfdw", "Back-off"),
        (
            seen(pod(container(waiting("PodInitializing")), init=(container(waiting("ImagePullBackOff", "gone"), name="supply"),)), now=64),
            "ImagePullBackOff",
            "dfdw",
            "The image that brings further programs can't be pulled. gone. An admin has to mend that",
        ),
        (seen(pod(container(LOOP, restarts=3, last=run(50, 51, 3))), now=60), "CrashLoopBackOff", "dddf", "exit code 3"),
        (
            seen(pod(container({"running": {"startedAt": text(55)}}, restarts=3, last=run(50, 51))), now=60),
            "CrashLoopBackOff",
            "dddf",
            "exit code 1",
        ),
        (seen(pod(container(run(50, 51, 137, "OOMKilled"), restarts=2)), now=60), "OOMKilled", "dddf", "bigger pod size"),
        (seen(pod(container(LOOP, restarts=3, last=NO_PROGRAM)), now=60), "StartError", "dddf", NOT_FOUND),
        (seen(pod(container(NO_PROGRAM, restarts=3)), now=60), "StartError", "dddf", NOT_FOUND),
        (seen(pod(container(waiting("RunContainerError", RUNC), restarts=3, last=NO_PROGRAM)), now=60), "StartError", "dddf", NOT_FOUND),
        (
            seen(pod(container(waiting("PodInitializing")), init=(container(LOOP, name="init-0-setup", restarts=2, last=run(5, 6, 7)),))),
            "InitScriptFailed",
            "dddf",
            "exit code 7",
        ),
        (seen(pod(container(run(5, 9)), phase="Failed", reason="Evicted", message="low on memory")), "Evicted", "dddf", "low on memory"),
        (
            seen(pod(container(waiting("CreateContainerConfigError", "runs as root"))), now=70),
            "CreateContainerConfigError",
            "dddf",
            "runs as root",
        ),
    ],
)
def test_what_will_not_come_right_has_failed(observed: Observation, reason: str, steps: str, words: str) -> None:
    assert (observed.failed, observed.reason, states(observed)) == (True, reason, steps)
    assert words in observed.message


def test_restarts_over_weeks_are_no_crash_loop() -> None:
    slow = container(LOOP, restarts=5, last=run(0, 3600))
    assert not seen(pod(slow), now=3605).failed
    assert not seen(pod(container({"running": {"startedAt": text(3600)}}, restarts=5, last=run(0, 1))), now=3700).failed


def test_old_warnings_do_not_stick() -> None:
    running = pod(container({"running": {"startedAt": text(5)}}))
    old = (of_pod("FailedMount", "no", 2, 90), of_pod("Failed", PULL_FAILED, 2, 90, count=9))
    assert seen(running, *old, now=10).reason == ""
    other = pod(container(waiting("ContainerCreating")))
    assert seen(other, of_pod("FailedMount", "of the pod before", 2, about="p0")).reason == ""
    made_after_all = event("StatefulSet", HOST, "s1", "SuccessfulCreate", "created", 9)
    refused = event("StatefulSet", HOST, "s1", "FailedCreate", "create Pod x failed error: no", 3)
    assert seen(None, refused, made_after_all).reason == ""
