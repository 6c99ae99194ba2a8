"""What every driver can do. See ``docs/architecture.md`` for how to add one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from compute.workload import Account, Claim, Namespace, Observation, Workload


class ClusterError(Exception):
    """A cluster refused or could not be reached.

    ``reason`` is a stable CamelCase word, ``str(error)`` a sentence for the user. ``retryable`` tells the
    reconcile task whether trying again later can help.
    """

    def __init__(self, reason: str, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class Outdated(ClusterError):
    """The call is of an older generation than one that the cluster has acted on; nothing was done.

    ``generation`` is the newest that the cluster has acted on.
    """

    def __init__(self, generation: int) -> None:
        super().__init__("Outdated", "The cluster has been asked for something newer meanwhile.")
        self.generation = generation


@dataclass(frozen=True)
class Health:
    """``ok`` and, when not, one sentence per problem; ``notes`` are facts worth showing an operator. ``identity`` tells the
    cluster from every other one; empty where there is no telling."""

    ok: bool
    version: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    identity: str = ""


@dataclass(frozen=True)
class Event:
    """Something that happened to a workload, in the cluster's words. ``kind`` is "Normal" or "Warning"."""

    at: datetime
    kind: str
    reason: str
    message: str


class Driver(Protocol):
    """A cluster as Slipway uses it. Made from the ``Cluster`` row's name, and its context and identity, empty for most drivers.

    ``prepare``, ``apply``, ``pause``, ``remove``, ``ensure_claim`` and ``delete_claim`` are idempotent, return at once (they never
    wait for readiness) and raise :class:`ClusterError` only. ``watch`` is the controller's.

    ``generation`` counts what was asked of a workload. A call may be delayed on its way by any time, so ``apply``,
    ``pause`` and ``remove`` raise :class:`Outdated` when one of a higher generation came before; for an hour after
    ``remove``, too. 0 is for people at a console: it is never outdated.
    """

    def offers(self, image: str) -> str:
        """Empty if this cluster can run the image reference, else one sentence saying why not."""

    def ensure_namespace(self, namespace: Namespace) -> None:
        """Make the workspace's slice of the cluster and its guards (network, quota) what they should be. Must come before
        the first claim or workload in it; costs nothing when this process has done the same lately."""

    def prepare(self, workload: Workload) -> Workload:
        """Begin with what the cluster itself needs a while for (to bind a claim), so that it is done by the time the workload is
        applied. Returns what is left to ``apply``. Of use when several workloads are to be applied; ``apply`` does without."""

    def apply(self, workload: Workload) -> None:
        """Make the workload run at its revision (claims included). Safe to repeat, also after a crash half-way."""

    def pause(self, namespace: str, name: str, generation: int = 0) -> None:
        """Release the compute of a workload, keep every claim. Unknown names are fine."""

    def remove(self, namespace: str, name: str, generation: int = 0) -> None:
        """Remove everything of the workload but its claims. Unknown names are fine."""

    def write_files(self, namespace: str, name: str, files: dict[str, str], generation: int = 0) -> None:
        """Replace live files of a workload that was applied with files of these names; an empty text takes one away. The session
        sees them within two minutes, each old or new but never half.

        Unknown workloads, and paused ones, may be passed over. Raises :class:`Outdated` like ``apply``, but is no intent of its
        own: it asks for the generation that was applied.
        """

    def runs_as(self, account: Account | None) -> Account:
        """Whom a workload of this account (None: of no particular one) runs as here. Raises :class:`ClusterError` with a
        sentence that says why it can't. Asks nothing of the cluster."""

    def watch(self, stop: Stop) -> Iterator[Observation | None]:
        """Yield an Observation for every workload now, and again whenever one changed, until ``stop.is_set()``.

        A removed workload is yielded once more with ``exists=False, retained=False``. None means that the cluster
        answers and has nothing new; something is yielded at least every few seconds. Raises :class:`ClusterError` when
        the cluster can't be watched; calling it again then goes on from there. Never raises for one bad workload.
        """

    def observe(self, namespace: str, name: str) -> Observation:
        """One workload now; ``exists=False, retained=False`` if the cluster knows nothing of it."""

    def logs(self, namespace: str, name: str, tail: int = 200, previous: bool = False) -> str:
        """The last ``tail`` lines that the IDE (or the failing step) wrote; empty if there are none.

        ``previous``: of the run before the last restart, where the cluster keeps it.
        """

    def events(self, namespace: str, name: str) -> list[Event]:
        """What happened to the workload, oldest first."""

    def ensure_claim(self, namespace: str, claim: Claim) -> None:
        """Make the claim exist; an existing one is left as it is."""

    def delete_claim(self, namespace: str, name: str) -> None:
        """Delete a claim, and its data, for good; the data may take longer. Only ``storage.services`` calls this."""

    def health(self, namespaces: Sequence[str] = ()) -> Health:
        """Whether the cluster can be used now, with a sentence per problem. ``namespaces`` are those of its workspaces, where
        rights count as well that it doesn't give everywhere."""


class Stop(Protocol):
    """The part of ``threading.Event`` that a watch needs."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...
