"""What keeps a pod from serving, as an ordered list of small checks; the first that finds something decides.

Each check returns the step it holds up, a CamelCase reason, a sentence for the user, and whether the cluster's own
repetition can be expected to help (``final``: it can't).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from compute.clusters.kubernetes import labels
from compute.clusters.kubernetes.records import PVC, Container, Ended, Event, Pod
from compute.workload import NODE_LOST, Step

# How long the same error of an image or a container's configuration may last: about three tries of a kubelet.
PATIENCE = timedelta(seconds=60)
PULL_TRIES = 3
CRASHES = 3
QUICK_CRASHES = 2  # of an init script or for want of memory: trying again changes nothing
# A run longer than this was no crash loop (a kubelet forgets its back-off then, too).
LONG_RUN = timedelta(minutes=10)
# A run this young may be the next round of a crash loop.
YOUNG_RUN = timedelta(seconds=30)

PULLING = {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "ErrImageNeverPull", "RegistryUnavailable", "SignatureValidationFailed"}
# What runtimes say of a program that can't even be started.
START_ERRORS = {"StartError", "ContainerCannotRun"}
REFUSED_CONTAINER = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError", "PostStartHookError"}
PODS_OWN_ENDS = {"Evicted": "The node ran short of something and ended the session."}
# Not before: nobody knows whether the lost node still writes to the volumes.
AFTER_A_NODE = (
    "If it comes back, the session goes on; if not, an admin of the cluster has to remove it. The session then starts on another one. "
    "What is on volumes stays."
)
# What a user can do about what is final.
ANOTHER_IMAGE = "Choose another image; or retry once the people who curate this one have mended it."
ANOTHER_SUPPLY = "An admin has to mend that, such as a Slurm cluster’s client image."
READ_THE_LOG = "Its log says why. Retry, or choose another image."
ANOTHER_CONFIGURATION = "Its log says why. Launch without that configuration; or retry once the people who curate it have mended it."


@dataclass(frozen=True)
class Trouble:
    step: Step
    reason: str
    message: str
    final: bool = False


@dataclass(frozen=True)
class Case:
    """``events`` are those of this very pod and of its claims."""

    pod: Pod
    claims: Mapping[str, PVC]
    events: Sequence[Event]
    at: datetime


def of_pod(pod: Pod, claims: Mapping[str, PVC], events: Sequence[Event], at: datetime) -> Trouble | None:
    case = Case(pod, claims, events, at)
    return next((found for check in CHECKS if (found := check(case))), None)


def latest(events: Sequence[Event], *reasons: str) -> Event | None:
    """The newest event with one of these reasons."""
    some = [event for event in events if event.reason in reasons and event.at]
    return max(some, key=lambda event: event.at, default=None)  # type: ignore[arg-type, return-value]


def refused(events: Sequence[Event]) -> Trouble | None:
    """Why a StatefulSet has no pod: its last try failed. Quotas and policies may change, so it is never final."""
    event = latest(events, "FailedCreate", "SuccessfulCreate")
    if event is None or event.reason != "FailedCreate":
        return None
    words = event.message.partition(" failed error: ")[2] or event.message
    if "exceeded quota" in words:
        return Trouble(Step.COMPUTE, "QuotaExceeded", f"The workspace's quota on the cluster is used up: {words}")
    return Trouble(Step.COMPUTE, "PodRefused", f"The cluster refuses to make the pod: {words}")


def failed_container(pod: Pod) -> tuple[str, bool] | None:
    """The container whose log explains a failure, and whether it is the log of its previous run; None if none ever ran."""
    for container in pod.init + pod.containers:
        if container.ready:
            continue
        if container.ended is not None and container.ended.exit_code:
            return container.name, False
        if container.last is not None:
            return container.name, True
    return None


def script_name(container: Container) -> str:
    """An init container, as people know it: Slipway names those of init scripts init-<n>-<slug>."""
    if container.name == labels.SUPPLY:
        return "the copying of programs from another image"
    if container.name == labels.ACCOUNTS:
        return "the naming of the session’s account"
    slug = container.name.split("-", 2)[-1]
    return f"the init script “{slug}”"


def _ended(case: Case) -> Trouble | None:
    pod = case.pod
    if pod.phase != "Failed":
        return None
    told = (PODS_OWN_ENDS.get(pod.reason, "The node ended the session."), pod.message, "Retry, or choose a bigger pod size.")
    words = " ".join(part for part in told if part)
    return Trouble(Step.SERVER if pod.containers else Step.COMPUTE, pod.reason or "PodFailed", words, final=True)


def _unscheduled(case: Case) -> Trouble | None:
    condition = case.pod.condition("PodScheduled")
    if case.pod.node or condition is None or condition.status == "True":
        return None
    held = _claims(case)
    if held is not None:
        return held
    if condition.reason == "SchedulingGated":
        return Trouble(Step.COMPUTE, "SchedulingGated", "Something in the cluster holds the pod back before it is scheduled.")
    if not condition.message:
        return None
    return Trouble(
        Step.COMPUTE,
        condition.reason or "Unschedulable",
        f"No node can take it yet; it starts as soon as one can. The scheduler says: {condition.message}",
    )


def _claims(case: Case) -> Trouble | None:
    """A pod without a node, because of one of its volumes."""
    condition = case.pod.condition("PodScheduled")
    said = condition.message if condition else ""
    for name in case.pod.claims:
        claim = case.claims.get(name)
        if claim is None:
            if f'"{name}" not found' in said:
                return Trouble(Step.STORAGE, "ClaimMissing", f"The volume claim {name} does not exist any more.")
        elif claim.phase == "Lost":
            return Trouble(Step.STORAGE, "ClaimLost", f"The storage behind the volume claim {name} is lost.")
        elif claim.phase != "Bound":
            about = [
                event for event in case.events if event.kind == "PersistentVolumeClaim" and event.name == name and event.about == claim.uid
            ]
            event = latest(about, "ProvisioningFailed", "FailedBinding")
            if event is not None:
                return Trouble(Step.STORAGE, "ClaimNotBound", f"There is no storage for the volume claim {name} yet: {event.message}")
            if "unbound immediate" in said:
                return Trouble(Step.STORAGE, "ClaimNotBound", f"Waiting for storage for the volume claim {name}.")
    if "unbound immediate" in said:  # they are bound: the scheduler has yet to look again
        return Trouble(Step.COMPUTE, "Scheduling", "Waiting for the scheduler.")
    return None


def lost(pod: Pod) -> Trouble | None:
    """A node that does not answer: its pods are called not ready, while their containers are as they last were."""
    ready = pod.condition("Ready")
    if not pod.node or ready is None or ready.status == "True":
        return None
    unlike = ready.status == "False" and bool(pod.containers) and all(container.ready for container in pod.containers)
    if ready.status != "Unknown" and pod.reason != NODE_LOST and not unlike:
        return None
    since = f" since {ready.since:%H:%M:%S} UTC" if ready.since else ""
    return Trouble(Step.SERVER, NODE_LOST, f"The node {pod.node} has not answered{since}. {AFTER_A_NODE}")


def _lost(case: Case) -> Trouble | None:
    return lost(case.pod)


def _image(case: Case) -> Trouble | None:
    for container in case.pod.init + case.pod.containers:
        if container.waiting == "InvalidImageName":
            words = f"“{case.pod.image}” is not the name of an image. {ANOTHER_IMAGE}"
            return Trouble(Step.IMAGE, "InvalidImageName", words, final=True)
        if container.waiting in PULLING:
            event = latest(case.events, "Failed")
            since = event.first if event else _waiting_since(case.pod)
            final = (event is not None and event.count >= PULL_TRIES) or (since is not None and case.at - since >= PATIENCE)
            words = event.message if event else container.message or container.waiting
            image, advice = f"image {case.pod.image}", ANOTHER_IMAGE
            if container.name == labels.SUPPLY:
                image, advice = "image that brings further programs", ANOTHER_SUPPLY
            tells = "can't be pulled" if final else "could not be pulled; trying again"
            reason = "ImagePullBackOff" if container.waiting == "ErrImagePull" else container.waiting
            return Trouble(Step.IMAGE, reason, _advised(f"The {image} {tells}. {words}", final, advice), final)
    return None


def _init(case: Case) -> Trouble | None:
    """A script that ended with an error: shown from its first failure on."""
    for container in case.pod.init:
        run = _failed_run(container)
        if container.ready or run is None or (run.exit_code == 0 and container.ended is run):
            continue
        if container.started and case.at - container.started >= YOUNG_RUN:
            continue
        final = container.restarts >= QUICK_CRASHES
        script = script_name(container)
        words = f"{script[0].upper()}{script[1:]} {_how(run)}."
        return Trouble(Step.SERVER, "InitScriptFailed", f"{words} {ANOTHER_CONFIGURATION if final else 'It is tried again.'}", final)
    return None


def _refused_container(case: Case) -> Trouble | None:
    for container in case.pod.init + case.pod.containers:
        run = _failed_run(container)
        never_began = run is not None and run.reason in START_ERRORS and not container.started
        if container.waiting in REFUSED_CONTAINER or never_began:
            since = _waiting_since(case.pod)
            final = (since is not None and case.at - since >= PATIENCE) or container.restarts >= CRASHES
            words = container.message if container.waiting in REFUSED_CONTAINER else ""
            words = _plain(words or (run.message if run else "") or container.waiting)
            reason = "StartError" if never_began or container.waiting == "RunContainerError" else container.waiting
            return Trouble(Step.SERVER, reason, _advised(f"The container can't be started: {words}", final, ANOTHER_IMAGE), final)
    return None


def _crash(case: Case) -> Trouble | None:
    """The IDE ended. Once is news, again and again in short runs is a failure."""
    container = case.pod.ide
    run = _failed_run(container) if container else None
    if container is None or container.ready or (run is None and container.waiting != "CrashLoopBackOff"):
        return None
    if container.started and case.at - container.started >= YOUNG_RUN:
        return None  # it is up again, and only slow
    short = run is None or not run.started or not run.finished or run.finished - run.started < LONG_RUN
    starved = run is not None and run.reason == "OOMKilled"
    final = short and container.restarts >= (QUICK_CRASHES if starved else CRASHES)
    if starved:
        words = "The session ran out of memory" + (
            " each time it was started. Choose a bigger pod size." if final else ", and is started again."
        )
        return Trouble(Step.SERVER, "OOMKilled", words, final)
    how = _how(run) if run else "ended"
    again = f" each time it was started ({container.restarts} restarts). {READ_THE_LOG}" if final else ", and is started again."
    return Trouble(Step.SERVER, "CrashLoopBackOff" if final else "Crashed", f"The IDE {how}{again}", final)


def _mounts(case: Case) -> Trouble | None:
    """Volumes that can't be mounted: only while nothing of the pod has run or got its image."""
    pod = case.pod
    if not pod.node or any(container.pulled for container in pod.init + pod.containers):
        return None
    event = latest(case.events, "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
    past = latest(case.events, "Pulling", "Pulled")
    if event is None or (past is not None and past.at and event.at and past.at >= event.at):
        return None
    if event.reason == "FailedCreatePodSandBox":
        return Trouble(Step.SERVER, "SandboxFailed", f"The node {pod.node} can't set the pod up: {event.message}")
    return Trouble(Step.STORAGE, event.reason, f"A volume can't be mounted yet: {event.message}")


CHECKS: tuple[Callable[[Case], Trouble | None], ...] = (
    _ended,
    _unscheduled,
    _lost,
    _image,
    _init,
    _refused_container,
    _crash,
    _mounts,
)


def _plain(words: str) -> str:
    """What a runtime says at the end of a chain of its parts' names."""
    return words.rpartition("unable to start container process: ")[2].removesuffix(": unknown")


def _advised(words: str, final: bool, advice: str) -> str:
    """A cluster's words often end without a full stop."""
    return f"{words.rstrip().rstrip('.')}. {advice}" if final else words


def _failed_run(container: Container) -> Ended | None:
    """The last run that is over, if there is one."""
    return container.ended or container.last


def _waiting_since(pod: Pod) -> datetime | None:
    """Since when its containers can have been tried: after the init scripts, or else since it has a node."""
    times = [run.finished for container in pod.init if (run := container.ended) and run.finished]
    if times:
        return max(times)
    condition = pod.condition("PodScheduled")
    return (condition.since if condition else None) or pod.created


def _how(run: Ended) -> str:
    if run.reason == "OOMKilled":
        return "ran out of memory"
    words = f" ({_plain(run.message)})" if run.message and run.reason in START_ERRORS else ""
    return f"ended with exit code {run.exit_code}{words}"
