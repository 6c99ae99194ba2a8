"""`make bench-launch N=500`: launches on a Kubernetes with fake nodes, against the floor. Exit code 1 when a target is missed.

The floor is what the cluster itself needs for the same objects (claim, Secret, StatefulSet): plain threads create them
through the API, and nothing else is done. Both take turns in one run, on the same cluster and machine. Launches go
through ``services.launch`` and the queue, as the wizard's last button does, with at most 128 that do not run yet.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import secrets
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import django
import psutil

IN_FLIGHT = 128
THREADS = 8  # of the floor
WEB_THREADS = 4  # that launch: in one workspace they take turns, and more would only wait for each other
ALONE = 15  # launches one at a time
BETWEEN = 1.0  # seconds between them
ROUNDS = 2  # in which the floor and Slipway take turns
TIMEOUT = 600
WHOLE = "request → Running shown"
REST = 10  # seconds
PROGRAMS = ("web", "relay", "worker", "controller")
COUNTER = re.compile(r"^apiserver_request_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.M)
KINDS = ("statefulsets", "secrets", "persistentvolumeclaims")
VERBS = ("POST", "APPLY", "PATCH", "PUT", "GET", "DELETE")
TARGETS = {"ratio": 0.6, "cpu": 0.020, "added": 0.100}
SERVERS_OWN = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "finalizers")


@dataclass
class Seen:
    """When (on this machine's clock) a watch first told of each StatefulSet and each pod that is Ready, by session."""

    kube: Any
    namespace: str
    statefulsets: dict[str, float] = field(default_factory=dict)
    ready: dict[str, float] = field(default_factory=dict)
    stop: bool = False

    def start(self) -> None:
        for path, told in (("/apis/apps/v1/namespaces/{}/statefulsets", self._set), ("/api/v1/namespaces/{}/pods", self._pod)):
            threading.Thread(target=self._watch, args=(path.format(self.namespace), told), daemon=True).start()

    def _watch(self, path: str, told: Callable[[Any], None]) -> None:
        version = ""
        while not self.stop:
            query = f"?watch=1&timeoutSeconds=300{f'&resourceVersion={version}' if version else ''}"
            answer = self.kube.pool.request(
                "GET", f"{self.kube.server}{path}{query}", headers={"Authorization": self.kube.token}, preload_content=False, timeout=310
            )
            rest = b""
            for chunk in answer.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    version = event["object"].get("metadata", {}).get("resourceVersion", "") if event["type"] != "ERROR" else ""
                    if event["type"] in ("ADDED", "MODIFIED"):
                        told(event["object"])

    def _set(self, found: Any) -> None:
        self.statefulsets.setdefault(found["metadata"]["name"], time.time())

    def _pod(self, found: Any) -> None:
        conditions = found.get("status", {}).get("conditions", [])
        if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
            self.ready.setdefault(found["metadata"]["name"].removesuffix("-0"), time.time())


class Template:
    """The objects of a session that Slipway made, to be made again under other names without it."""

    def __init__(self, kube: Any, namespace: str, host: str, claim: str) -> None:
        from compute.clusters.kubernetes.labels import MANAGER

        self.claim = claim
        core, apps = f"/api/v1/namespaces/{namespace}", f"/apis/apps/v1/namespaces/{namespace}"
        addresses = {"persistentvolumeclaims": (core, claim), "secrets": (core, host), "statefulsets": (apps, host)}
        self.parts = [
            (f"{base}/{kind}", json.dumps(self._bare(kube.get(f"{base}/{kind}/{name}"))).replace(f'"{MANAGER}"', '"floor"'))
            for kind, (base, name) in addresses.items()
        ]  # not as Slipway's, or its controller would follow them, and the floor be measured beside it
        self.namespace, self.host = namespace, host

    def _bare(self, found: Any) -> Any:
        """Without what the server added."""
        found.pop("status", None)
        found["metadata"] = {key: value for key, value in found["metadata"].items() if key not in SERVERS_OWN}
        if found["kind"] == "PersistentVolumeClaim":
            found["spec"].pop("volumeName", None)
            notes = found["metadata"].get("annotations", {})
            found["metadata"]["annotations"] = {key: value for key, value in notes.items() if "kubernetes.io" not in key}
        return found

    def create(self, kube: Any, namespace: str, name: str) -> None:
        for path, body in self.parts:
            mine = body.replace(self.claim, f"{name}-home").replace(self.host, name).replace(f'"{self.namespace}"', f'"{namespace}"')
            kube.create(path.replace(f"/{self.namespace}/", f"/{namespace}/"), json.loads(mine))


def until(condition: Callable[[], bool], what: str, step: float = 0.01) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"It did not happen in time: {what}")
        time.sleep(step)


