"""From the supervisor to the IDE: a forked child that isolates itself, gives up privileges, runs init scripts and
starts the server. It tells the supervisor what it does over a pipe, one JSON object per line.

The supervisor records the child (``{"main": pid}``) before it says go; until then, and until the server has started,
the child ends as soon as the supervisor is gone: nothing ever runs that no record speaks of.
Standard library only.
"""

from __future__ import annotations

import json
import os
import posixpath
import signal
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from compute.clusters.local import sandbox
from compute.clusters.local.processes import Process
from compute.clusters.local.sandbox import Account, Bind


@dataclass(frozen=True)
class Plan:
    """Everything that the child needs to know. ``cover`` is None on a machine without namespaces."""

    account: Account
    home: Path
    tmp: Path
    command: tuple[str, ...]
    env: dict[str, str]
    claims: Path
    links: tuple[tuple[str, str], ...]  # mount path, folder
    scripts: tuple[tuple[str, str], ...]  # name, text
    cover: Path | None
    binds: tuple[Bind, ...] = field(default=())


class Launch:
    """The supervisor's end: a started child."""

    def __init__(self, plan: Plan, init_log: int, server_log: int) -> None:
        go_reading, self._go = os.pipe()
        self.reports, reporting = os.pipe()
        child = os.fork()
        if child == 0:
            _close_all_but({go_reading, reporting, init_log, server_log})
            _Child(plan, go_reading, reporting, init_log, server_log).run()
        os.close(go_reading)
        os.close(reporting)
        os.set_blocking(self.reports, False)
        self._first = child
        self._buffer = b""

    def read(self) -> list[dict[str, Any]]:
        """What the child has reported since."""
        with suppress(BlockingIOError):
            while chunk := os.read(self.reports, 65536):
                self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def go(self) -> None:
        with suppress(BrokenPipeError):
            os.write(self._go, b"g")

    def ended(self, exits: dict[int, int], main: Process | None) -> bool:
        """Whether the child is gone, given the exit codes of all that was reaped and what it reported as main."""
        if main is not None:
            return not main.alive()
        return self._first in exits

    def close(self) -> None:
        """From here on the child is on its own, if it has started the server; otherwise it ends."""
        os.close(self._go)
        os.close(self.reports)


def _close_all_but(kept: Iterable[int]) -> None:
    """Above all the supervisor's lock must not live on in the child."""
    last = 2
    for descriptor in sorted(kept):
        os.closerange(last + 1, descriptor)
        last = descriptor
    os.closerange(last + 1, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 65536 else 65536)


class _Child:
    """The other end. ``run`` never returns."""

    def __init__(self, plan: Plan, go: int, reporting: int, init_log: int, server_log: int) -> None:
        self.plan, self.go, self.reporting = plan, go, reporting
        self.init_log, self.server_log = init_log, server_log
        self.running = 0  # the process group that a signal to us is meant for

    def run(self) -> NoReturn:
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            if self.plan.cover is None:
                self._report(main=os.getpid())
            else:
                self._isolate()
            code = self._main()
        except BrokenPipeError:
            pass  # the supervisor is gone: whoever comes next starts anew
        except BaseException as error:
            os.write(self.init_log, traceback.format_exc().encode())
            with suppress(OSError):
                self._report(error=f"{type(error).__name__}: {error}")
        finally:
            os._exit(code)

    def _isolate(self) -> None:
        """Go on as the first process of new namespaces, with the supervisor as parent (it adopts orphans)."""
        assert self.plan.cover is not None
        sandbox.unshare()
        sandbox.cover(self.plan.cover, self.plan.binds)
        first = os.fork()
        if first:
            self._report(main=first)
            os._exit(0)

    def _main(self) -> int:
        if os.read(self.go, 1) != b"g":
            return 1
        os.close(self.go)
        isolated = self.plan.cover is not None
        os.setsid()
        if isolated:
            sandbox.own_proc()
            # The first process of a namespace ignores signals that it has no handler for.
            signal.signal(signal.SIGTERM, self._pass_on)
        sandbox.become(self.plan.account)
        os.umask(0o022)
        os.chdir(self.plan.home)
        for warning in link_volumes(self.plan.home, self.plan.claims, self.plan.links):
            self._report(warning=warning)
        for name, script in self.plan.scripts:
            if not self._run_script(name, script):
                return 1
        self._report(server=True)
        if not isolated:
            self._exec(self.plan.command, self.server_log)
        return self._serve()

    def _pass_on(self, number: int, frame: object) -> None:
        if self.running:
            with suppress(ProcessLookupError):
                os.killpg(self.running, number)
        else:
            os._exit(128 + number)

    def _run_script(self, name: str, script: str) -> bool:
        self._report(script=name)
        os.write(self.init_log, f"── init script {name}\n".encode())
        path = self.plan.tmp / "init.sh"
        path.write_text(script if script.endswith("\n") else script + "\n")
        code = self._wait_for(self._start(("/bin/sh", str(path)), self.init_log))
        path.unlink(missing_ok=True)
        if code:
            self._report(script_failed=name, code=code)
        return code == 0

    def _serve(self) -> int:
        """Run the server; reap what it leaves behind. When this process ends, the kernel ends all of the namespace."""
        return self._wait_for(self._start(self.plan.command, self.server_log))

    def _start(self, command: Sequence[str], log: int) -> int:
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._exec(command, log)
        self.running = child
        return child

    def _wait_for(self, child: int) -> int:
        while True:
            with suppress(InterruptedError):
                pid, status = os.waitpid(-1, 0)
                if pid == child:
                    self.running = 0
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code

    def _exec(self, command: Sequence[str], log: int) -> NoReturn:
        try:
            nothing = os.open("/dev/null", os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.closerange(3, 1024)
            os.execve(command[0], list(command), self.plan.env)  # noqa: S606 (a shell would be one more thing to quote for)
        except OSError as error:
            os.write(2, f"{command[0]} cannot be run: {error.strerror}.\n".encode())
        finally:
            os._exit(127)

    def _report(self, **fields: Any) -> None:
        os.write(self.reporting, json.dumps(fields).encode() + b"\n")


def link_volumes(home: Path, claims: Path, links: Sequence[tuple[str, str]]) -> list[str]:
    """Make the volumes appear in the home folder; returns a warning for each that cannot.

    The volume of ``/data/sales`` appears as ``sales``, or as ``data-sales`` when that name is taken, by another
    volume or by a file of the user's: those are never touched. Links of volumes that left the session go.
    """
    for entry in list(os.scandir(home)):
        if entry.is_symlink() and Path(os.readlink(entry.path)).is_relative_to(claims):
            os.unlink(entry.path)
    warnings = []
    for path, folder in links:
        names = (posixpath.basename(path), path.strip("/").replace("/", "-"))
        free = next((name for name in names if not os.path.lexists(home / name)), None)
        if free is None:
            warnings.append(f"{path} could not be shown as “{names[0]}” in your home: a file has that name. It is at {folder}.")
            continue
        os.symlink(folder, home / free)
        if free != names[0]:
            warnings.append(f"{path} appears as “{free}” in your home, because “{names[0]}” is taken.")
    return warnings
