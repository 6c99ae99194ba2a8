"""A stack of its own to break, with small IDEs in place of code-server, and what must be true of it afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from compute.clusters.local import layout, processes
from compute.clusters.local.builder import find_python
from compute.clusters.local.processes import Process
from presets.models import Preset
from sessions.models import LEASE, Desired, Phase, Session
from sessions.spec import EnvInput, SpecInput, defaults
from sessions.tasks import QUEUE_STALE
from storage.models import Volume
from tests import laboratory
from tests.laboratory import GONE, Laboratory, models_of, wait_until
from tests.stack import Stack, fresh_database

HERE = Path(__file__).parent
SWEEP = float(settings.SLIPWAY_SWEEP_SECONDS)
BUSY = 30.0  # for what a loaded machine of two cores needs to start programs and IDEs
# Within how many seconds all is well again:
SOON = 2 * SWEEP + BUSY  # whatever was killed is started again, and what it had in hand is given back
LOST_TASK = QUEUE_STALE.total_seconds() + SWEEP + BUSY
HELD_ROW = LEASE.total_seconds() + SWEEP + BUSY  # its task was killed at work, and the row is leased


class Subject(laboratory.Subject):
    """One session, as the database, the disk and the machine's processes show it."""

    @property
    def on_disk(self) -> layout.Session:
        return layout.Session(self.lab.stack.local_root, self.lab.workspace.namespace, self.host)

    @property
    def home(self) -> Path:
        return self.on_disk.claim(self.claim)

    @property
    def starts(self) -> int:
        """How often its IDE has been started. Kept in the home volume, so it tells of a lost folder too."""
        file = self.home / "starts"
        return len(file.read_text().splitlines()) if file.exists() else 0

    @property
    def main(self) -> Process | None:
        return Process.load((layout.read_json(self.on_disk.status) or {}).get("main"))

    @property
    def supervisor(self) -> Process | None:
        found = Process.load(layout.read_json(self.on_disk.lock))
        return found if found and found.alive() else None

    def ides(self) -> list[int]:
        """Processes that were started with the IDE's socket."""
        return [pid for pid, command in self.lab.commands() if str(self.on_disk.ide_socket) in command]

    def supervisors(self) -> list[int]:
        """Without the first process of the session's namespace, which is a fork of its supervisor, and what comes of it."""
        found = {pid for pid, command in self.lab.commands() if "local.supervisor" in command and self.host in command}
        first = {self.main.pid} if self.main else set()
        return [pid for pid in found - first if not (found | first).intersection(parents_of(pid))]

    def processes(self) -> list[Process]:
        return processes.of_session(self.on_disk.id)

    def is_starting(self) -> bool:
        """Its IDE runs, and does not answer yet."""
        return self.starts > 0 and self.phase != Phase.RUNNING

    def is_leased(self) -> bool:
        """A task is at work on it."""
        row = self.row
        return row is not None and row.lease_until is not None

    def release(self) -> None:
        """Let an IDE that holds back answer, whenever it is started."""
        (self.home / "go").touch()

    def kill_supervisor(self) -> None:
        if supervisor := self.supervisor:
            supervisor.send(signal.SIGKILL)

    def kill_ide(self) -> None:
        for pid in self.ides():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Lab(Laboratory[Subject]):
    subject = Subject

    def __getitem__(self, name: str) -> Subject:
        return next(subject for subject in self.subjects if subject.session.name == name)

    def spec(self, name: str, *, hold: bool = False, preset: str = "vscode") -> SpecInput:
        spec = defaults(self.member, self.workspace, Preset.objects.get(slug=preset))
        return replace(spec, name=name, env=(EnvInput("HOLD", "1"),) if hold else ())

    def launch_all(self, *names: str) -> list[Subject]:
        """Launch them and wait until they are Running."""
        made = [self.launch(name) for name in names]
        self.reach(dict.fromkeys((one.session.name for one in made), Phase.RUNNING), SOON)
        return made

    def reach(self, wanted: dict[str, str], seconds: float, what: str = "") -> dict[str, float]:
        """Wait until each session (by name) has its phase; returns after how many seconds it had, and prints it."""
        started, reached = time.monotonic(), {}
        subjects = {subject.session.name: subject for subject in self.subjects if subject.session.name in wanted}
        while len(reached) < len(wanted):
            phases = dict(Session.objects.filter(pk__in=[one.session.pk for one in subjects.values()]).values_list("name", "phase"))
            now = time.monotonic() - started
            for name, phase in wanted.items():
                if name not in reached and phases.get(name, GONE) == phase:
                    reached[name] = now
            missing = {name: phases.get(name, GONE) for name in wanted if name not in reached}
            assert now < seconds, f"After {now:.0f} s, instead of {wanted}: {missing}\n{self.explain(missing)}"
            time.sleep(0.05)
        if what:
            print(f"{what}: " + ", ".join(f"{name} {wanted[name]} {after:.1f} s" for name, after in reached.items()))
        return reached

    def explain(self, names: Any) -> str:
        rows = Session.objects.filter(workspace=self.workspace, name__in=list(names)).values()
        left = ("snapshot", "env", "ide_token")
        return "\n".join(str({name: value for name, value in row.items() if name not in left}) for row in rows)

    def check(self) -> None:
        """What must be true once everything has come to rest: nothing stuck, doubled, orphaned or lost."""
        wait_until(self.is_at_rest, SWEEP + BUSY, "every row is at rest")
        for subject in self.subjects:
            self.check_processes(subject)
            assert (subject.home.exists()) or subject.starts == 0
            assert Volume.objects.filter(workspace=self.workspace, claim=subject.claim, trashed_at=None).exists()
            told = subject.told()
            assert all(one != next_one for one, next_one in pairwise(told)), f"Said twice in a row: {told}"
            for verb in ("launch", "deleted"):
                assert len(subject.told(verb)) == (verb == "launch" or subject.row is None), verb
        assert self.orphans() == []

    def is_at_rest(self) -> bool:
        rows = Session.objects.filter(workspace=self.workspace)
        return all(
            row.applied_generation == row.status_generation == row.generation
            and row.lease_until is None
            and row.queued_at is None
            and not row.apply_reason
            for row in rows
        )

    def check_processes(self, subject: Subject) -> None:
        row = subject.row
        if row is not None and row.phase == Phase.RUNNING:
            assert len(subject.ides()) == 1, subject
            wait_until(lambda: len(subject.supervisors()) == 1, BUSY, f"one supervisor of {subject.host}")
            main = subject.main
            assert main is not None
            assert main.alive()
            assert row.desired == Desired.RUNNING
        else:
            assert subject.ides() == [], subject
            wait_until(lambda: not subject.supervisors(), BUSY, f"the supervisor of {subject.host} leaves")
            assert subject.processes() == []
        assert subject.on_disk.folder.exists() == (row is not None)

    def orphans(self) -> list[str]:
        """Command lines below the stack's folder for sessions that the lab does not know, or that have no row."""
        known = {subject.host for subject in self.subjects if subject.row is not None}
        known |= {str(subject.on_disk.run) for subject in self.subjects if subject.row is not None}
        root = str(self.stack.local_root)
        of_sessions = [command for _, command in self.commands() if root in command and ("supervisor" in command or "ide.sock" in command)]
        return [command for command in of_sessions if not any(word in command for word in known)]

    def commands(self) -> Iterator[tuple[int, str]]:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if command:
                yield int(folder.name), command

    def end(self) -> None:
        """Delete what is left, so that the next test has the machine for itself."""
        for subject in self.subjects:
            if subject.row is not None:
                subject.delete()
        wait_until(lambda: not Session.objects.filter(workspace=self.workspace).exists(), HELD_ROW, "everything is deleted")


