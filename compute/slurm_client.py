"""What a Slurm controller says, asked with the Slurm client commands of the control plane's own machine.

Commands, because they are the one interface that every Slurm site has: slurmrestd is rarely there. Only ``-o`` formats are
read, which mean the same from 22.05 on; the shape of ``--json`` changes with each release. The token and the controller's
address are in the child's environment alone: never in its arguments, which every user of the machine can read, nor in a log.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compute.slurm import has_expired
from compute.slurm_causes import SlurmError, cause_of, no_client, nothing_answers, silent, unknown_host

CONNECT = 2.0  # seconds for a controller to take a connection; the commands themselves try for nine
COMMAND = 8.0  # seconds for an answer; five of them must fit into a task's minute
LISTED = 50  # jobs of a user that are kept
IDLE = frozenset({"idle"})
IN_USE = frozenset({"allocated", "mixed", "completing"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "STAGE_OUT", "SIGNALING", "RESIZING"})
MARKS = "*~#!%$@^+-"  # what sinfo adds to a state: does not respond, powered down, about to reboot …
OWN_CONFS = (Path("/etc/slurm/slurm.conf"), Path("/run/slurm/conf/slurm.conf"))  # the commands prefer these to any address


@dataclass(frozen=True)
class Nodes:
    """How many nodes are free, in use (also in part), and neither: down, drained, reserved …"""

    idle: int = 0
    in_use: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return self.idle + self.in_use + self.other


@dataclass(frozen=True)
class Partition:
    name: str
    state: str  # up, down, drain, inact
    time_limit: str
    nodes: Nodes


@dataclass(frozen=True)
class Job:
    id: str
    name: str
    state: str
    elapsed: str
    reason: str  # why it waits; "None" is left out
    partition: str


@dataclass(frozen=True)
class Jobs:
    """A user's jobs that are not over: the first of them, those that run before those that wait, and how many in all."""

    listed: Sequence[Job] = ()
    total: int = 0
    running: int = 0


@dataclass(frozen=True)
class Overview:
    """A cluster as one user sees it. Nodes are counted once, however many partitions they are in; None where the cluster
    shows users neither nodes nor partitions."""

    partitions: Sequence[Partition]
    nodes: Nodes | None
    version: str
    client_version: str

    @property
    def skew(self) -> str:
        """What the versions' difference may break, in a sentence; empty when they fit."""
        return version_skew(self.client_version, self.version)