class Floor:
    def __init__(self, kube: Any, template: Template) -> None:
        self.kube, self.template = kube, template
        self.namespace = f"h-floor-{secrets.token_hex(2)}"
        # The same guards, quota and network policy need not be there: Slipway makes them once, not per launch.
        kube.create("/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        until(lambda: bool(kube.get(f"/api/v1/namespaces/{self.namespace}/serviceaccounts/default")), "the namespace's service account")
        self.seen = Seen(kube, self.namespace)
        self.seen.start()

    def alone(self) -> float:
        """Seconds from the first request until the pod is Ready."""
        name, started = f"floor-{secrets.token_hex(4)}", time.time()
        self.template.create(self.kube, self.namespace, name)
        until(lambda: name in self.seen.ready, "a pod of the floor is Ready", 0.002)
        return self.seen.ready[name] - started

    def burst(self, count: int) -> float:
        """Seconds until that many pods are Ready, with at most ``IN_FLIGHT`` that are not."""
        names = [f"floor-{secrets.token_hex(4)}" for _ in range(count)]
        before, slots, started = len(self.seen.ready), threading.Semaphore(IN_FLIGHT), time.time()

        def create(name: str) -> None:
            slots.acquire()
            self.template.create(self.kube, self.namespace, name)

        with ThreadPoolExecutor(THREADS) as threads:
            done = [threads.submit(create, name) for name in names]
            free(slots, lambda: len(self.seen.ready) - before, count)
            for one in done:
                one.result()
        return time.time() - started


def free(slots: threading.Semaphore, finished: Callable[[], int], count: int) -> None:
    """Give a slot back for each that has finished, until all have."""
    given, deadline = 0, time.monotonic() + TIMEOUT
    while given < count:
        now = finished()
        for _ in range(now - given):
            slots.release()
        given = max(given, now)
        if time.monotonic() > deadline:
            raise RuntimeError(f"Only {given} of {count} were there in time.")
        time.sleep(0.1)  # to ask costs CPU time that the cluster could use


class Launches:
    """What users do: ``services.launch``, on several threads of the web."""

    def __init__(self, lab: Any) -> None:
        from sessions.models import Phase, Session

        self.lab, self.sessions, self.running = lab, Session.objects.filter(workspace=lab.workspace), Phase.RUNNING
        self.seen, self.spec = Seen(lab.kube, lab.namespace), lab.spec("unnamed")
        self.requested: dict[str, float] = {}
        self.web_cpu = 0.0
        self.lock = threading.Lock()

    def launch(self) -> str:
        from sessions import services

        spec = replace(self.spec, name=f"b{secrets.token_hex(4)}")
        started, cpu = time.time(), time.thread_time()
        session = services.launch(self.lab.member, self.lab.workspace, spec)
        with self.lock:
            self.requested[session.host] = started
            self.web_cpu += time.thread_time() - cpu
        return session.host

    def alone(self) -> str:
        """Returns once Running is shown."""
        host = self.launch()
        until(lambda: self.sessions.filter(host=host, phase=self.running).exists(), "one session runs", 0.005)
        return host

    def burst(self, count: int) -> tuple[float, list[str]]:
        before, slots, started = self.sessions.filter(phase=self.running).count(), threading.Semaphore(IN_FLIGHT), time.time()
        hosts: list[str] = []

        def launch() -> None:
            slots.acquire()
            hosts.append(self.launch())

        with ThreadPoolExecutor(WEB_THREADS) as threads:
            done = [threads.submit(launch) for _ in range(count)]
            free(slots, lambda: self.sessions.filter(phase=self.running).count() - before, count)
            for one in done:
                one.result()
        return time.time() - started, hosts

    def shown(self) -> dict[str, float]:
        """When each session was shown as Running."""
        times = self.sessions.exclude(running_since=None).values_list("host", "running_since")
        return {host: since.timestamp() for host, since in times if since}


def families(stack: Any) -> dict[str, list[psutil.Process]]:
    found = {}
    for name in PROGRAMS:
        parent = psutil.Process(stack.pid(name))
        found[name] = [parent, *parent.children(recursive=True)]
    return found


def cpu_seconds(stack: Any) -> dict[str, float]:
    """Of each program, its children and those of them that have ended."""
    return {name: sum(sum(process.cpu_times()[:4]) for process in processes) for name, processes in families(stack).items()}


def at_rest(stack: Any) -> float:
    """CPU seconds per second of all programs while nothing happens."""
    before, began = sum(cpu_seconds(stack).values()), time.monotonic()
    time.sleep(REST)
    return (sum(cpu_seconds(stack).values()) - before) / (time.monotonic() - began)


def memory(stack: Any) -> dict[str, float]:
    """MB of each program; what its processes share is counted once."""
    return {name: sum(one.memory_full_info().pss for one in processes) / 1e6 for name, processes in families(stack).items()}


def api_calls(kube: Any) -> Counter[str]:
    """How often the API server has answered requests for objects of the kinds that sessions have, and every 429."""
    counts: Counter[str] = Counter()
    for match in COUNTER.finditer(kube.call("GET", "/metrics")[1].decode()):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match["labels"]))
        number = int(float(match["count"]))
        if labels["code"] == "429":
            counts["429"] += number
        if labels["resource"] in KINDS and labels["verb"] in VERBS and not labels["subresource"]:
            counts[f"{labels['verb']} {labels['resource']}"] += number
    return counts