def parents_of(pid: int) -> list[int]:
    with suppress(psutil.NoSuchProcess):
        return [parent.pid for parent in psutil.Process(pid).parents()]
    return []


def set_clock(file: Path, seconds: float) -> None:
    """Have the clock of every program of the stack, those that run included, be this many seconds off the machine's."""
    new = file.with_suffix(".new")
    new.write_text(str(seconds))
    new.replace(file)


@contextmanager
def breakable_stack() -> Iterator[Stack]:
    """A stack to break. Models of this process are in its database meanwhile."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as cleanup:
        tools = Path(tempfile.mkdtemp(prefix="slipway-faults-"))
        tools.chmod(0o755)
        cleanup.callback(shutil.rmtree, tools, ignore_errors=True)
        server = os.environ.get("DATABASE_URL", "") if connection.vendor == "postgresql" else ""
        url = cleanup.enter_context(fresh_database(server)) if server else ""
        patch.setenv("DATABASE_URL", server)  # to be put back: the stack sets it
        clock, real_now = tools / "clock", timezone.now
        set_clock(clock, 0)
        patch.setattr(timezone, "now", lambda: real_now() + timedelta(seconds=float(clock.read_text())))
        patch.setenv("SLIPWAY_TEST_CLOCK", str(clock))
        patch.setenv("PYTHONPATH", str(HERE / "clock"))
        patch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
        stack = Stack(url)
        program = tools / "code-server"
        program.write_text(f"#!{find_python('nobody')} -I\n{(HERE / 'programs' / 'code-server').read_text()}")
        program.chmod(0o755)
        cleanup.enter_context(stack)
        cleanup.enter_context(models_of(stack))
        yield stack