@dataclass(frozen=True)
class Client:
    """Asks a cluster as the token's user. Every method raises :class:`SlurmError`, and takes at most ``COMMAND`` per command."""

    controllers: Sequence[str]
    token: str = field(repr=False)

    def overview(self) -> Overview:
        """Four commands, some 30 ms each."""
        version = _word(r"^SLURM_VERSION\s*=\s*(\S+)", self._run("scontrol", "show", "config"))
        partitions, nodes = self._partitions_and_nodes()
        # Even this answers only with the controller's configuration.
        return Overview(partitions, nodes, version, _word(r"^\S+ (\d\S*)", self._run("scontrol", "--version")))

    def _partitions_and_nodes(self) -> tuple[list[Partition], Nodes | None]:
        try:
            partitions = _partitions(self._rows("sinfo", "-h", "-o", "%R|%a|%l|%T|%D", fields=5))
            return partitions, _nodes(self._rows("sinfo", "-h", "-o", "%T|%D", fields=2))
        except SlurmError as error:
            if error.code != "slurm_denied":
                raise
            return [], None  # its PrivateData says so; jobs may be shown all the same

    def jobs(self, uid: int) -> Jobs:
        """The jobs of that user id, whatever the cluster lets the token's user see. One command."""
        # By id, because the name may be unknown to this machine. The id of each line is looked at again: older commands
        # filter by themselves, after the controller has sent everybody's.
        rows = self._rows("squeue", "-h", "-u", str(uid), "-o", "%U|%i|%T|%M|%P|%r|%j", fields=7)
        own = [Job(row[1], row[6], row[2], row[3], "" if row[5] == "None" else row[5], row[4]) for row in rows if row[0] == str(uid)]
        own.sort(key=lambda job: job.state not in RUNNING)
        return Jobs(own[:LISTED], len(own), sum(job.state in RUNNING for job in own))

    def _rows(self, command: str, *arguments: str, fields: int) -> list[list[str]]:
        """The lines of a ``|`` format; the last field may hold anything. Lines that don't fit (a line break in a name) are left out."""
        lines = (line.split("|", fields - 1) for line in self._run(command, *arguments).splitlines())
        return [[part.strip() for part in line] for line in lines if len(line) == fields]

    def _run(self, command: str, *arguments: str) -> str:
        path = shutil.which(command)
        if path is None:
            raise no_client(command)
        try:
            done = subprocess.run(
                [path, *arguments],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND,
                cwd="/",
            )
        except subprocess.TimeoutExpired:
            raise silent(self.controllers) from None
        except OSError:
            raise no_client(command) from None
        if done.returncode:
            raise cause_of(done.stderr, expired=has_expired(self.token, time.time()), own_conf=own_conf())
        return done.stdout

    def _environment(self) -> dict[str, str]:
        path = os.environ.get("PATH", os.defpath)
        return {"PATH": path, "LC_ALL": "C.UTF-8", "SLURM_CONF_SERVER": ",".join(self.controllers), "SLURM_JWT": self.token}


def answering(controllers: str) -> list[str]:
    """Those of ``host:port,host:port`` that take a connection. Raises :class:`SlurmError` when none does.

    Asked first, and only these are handed to the commands: they try a dead one for nine seconds.
    """
    found: list[str] = []
    problem: SlurmError | None = None
    for address in (item.strip() for item in controllers.split(",")):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT).close()
            found.append(address)
        except socket.gaierror:
            problem = problem or unknown_host(host)
        except OSError as error:
            problem = problem or nothing_answers(address, "refused" if isinstance(error, ConnectionRefusedError) else "")
    if not found and problem:
        raise problem
    return found


def own_conf() -> str:
    """A slurm.conf of this machine, which the commands use instead of the addresses they are given; empty if there is none."""
    return next((str(path) for path in OWN_CONFS if path.exists()), "")


def version_skew(client: str, controller: str) -> str:
    """A sentence when Slurm does not promise that this machine's client works with the controller; empty when it does."""
    theirs, ours = _release(controller), _release(client)
    if theirs is None or ours is None:
        return ""
    differs = f"Slipway’s own Slurm client ({client}) is {{}} than the controller ({controller}): what is shown may be wrong or missing."
    if ours > theirs:
        return f"{differs.format('newer')} An admin can install a client of its release."
    if theirs[0] - ours[0] >= 2:
        return f"{differs.format('years older')} An admin can install a newer one."
    return ""


def _word(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else ""


def _release(version: str) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else None


def _partitions(rows: Iterable[Sequence[str]]) -> list[Partition]:
    about: dict[str, tuple[str, str]] = {}
    counted: dict[str, list[Sequence[str]]] = {}
    for name, state, limit, *nodes in rows:
        about.setdefault(name, (state, limit))
        counted.setdefault(name, []).append(nodes)
    return [Partition(name, state, limit, _nodes(counted[name])) for name, (state, limit) in about.items()]


def _nodes(rows: Iterable[Sequence[str]]) -> Nodes:
    count: Counter[str] = Counter()
    for state, number in rows:
        plain = state.rstrip(MARKS).lower()
        # A node that does not respond is nobody's, whatever it did last.
        kind = "other" if "*" in state else "idle" if plain in IDLE else "in_use" if plain in IN_USE else "other"
        count[kind] += int(number) if number.isdigit() else 0
    return Nodes(count["idle"], count["in_use"], count["other"])
