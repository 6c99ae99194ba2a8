"""A cluster in memory, for faults and for logic that needs no real processes. Tests set what it will say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from compute.clusters.base import ClusterError, Event, Health, Outdated, Stop
from compute.workload import Account, Claim, Namespace, Observation, Workload


class FakeDriver:
    def __init__(self, name: str = "fake") -> None:
        self.name = name
        self.applied: list[Workload] = []
        self.prepared: list[Workload] = []
        self.namespaces: list[Namespace] = []
        self.paused: list[str] = []
        self.removed: list[str] = []
        self.claims: dict[tuple[str, str], Claim] = {}
        self.deleted_claims: list[tuple[str, str]] = []
        self.observations: dict[tuple[str, str], Observation] = {}
        self.asked_in: list[str] = []  # the namespaces of the last health
        self.generations: dict[str, int] = {}
        self.error: ClusterError | Exception | None = None
        self.unsupported: dict[str, str] = {}
        self.written: list[tuple[str, dict[str, str]]] = []
        self.runs_nobody_else = ""
        self.log = "a line of the log\n"
        self.previous_log = ""
        self.told_events: list[Event] = []
        self.told_health = Health(ok=True, version="fake")

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    def _fence(self, name: str, generation: int) -> None:
        self._fail()
        if generation and generation < self.generations.get(name, 0):
            raise Outdated(self.generations[name])
        self.generations[name] = max(generation, self.generations.get(name, 0))

    def offers(self, image: str) -> str:
        return self.unsupported.get(image, "")

    def ensure_namespace(self, namespace: Namespace) -> None:
        self._fail()
        self.namespaces.append(namespace)

    def prepare(self, workload: Workload) -> Workload:
        self._fail()
        self.prepared.append(workload)
        return replace(workload, claims=())

    def apply(self, workload: Workload) -> None:
        self._fence(workload.name, workload.generation)
        self.applied.append(workload)

    def pause(self, namespace: str, name: str, generation: int = 0) -> None:
        self._fence(name, generation)
        self.paused.append(name)

    def remove(self, namespace: str, name: str, generation: int = 0) -> None:
        self._fence(name, generation)
        self.removed.append(name)

    def write_files(self, namespace: str, name: str, files: dict[str, str], generation: int = 0) -> None:
        self._fail()
        if generation and generation < self.generations.get(name, 0):
            raise Outdated(self.generations[name])
        self.written.append((name, files))

    def runs_as(self, account: Account | None) -> Account:
        if account is not None and self.runs_nobody_else:
            raise ClusterError("OneUser", self.runs_nobody_else, retryable=False)
        return account or Account()

    def watch(self, stop: Stop) -> Iterator[Observation | None]:
        while not stop.is_set():
            self._fail()
            yield from [*self.observations.values(), None]
            time.sleep(0.05)

    def observe(self, namespace: str, name: str) -> Observation:
        self._fail()
        gone = Observation(name=name, namespace=namespace, at=datetime.now(UTC), exists=False, retained=False)
        return self.observations.get((namespace, name), gone)

    def logs(self, namespace: str, name: str, tail: int = 200, previous: bool = False) -> str:
        self._fail()
        return self.previous_log if previous else self.log

    def events(self, namespace: str, name: str) -> list[Event]:
        self._fail()
        return self.told_events

    def ensure_claim(self, namespace: str, claim: Claim) -> None:
        self._fail()
        self.claims.setdefault((namespace, claim.name), claim)

    def delete_claim(self, namespace: str, name: str) -> None:
        self._fail()
        self.claims.pop((namespace, name), None)
        self.deleted_claims.append((namespace, name))

    def health(self, namespaces: Sequence[str] = ()) -> Health:
        self._fail()
        self.asked_in = list(namespaces)
        return self.told_health