def others(calls: Counter[str]) -> Counter[str]:
    """What the cluster's own controllers ask for while the floor is measured: all but what creates its objects."""
    return Counter({name: number for name, number in calls.items() if not name.startswith("POST") and name != "429"})


def percentiles(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered) * 1000:6.0f} ms   p95 {ordered[int(len(ordered) * 0.95)] * 1000:6.0f} ms"


def measure(stack: Any, kube: Any, count: int) -> dict[str, Any]:
    """Everything; times in seconds."""
    from tests.cluster.lab import new_lab

    lab = new_lab(stack, kube, pool="fake")
    launches, floor = Launches(lab), None
    try:
        launches.alone()  # makes the namespace, and warms everything
        session = launches.sessions.get()
        launches.seen.start()
        floor = Floor(kube, Template(kube, lab.namespace, session.host, lab.follow(session).claim))
        floor.alone()
        alone: list[str] = []
        found: dict[str, Any] = {"floor_alone": [], "floor_seconds": 0.0, "seconds": 0.0, "hosts": []}
        for _ in range(ALONE):
            time.sleep(BETWEEN)
            found["floor_alone"].append(floor.alone())
            alone.append(launches.alone())
        found["alone_spans"] = spans(launches, alone)
        found["rest"] = at_rest(stack)
        spent = dict.fromkeys((*PROGRAMS, "services.launch"), 0.0)
        calls: Counter[str] = Counter()
        for _ in range(ROUNDS):
            before = api_calls(kube)
            found["floor_seconds"] += floor.burst(count // ROUNDS)
            calls.subtract(others(api_calls(kube) - before))
            cpu, web, before = cpu_seconds(stack), launches.web_cpu, api_calls(kube)
            seconds, hosts = launches.burst(count // ROUNDS)
            found["seconds"] += seconds
            found["hosts"] += hosts
            time.sleep(1)  # what is still being written down belongs to these launches
            spent |= {name: spent[name] + after - cpu[name] for name, after in cpu_seconds(stack).items()}
            spent["services.launch"] += launches.web_cpu - web
            calls.update(api_calls(kube) - before)
        return found | {"cpu": spent, "calls": calls, "memory": memory(stack), "spans": spans(launches, found["hosts"])}
    finally:
        launches.seen.stop = True
        kube.delete_namespace(lab.namespace)
        if floor is not None:
            floor.seen.stop = True
            kube.delete_namespace(floor.namespace)


def spans(launches: Launches, hosts: list[str]) -> dict[str, list[float]]:
    asked, made, ready, shown = launches.requested, launches.seen.statefulsets, launches.seen.ready, launches.shown()
    return {
        "request → StatefulSet": [made[host] - asked[host] for host in hosts],
        "StatefulSet → pod Ready": [ready[host] - made[host] for host in hosts],
        "pod Ready → Running shown": [shown[host] - ready[host] for host in hosts],
        WHOLE: [shown[host] - asked[host] for host in hosts],
    }


def show(found: dict[str, Any], count: int) -> list[str]:
    """Prints, and returns the targets that were missed."""
    count = count // ROUNDS * ROUNDS
    rate, floor = count / found["seconds"], count / found["floor_seconds"]
    added = statistics.median(found["alone_spans"][WHOLE]) - statistics.median(found["floor_alone"])
    per_launch = {name: seconds / count for name, seconds in found["cpu"].items()}
    cpu, calls = sum(per_launch.values()), found["calls"]
    print(f"\n{count} launches on fake nodes, {IN_FLIGHT} in flight")
    print(f"  floor    {floor:6.1f} sessions/s")
    print(f"  Slipway  {rate:6.1f} sessions/s   {rate / floor:.2f} of the floor (target {TARGETS['ratio']})")
    for name, values in found["spans"].items():
        print(f"  {name:26} {percentiles(values)}")
    print(f"  CPU per launch {cpu * 1000:.1f} ms (target {TARGETS['cpu'] * 1000:.0f}): ", end="")
    print(", ".join(f"{name} {seconds * 1000:.1f}" for name, seconds in per_launch.items()))
    print(f"  of it {found['rest'] * found['seconds'] / count * 1000:.1f} ms that the programs need at rest as well")
    print("  memory: " + ", ".join(f"{name} {size:.0f} MB" for name, size in found["memory"].items()))
    told = ", ".join(f"{name} {number / count:.2f}" for name, number in sorted(calls.items()) if name != "429" and number > 0)
    print(f"  API calls per launch, without those of the cluster's own controllers: {told}; answered 429: {calls['429']}")
    print(f"\nOne launch alone\n  {'floor':26} {percentiles(found['floor_alone'])}")
    for name, values in found["alone_spans"].items():
        print(f"  {name:26} {percentiles(values)}")
    print(f"  {'added':26} p50 {added * 1000:6.0f} ms (target {TARGETS['added'] * 1000:.0f})")
    missed = [f"{rate / floor:.2f} of the floor's rate"] if rate / floor < TARGETS["ratio"] else []
    missed += [f"{cpu * 1000:.1f} ms of CPU per launch"] if cpu > TARGETS["cpu"] else []
    missed += [f"one launch alone added {added * 1000:.0f} ms"] if added > TARGETS["added"] else []
    return missed + ([f"{calls['429']} requests were answered 429"] if calls["429"] else [])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.launch_cluster", description=__doc__)
    parser.add_argument("--launches", type=int, default=500)
    arguments = parser.parse_args()
    if "KUBECONFIG" not in os.environ:
        parser.error("set KUBECONFIG to a cluster with fake nodes: CONTRIBUTING.md says how to get one")
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from tests.cluster.kube import Kube
    from tests.cluster.lab import slipway_on

    logging.disable(logging.INFO)
    started, kube = time.monotonic(), Kube()
    with slipway_on(kube) as stack:
        stack.kill("worker")  # the next one knows the cluster when it starts, as anywhere but in a test
        missed = show(measure(stack, kube, arguments.launches), arguments.launches)
    print(f"\n{'; '.join(missed) or 'Every target is met'} ({time.monotonic() - started:.0f} s).")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
