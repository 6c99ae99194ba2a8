"""Child processes that never outlive their parent, and that end when they are told to."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Protocol

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(sig: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send ``sig`` to this process when its parent (the parent's thread that made it) ends."""
    if _libc.prctl(PR_SET_PDEATHSIG, int(sig)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def start(argv: list[str], *, death_signal: signal.Signals = signal.SIGKILL, **options: object) -> subprocess.Popen[bytes]:
    """Start a program as the leader of its own session, so that its whole group can be ended and a Ctrl-C in the
    terminal is the parent's to handle. Call it from the main thread of a process without other threads."""
    parent = os.getpid()

    def in_child() -> None:
        die_with_parent(death_signal)
        if os.getppid() != parent:  # it ended between fork and prctl
            os._exit(1)

    return subprocess.Popen(  # type: ignore[call-overload]
        argv,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=in_child,
        **options,
    )


class Child(Protocol):
    """A process that was started here, and leads its group."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """None while it runs; then its status, or minus the signal that ended it."""

    def terminate(self) -> None: ...

    def wait(self) -> object: ...


class Fork:
    """``run`` in a process of its own that has at once all that this one has loaded. As from :func:`start`, it is the leader of
    its own session and ends with its parent. This process must have no other thread, and no connection that the two would share."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._process = multiprocessing.get_context("fork").Process(target=_lead, args=(run, os.getpid()))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> None:
        self._process.join()


def _lead(run: Callable[[], None], parent: int) -> None:
    os.setsid()
    for sig in (signal.SIGTERM, signal.SIGINT):  # what the parent does then is not for this one to do
        signal.signal(sig, signal.SIG_DFL)
    die_with_parent()
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)
    run()


def kill_group(process: Child) -> None:
    """SIGKILL whatever is left of the program and of what it started in its own group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def stop_all(processes: Sequence[Child], grace: float) -> None:
    """SIGTERM to each program itself (not to its group: children are its own to stop), then, after ``grace``
    seconds at most, SIGKILL to each whole group."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    deadline = time.monotonic() + grace
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(0.05)
    for process in processes:
        kill_group(process)
