"""Runs one session until what is wanted of it is true: ``python -m compute.clusters.local.supervisor ROOT NAMESPACE NAME``.

The only writer of the session's status and the only one that starts or ends its processes; the lock makes sure there
is one. It may be killed at any moment: the next one finds the IDE by pid and start time, adopts it if it serves what
is wanted, ends it otherwise. It leaves when the session is paused, removed or failed. Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from compute.clusters.base import ClusterError
from compute.clusters.local import detach, layout, processes, sandbox
from compute.clusters.local.images import BuildFailed
from compute.clusters.local.launch import Launch
from compute.clusters.local.layout import Session
from compute.clusters.local.processes import Process
from compute.clusters.local.start import Start
from compute.clusters.local.status import State, Status, add_event, ending

GRACE = 10.0
WAKE = (signal.SIGHUP, signal.SIGCHLD)
TICK, IDLE = 0.03, 2.0


class Superseded(Exception):
    """Something else is wanted now."""


class Failed(Exception):
    """The session's start is given up."""

    def __init__(self, reason: str, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.reason, self.log_tail = reason, log_tail


class Supervisor:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.desired: dict[str, Any] = {}
        self.version: tuple[int, int] | None = None
        self.status = Status()
        self.exits: dict[int, int] = {}

    def run(self) -> None:
        """Converge, until there is nothing left to do and nothing new is wanted."""
        while True:
            self.version = self._version()
            self.desired = layout.read_json(self.session.desired) or {"want": "pause", "revision": 0}
            self.status = Status.load(self.session.status) or Status()
            with suppress(Superseded):
                if self.desired["want"] == "run":
                    self._run()
                else:
                    self._end()
            if self._leave():
                return

    def _leave(self) -> bool:
        """Settle under the driver's lock, unless something new is wanted."""
        with self.session.locked():
            if self._version() != self.version:
                return False
            if self.desired["want"] == "remove":
                self._delete()
            elif self.desired["want"] == "pause":
                self._scratch_away()
                self.status = Status(revision=self.status.revision, state=State.PAUSED)
                self._save()
                add_event(self.session.events, "Paused", "Compute is released; the volumes stay.")
            with suppress(FileNotFoundError):
                os.truncate(self.session.lock, 0)
            return True

    def _delete(self) -> None:
        self._scratch_away()
        shutil.rmtree(self.session.folder)
        self.session.turn.unlink(missing_ok=True)
        with suppress(OSError):  # other sessions are in it
            self.session.folder.parent.rmdir()

    def _scratch_away(self) -> None:
        self.session.unpublish()
        for folder in (self.session.tmp, self.session.run, self.session.tools):
            shutil.rmtree(folder, ignore_errors=True)

    # Running

    def _run(self) -> None:
        same = self.status.revision == self.desired["revision"]
        if same and self.status.state == State.FAILED:
            return
        try:
            if same and self._find_again():
                self._watch()
            else:
                self._end()
                self._start()
                self._watch()
        except Failed as failure:
            self._fail(failure)
        except (OSError, ClusterError) as error:  # no process, no memory, a full disk
            self._fail(Failed("StartFailed", f"This machine could not start the session: {error}"))

    def _find_again(self) -> bool:
        """Whether an IDE that another supervisor started still runs. One that was Running and is gone has crashed."""
        main, state = self.status.process, self.status.state
        if main is not None and main.alive() and state in (State.SERVING, State.RUNNING):
            add_event(self.session.events, "Adopted", "The session's supervisor had ended; a new one watches the IDE.", "Warning")
            return True
        if state == State.RUNNING:
            restarted = self.status.boot != processes.boot_id()
            reason = "MachineRestarted" if restarted else "Crashed"
            message = "The machine was restarted while the session ran. Resume it." if restarted else ending(None)
            raise Failed(reason, message, layout.tail(self.session.server_log, 40))
        return False

    def _start(self) -> None:
        """Everything up to a server that runs, though it may not answer yet."""
        fresh = Status(revision=self.desired["revision"], since=time.clock_gettime(time.CLOCK_BOOTTIME), boot=processes.boot_id())
        if self.status.revision == fresh.revision and self.status.boot == fresh.boot:
            fresh.since = self.status.since  # the deadline stays, however often a supervisor is killed
        self.status = fresh
        self.status.begin("compute")
        self.status.finish("compute", message=f"On {socket.gethostname()}.")
        start = Start(self.session, self.desired)
        self._step("image", "Looking for the image…")
        self._image(start)
        self._step("storage", "Preparing the volumes…")
        sandbox.adopt_orphans(True)
        try:
            self.status.warnings = start.prepare_storage()
            self.status.isolated = start.isolated
        except OSError as error:
            raise Failed("StorageFailed", f"The volumes could not be prepared: {error.strerror} ({error.filename}).") from error
        self.status.finish("storage", message="")
        self._step("server", "Starting the IDE…")
        self._launch(start)

    def _image(self, start: Start) -> None:
        # A builder must not become our child, and so part of the session.
        sandbox.adopt_orphans(False)
        try:
            start.find_image(lambda message: self._step("image", message), self._go_on)
        except BuildFailed as error:
            raise Failed("ImageBuildFailed", str(error), error.log) from error
        self.status.finish("image", message="")

    def _launch(self, start: Start) -> None:
        launch = start.launch()
        try:
            while self.status.state == State.STARTING:
                self._go_on()
                self._reap()
                ended = launch.ended(self.exits, self.status.process)  # before reading: its last words still count
                reports = launch.read()
                for report in reports:
                    self._heard(report, launch)
                if not reports and ended:
                    raise Failed("StartFailed", "The session ended before its IDE was started.", layout.tail(self.session.init_log, 40))
                if not reports:
                    self._sleep(TICK)
        finally:
            launch.close()

    def _heard(self, report: dict[str, Any], launch: Launch) -> None:
        """Take note of what the launched child says."""
        match report:
            case {"main": pid}:
                self.exits.pop(pid, None)
                main = Process.of(pid)
                self.status.main = main.dump() if main else None
                self._save()
                launch.go()
            case {"warning": text}:
                self.status.warnings.append(text)
            case {"script": name}:
                self._step("server", f"Running the init script {name}…")
            case {"script_failed": name, "code": code}:
                message = f"The init script {name} failed with exit code {code}."
                raise Failed("InitScriptFailed", message, layout.tail(self.session.init_log, 40))
            case {"error": text}:
                raise Failed("StartFailed", f"The session could not be started: {text}.", layout.tail(self.session.init_log, 40))
            case {"server": True}:
                self.status.state = State.SERVING
                self._step("server", "Waiting for the IDE to answer…")

    def _watch(self) -> None:
        """Probe the server until it answers, then wait for its end. Returns only by an exception."""
        probe, owner = self.desired["workload"]["probe"], self.desired["account"]["uid"]
        if self.status.state == State.RUNNING:
            self.session.publish(owner)  # adopted: the link may have gone meanwhile
        while True:
            if self.status.state == State.SERVING:
                self._go_on()
                # Published before it is asked: what is at the session's own path may be anybody's.
                if self.session.publish(owner) and answers(self.session.socket, probe["path"], probe["statuses"]):
                    self.status.state = State.RUNNING
                    self.status.finish("server", message="")
                    # The event first: who sees the status also finds what led to it.
                    add_event(self.session.events, "Ready", "The IDE answers.")
                    self._save()
            elif self._version() != self.version:
                raise Superseded
            self._reap()
            main = self.status.process
            if main is None or not main.alive():
                code = self.exits.get(main.pid) if main else None
                reason = "Exited" if code == 0 else "Crashed"
                raise Failed(reason, ending(code), layout.tail(self.session.server_log, 40))
            trim(self.session.server_log)
            self._sleep(TICK if self.status.state == State.SERVING else IDLE)

    def _go_on(self) -> bool:
        """True, unless something else is wanted or the time for starting is over."""
        if self._version() != self.version:
            raise Superseded
        limit = self.desired["workload"]["start_timeout"]
        if time.clock_gettime(time.CLOCK_BOOTTIME) - self.status.since > limit:
            log = self.session.init_log if self.status.state == State.STARTING else self.session.server_log
            raise Failed("StartTimeout", f"The session did not start within {limit} seconds.", layout.tail(log, 40))
        return True

    # Ending

    def _fail(self, failure: Failed) -> None:
        step = self.status.active
        self._end()
        self.status.state, self.status.main = State.FAILED, None
        self.status.reason, self.status.message, self.status.log_tail = failure.reason, str(failure), failure.log_tail
        self.status.finish(step, "failed", str(failure))
        add_event(self.session.events, failure.reason, str(failure), "Warning")
        self._save()

    def _end(self) -> None:
        """End every process of the session, politely first. Returns when none is left."""
        main = self.status.process
        if main is not None and main.alive():
            main.send(signal.SIGTERM, group=not self.status.isolated)
            deadline = time.monotonic() + GRACE
            while main.alive() and time.monotonic() < deadline:
                self._sleep(TICK)
                self._reap()
        while left := processes.of_session(self.session.id, (os.getpid(), *([main.pid] if main and main.alive() else []))):
            for process in left:
                process.send(signal.SIGKILL)
            self._sleep(TICK)
            self._reap()

    # Small things

    def _step(self, step: str, message: str) -> None:
        if self.status.steps.get(step, {}).get("state") == "active":
            self.status.steps[step]["message"] = message
        else:
            self.status.begin(step, message)
        self._save()

    def _save(self) -> None:
        self.status.save(self.session.status)

    def _version(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.session.desired)
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _sleep(self, seconds: float) -> None:
        """Until the time is over, a child has ended or the driver has something new."""
        signal.sigtimedwait(WAKE, seconds)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self.exits[pid] = os.waitstatus_to_exitcode(status)


def answers(path: Path, target: str, statuses: list[int]) -> bool:
    """Whether a GET over the socket has one of the statuses; without any, whether it has a good one."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(path))
            connection.sendall(f"GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            line = connection.recv(64).split(b" ", 2)
    except OSError:
        return False
    if len(line) < 2 or not line[1].isdigit():
        return False
    return int(line[1]) in statuses if statuses else 200 <= int(line[1]) < 400


def trim(log: Path) -> None:
    """Keep the log's end when it has grown too big. Its writer appends, so it goes on after what is kept."""
    if log.stat().st_size > layout.LOG_LIMIT:
        kept = layout.tail(log, 1_000_000, layout.LOG_KEEP)
        os.truncate(log, 0)
        with log.open("a") as file:
            file.write(kept)


def main(root: str, namespace: str, name: str) -> None:
    session = Session(Path(root), namespace, name)
    ready = detach.detach()
    signal.pthread_sigmask(signal.SIG_BLOCK, WAKE)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        lock = session.lock.open("a")
    except FileNotFoundError:
        return  # removed meanwhile
    for _ in range(100):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(TICK)  # one that is about to leave
    else:
        return  # another supervisor lives, and will see what is wanted
    myself = Process.of(os.getpid())
    layout.write_json_into(lock, myself.dump() if myself else {})
    ready()
    Supervisor(session).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
