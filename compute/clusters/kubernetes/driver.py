"""The Kubernetes driver as Slipway sees it. It writes what is wanted; the cluster's own controllers do the rest.

How a late call is told from a new one: the StatefulSet's GENERATION annotation is the newest that was asked for. Every call
but a first launch reads it, and writes under the resource version that it read. A first launch (generation 1) reads nothing:
it applies without force, and every later intent marks the annotation as another field manager's (``FENCE``), so that a
first launch which comes late conflicts, and is then looked at like any other call. Secrets, which Slipway may not read, are
fenced by such a mark alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compute.clusters.base import ClusterError, Driver, Event, Health, Outdated, Stop
from compute.clusters.kubernetes import health, labels, logs, objects
from compute.clusters.kubernetes.client import MERGE, METADATA, ApiError, Connection
from compute.clusters.kubernetes.guards import Guards
from compute.clusters.kubernetes.identity import Identity
from compute.clusters.kubernetes.watch import Watch, observe_now
from compute.workload import Account, Claim, Namespace, Observation, Workload

Json = dict[str, Any]
FENCE = "slipway-fence"
TRIES = 6  # a StatefulSet that has just been written has its status written several times
LOCAL_PREFIX = "local:"


class KubernetesDriver:
    """Satisfies :class:`compute.clusters.base.Driver`. Nothing is dialled before the first call; safe to share between threads.

    ``context`` is one of the kubeconfig's; "" is the cluster that Slipway runs in, else the current context. Where that is
    another cluster than ``identity``, everything that writes or watches raises :class:`ClusterError`.
    """

    def __init__(self, name: str, context: str = "", identity: str = "", *, connection: Connection | None = None) -> None:
        from django.conf import settings

        self.name = name
        self.connection = connection or Connection(context)
        self._identity = Identity(self.connection, identity)
        self._guards = Guards(self.connection, settings.SLIPWAY_NAMESPACE)
        self._watch = Watch(self.connection, lambda *args: logs.read(self.connection, *args))

    def offers(self, image: str) -> str:
        if image.startswith(LOCAL_PREFIX):
            return f"“{image}” is a recipe for this machine; a Kubernetes cluster runs container images, such as quay.io/jupyter/base-notebook."
        return ""

    def ensure_namespace(self, namespace: Namespace) -> None:
        self._identity.require()
        self._guards.ensure(namespace)

    # What is wanted

    def prepare(self, workload: Workload) -> Workload:
        """The scheduler puts a pod off for seconds that it finds with a claim that is not bound yet."""
        refusal = self.offers(workload.image)
        if refusal:
            raise ClusterError("ImageNotOffered", refusal, retryable=False)
        for claim in workload.claims:
            self.ensure_claim(workload.namespace, claim)
        return replace(workload, claims=())

    def apply(self, workload: Workload) -> None:
        workload = self.prepare(workload)
        self._identity.require()
        with self._namespace(workload.namespace):
            if workload.generation != 1 or not self._launch(workload):
                _until_undisturbed(lambda: self._replace(workload))

    def pause(self, namespace: str, name: str, generation: int = 0) -> None:
        self._identity.require()

        def write() -> None:
            found = self._statefulset(namespace, name, generation)
            if found is not None:
                self._mark(namespace, name, found, generation, {"spec": {"replicas": 0}})

        _until_undisturbed(write)

    def remove(self, namespace: str, name: str, generation: int = 0) -> None:
        self._identity.require()

        def write() -> None:
            found = self._statefulset(namespace, name, generation)
            if found is not None:
                preconditions = {"uid": found["uid"], "resourceVersion": found["resourceVersion"]}
                self.connection.delete(_statefulset_path(namespace, name), preconditions)

        _until_undisturbed(write)
        self._delete_secret(namespace, name)

    def write_files(self, namespace: str, name: str, files: dict[str, str], generation: int = 0) -> None:
        """Slipway may not read Secrets, but is told the version of one by a change that changes nothing."""
        self._identity.require()
        path, nothing = _secret_path(namespace, name), {"type": objects.SECRET_TYPE}

        def write() -> None:
            if self._statefulset(namespace, name, generation) is None:
                return
            version = self._merge(path, nothing)["resourceVersion"]
            self._merge(path, {**nothing, "metadata": {"resourceVersion": version}, "data": objects.live(files)})

        try:
            with _ours("Secret", name):
                _until_undisturbed(write)
        except ApiError as error:
            if error.status != 404:
                raise

    def runs_as(self, account: Account | None) -> Account:
        if account is not None and (account.uid == 0 or account.gid == 0):
            raise ClusterError("NotRoot", "Sessions never run as root, or in its group.", retryable=False)
        return account or Account()

    def ensure_claim(self, namespace: str, claim: Claim) -> None:
        self._identity.require()
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        with self._namespace(namespace):
            try:
                self.connection.call("POST", path, query={"fieldManager": labels.FIELD_MANAGER}, body=objects.claim(claim), accept=METADATA)
            except ApiError as error:
                # Quota is checked before the name: a claim that exists may be refused for want of room for another one.
                if error.status not in (403, 409):
                    raise
                found = self.connection.metadata(f"{path}/{claim.name}")
                if found is None:
                    raise
                _check_claim(claim.name, found)

    def delete_claim(self, namespace: str, name: str) -> None:
        self._identity.require()
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
        found = self.connection.metadata(path)
        if found is not None:
            if not labels.is_ours(found):
                raise _taken("claim", name)
            self.connection.delete(path, {"uid": found["uid"]})

    # What is

    def watch(self, stop: Stop) -> Iterator[Observation | None]:
        self._identity.require()
        for seen in self._watch.run(stop):
            self._identity.recall()  # health asks again and again
            yield seen

    def observe(self, namespace: str, name: str) -> Observation:
        self._identity.require()
        return observe_now(self.connection, namespace, name)

    def logs(self, namespace: str, name: str, tail: int = 200, previous: bool = False) -> str:
        return logs.logs(self.connection, namespace, name, tail, previous)

    def events(self, namespace: str, name: str) -> list[Event]:
        return logs.events(self.connection, namespace, name)

    def health(self, namespaces: Sequence[str] = ()) -> Health:
        return self._identity.checked(health.health(self.connection, namespaces))

    # How it is written

    def _launch(self, workload: Workload) -> bool:
        """The first launch, without a read. False if there is something of this name that others have written, too."""
        try:
            with _ours("Secret", workload.name):
                self.connection.apply(_secret_path(workload.namespace, workload.name), objects.secret(workload), force=False)
            self.connection.apply(_statefulset_path(workload.namespace, workload.name), objects.statefulset(workload), force=False)
        except ApiError as error:
            if error.status in (409, 422):  # a foreign StatefulSet differs in what can't be changed
                return False
            raise
        return True

    def _replace(self, workload: Workload) -> None:
        """Write over what is there, and end a pod of an older revision."""
        path = _statefulset_path(workload.namespace, workload.name)
        found = self._statefulset(workload.namespace, workload.name, workload.generation)
        built = objects.statefulset(workload)
        if found is None:
            self._replace_secret(workload)
            self.connection.apply(path, built, force=False)
            return
        newest = max(workload.generation, _generation(found))
        version = self._mark(workload.namespace, workload.name, found, newest, {})
        self._replace_secret(workload)
        built["metadata"]["annotations"][labels.GENERATION] = str(newest)
        built["metadata"]["resourceVersion"] = version
        self.connection.apply(path, built)
        self._end_old_pod(workload)

    def _replace_secret(self, workload: Workload) -> None:
        """Write over the Secret. Slipway may not read it, so the generation is marked blindly: what comes late then conflicts."""
        path, built = _secret_path(workload.namespace, workload.name), objects.secret(workload)
        mark = {"type": objects.SECRET_TYPE, "metadata": {"annotations": {labels.GENERATION: str(workload.generation)}}}
        with _ours("Secret", workload.name):
            try:
                self._merge(path, mark)
            except ApiError as error:
                if error.status != 404:
                    raise
            try:
                self.connection.apply(path, built, force=False)
            except ApiError as error:
                if error.status != 409:
                    raise
                # Somebody has edited it, or it bears a newer mark: then so does the StatefulSet, which can be read.
                self._statefulset(workload.namespace, workload.name, workload.generation)
                self.connection.apply(path, built)

    def _merge(self, path: str, change: Json) -> Json:
        """The object's metadata after the change."""
        written = self.connection.call("PATCH", path, query={"fieldManager": FENCE}, body=change, content_type=MERGE, accept=METADATA)
        metadata: Json = written["metadata"]
        return metadata

    def _mark(self, namespace: str, name: str, found: Json, generation: int, change: Json) -> str:
        """Put the generation (and ``change``) on the StatefulSet that was read; its new resource version."""
        annotations = {labels.GENERATION: str(max(generation, _generation(found)))}
        body = {**change, "metadata": {"annotations": annotations, "resourceVersion": found["resourceVersion"]}}
        return str(self._merge(_statefulset_path(namespace, name), body)["resourceVersion"])

    def _end_old_pod(self, workload: Workload) -> None:
        """A failed session's pod stays until it is told to go; the StatefulSet then makes one of the new template."""
        path = f"/api/v1/namespaces/{workload.namespace}/pods/{workload.name}-0"
        pod = self.connection.metadata(path)
        if pod is None or pod.get("deletionTimestamp") or not labels.is_ours(pod):
            return
        if (pod.get("annotations") or {}).get(labels.REVISION) != str(workload.revision):
            self.connection.delete(path, {"uid": pod["uid"]})

    def _delete_secret(self, namespace: str, name: str) -> None:
        """Slipway may not read Secrets, so that it is ours is seen by a rehearsal: a type can't be changed."""
        path = _secret_path(namespace, name)
        rehearsal = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": objects.SECRET_TYPE}
        try:
            self.connection.apply(path, rehearsal, manager=FENCE, dry_run=True)
        except ApiError as error:
            if error.status == 422 or error.namespace_missing:
                return
            if error.reason != "NamespaceTerminating":
                raise
        self.connection.delete(path)

    def _statefulset(self, namespace: str, name: str, generation: int) -> Json | None:
        """The metadata of our StatefulSet; None without one. Raises ``Outdated`` when it is of a newer generation."""
        found = self.connection.metadata(_statefulset_path(namespace, name))
        if found is None:
            return None
        if not labels.is_ours(found):
            raise _taken("StatefulSet", name)
        if generation and _generation(found) > generation:
            raise Outdated(_generation(found))
        return found

    @contextmanager
    def _namespace(self, namespace: str) -> Iterator[None]:
        """A namespace that somebody deleted is made again by the next try."""
        try:
            yield
        except ApiError as error:
            if error.namespace_missing or error.reason == "NamespaceTerminating":
                self._guards.forget(namespace)
            raise


