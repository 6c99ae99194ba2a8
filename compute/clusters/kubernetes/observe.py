"""From what a cluster holds of a session to an Observation. Pure: time is an argument.

Conditions and container states decide; events only explain what those say is still wrong, so that an old warning never
outlives its cause. What is wrong is said in the cluster's own words, after a few of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from compute.clusters.kubernetes import trouble
from compute.clusters.kubernetes.records import PVC, Event, Pod, StatefulSet
from compute.clusters.kubernetes.trouble import Trouble, latest
from compute.workload import Observation, Step, StepState, StepStatus

# Longer than a kubelet on a busy node needs after the grace period is over (some look only every ten seconds).
STUCK_AFTER = timedelta(seconds=20)


def observation(
    namespace: str,
    name: str,
    statefulset: StatefulSet | None,
    pods: Sequence[Pod],
    claims: Mapping[str, PVC],
    events: Sequence[Event],
    at: datetime,
) -> Observation:
    """``claims`` by name, at least those of the pod; ``events`` of any of these objects, in any order."""
    pod = next((pod for pod in pods if pod.name == f"{name}-0"), None)
    exists = bool(pods) or (statefulset is not None and statefulset.replicas > 0)
    retained = statefulset is not None
    base = Observation(name=name, namespace=namespace, at=at, exists=exists, retained=retained)
    if statefulset is None:
        return replace(base, revision=pod.revision, message=_stopping(pod, at), stuck=_is_stuck(pod, at)) if pod else base
    base = replace(base, revision=statefulset.revision, drifted=statefulset.drifted)
    if pod is not None and pod.deadline is not None:
        return _of_ending_pod(base, pod, statefulset, at)
    if not statefulset.replicas:
        return replace(base, message="Stopping." if pod else "")
    if pod is None:
        refused = trouble.refused([event for event in events if event.about == statefulset.uid])
        message = refused.message if refused else "Waiting for the cluster to make the pod."
        return replace(base, reason=refused.reason if refused else "", message=message, steps=_waiting(message))
    if pod.revision != statefulset.revision:
        message = "Waiting for the session's last run to end."
        return replace(base, node=pod.node, message=message, steps=_waiting(message))
    return _of_pod(base, pod, claims, [event for event in events if event.kind != "Pod" or event.about == pod.uid])


def _of_ending_pod(base: Observation, pod: Pod, statefulset: StatefulSet, at: datetime) -> Observation:
    """A pod that was told to go: by a pause or a retry of ours, or, while it is still wanted, by somebody else."""
    stuck = _is_stuck(pod, at)
    base = replace(base, reason="Stopping", message=_stopping(pod, at), node=pod.node, stuck=stuck)
    if not statefulset.replicas:
        return base
    if stuck and (gone := trouble.lost(pod)):  # the cluster has given the pod up, and only its node could end it
        base = replace(base, reason=gone.reason, message=gone.message)
    elif not stuck and pod.revision == statefulset.revision:
        message = "Its pod was deleted on the cluster. Once that has ended, a new one takes its place; what is on volumes stays."
        base = replace(base, reason="PodDeleted", message=message)
    return replace(base, steps=_waiting(base.message))


def _of_pod(base: Observation, pod: Pod, claims: Mapping[str, PVC], events: Sequence[Event]) -> Observation:
    """What the current pod says, one step after the other."""
    wrong = trouble.of_pod(pod, claims, events, base.at)
    ready = pod.is_true("Ready") and bool(pod.ip and pod.port)
    if ready:
        wrong = None
    return replace(
        base,
        ready=ready,
        failed=wrong is not None and wrong.final,
        reason=wrong.reason if wrong else "",
        message=wrong.message if wrong else "",
        steps=_steps(pod, wrong, events, ready),
        endpoint=endpoint(pod.ip, pod.port) if ready else "",
        restarts=sum(container.restarts for container in pod.containers),
        node=pod.node,
    )


def endpoint(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _steps(pod: Pod, wrong: Trouble | None, events: Sequence[Event], ready: bool) -> tuple[StepStatus, ...]:
    """The four steps: everything before what is going on now is done, everything after it waits."""
    scheduled = _since(pod, "PodScheduled") or (pod.created if pod.node else None)
    pulling, pulled = latest(events, "Pulling"), latest(events, "Pulled")
    begun = _begun(pod)
    sandbox = _since(pod, "PodReadyToStartContainers") or _since(pod, "PodHasNetwork")
    mounted = next((time for time in (sandbox, pulling and pulling.first, pulled and pulled.first, begun) if time), None)
    has_image = ready or bool(pulled or begun) or any(container.pulled for container in pod.init + pod.containers)
    has_storage = bool(pod.node) and (mounted is not None or has_image or bool(pod.ip) or not pod.claims)
    if has_storage and not pod.claims:
        mounted = scheduled
    present = begun if not pulling else None  # an image that was on the node takes no time
    times = {
        Step.COMPUTE: (pod.created, scheduled),
        Step.IMAGE: (pulling.first if pulling else mounted or scheduled, pulled.first if pulled else present or mounted or scheduled),
        Step.STORAGE: (scheduled, mounted or scheduled),
        Step.SERVER: (_latest(pulled.first if pulled else begun or mounted or scheduled, _unready_since(pod)), _since(pod, "Ready")),
    }
    done = {Step.COMPUTE: bool(pod.node), Step.IMAGE: has_image, Step.STORAGE: has_storage, Step.SERVER: ready}
    # Volumes are mounted before an image is pulled, though people read it the other way round.
    order = (Step.COMPUTE, Step.STORAGE, Step.IMAGE, Step.SERVER)
    current = next((step for step in order if not done[step]), None)
    if wrong is not None:
        current = wrong.step
        done = {step: bool(pod.node) and order.index(step) < order.index(current) for step in order}
    said = wrong.message if wrong else _doing(current, pod) if current else ""
    return tuple(_step(step, done[step], step == current, wrong, times[step], said) for step in Step)


def _step(
    step: Step, done: bool, current: bool, wrong: Trouble | None, times: tuple[datetime | None, datetime | None], said: str
) -> StepStatus:
    started, finished = times
    if done:
        return StepStatus(step, StepState.DONE, started, max(finished, started) if finished and started else finished)
    if not current:
        return StepStatus(step, StepState.WAITING)
    if wrong is not None and wrong.final:
        return StepStatus(step, StepState.FAILED, started, message=said)
    return StepStatus(step, StepState.ACTIVE, started, message=said)


def _doing(step: Step, pod: Pod) -> str:
    """What is going on when nothing is wrong."""
    if step == Step.COMPUTE:
        return "Waiting for the scheduler."
    if step == Step.STORAGE:
        return "Mounting the volumes."
    if step == Step.IMAGE:
        return f"Pulling {pod.image}."
    script = next((container for container in pod.init if container.started and not container.ready), None)
    if script is not None:
        return f"Running {trouble.script_name(script)}."
    return "Waiting for the IDE to answer." if pod.ide and pod.ide.started else "Starting the container."


def _waiting(message: str) -> tuple[StepStatus, ...]:
    """The steps before there is a pod of the wanted revision."""
    first, *rest = Step
    return (StepStatus(first, StepState.ACTIVE, None, message=message), *(StepStatus(step, StepState.WAITING) for step in rest))


def _stopping(pod: Pod, at: datetime) -> str:
    if pod.deadline is None or not _is_stuck(pod, at):
        return "Stopping."
    where = f": the node {pod.node} may not answer" if pod.node else ""
    advice = "Slipway goes on as soon as it is gone; an admin of the cluster can look at it."
    return f"Its pod was to end by {pod.deadline:%H:%M:%S} UTC and is still there{where}. {advice}"


def _is_stuck(pod: Pod, at: datetime) -> bool:
    return pod.deadline is not None and at - pod.deadline >= STUCK_AFTER


def _begun(pod: Pod) -> datetime | None:
    """When the first of the pod's containers ran, as far as it is known."""
    times = []
    for container in pod.init + pod.containers:
        runs = (container.last, container.ended)
        times += [run.started for run in runs if run and run.started] + ([container.started] if container.started else [])
    return min(times, default=None)


def _unready_since(pod: Pod) -> datetime | None:
    """A session that ran for days and answers no more has been starting only since then."""
    condition = pod.condition("Ready")
    return condition.since if condition is not None and condition.status != "True" else None


def _latest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time), default=None)


def _since(pod: Pod, kind: str) -> datetime | None:
    """Since when the condition is true; None if it is not. A condition without a time counts from the pod's own."""
    condition = pod.condition(kind)
    return (condition.since or pod.created) if condition is not None and condition.status == "True" else None