@contextmanager
def _ours(kind: str, name: str) -> Iterator[None]:
    """An object whose type is not the one that Slipway gives it is somebody else's."""
    try:
        yield
    except ApiError as error:
        if error.status == 422 and "type: Invalid" in str(error):
            raise _taken(kind, name) from error
        raise


def _until_undisturbed(write: Callable[[], None]) -> None:
    """Again when somebody else wrote between our read and our write; in the end it is the caller’s to try later."""
    for tries_left in reversed(range(TRIES)):
        try:
            return write()
        except ApiError as error:
            if error.status != 409 or not tries_left:
                raise


def _statefulset_path(namespace: str, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{name}"


def _secret_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


def _generation(metadata: Json) -> int:
    text = (metadata.get("annotations") or {}).get(labels.GENERATION) or ""
    return int(text) if text.isdecimal() else 0


def _check_claim(name: str, found: Json) -> None:
    if not labels.is_ours(found):
        raise _taken("claim", name)
    if found.get("deletionTimestamp"):
        raise ClusterError("ClaimTerminating", f"The volume claim {name} is being deleted on the cluster.")


def _taken(kind: str, name: str) -> ClusterError:
    return ClusterError("NameTaken", f"The cluster has a {kind} “{name}” that Slipway did not make; it is left alone.", retryable=False)


if TYPE_CHECKING:  # the type checker compares the two here

    def _is_a_driver(driver: KubernetesDriver) -> Driver:
        return driver
