"""Sessions as real processes of this machine: the embedded default, for one machine and people who trust each other.

Who does what::

    LocalDriver (driver.py)   in Slipway's processes: writes what is wanted, starts a supervisor, reads what is
    supervisor.py             one small detached process per session: the only one that starts or ends an IDE
    sandbox.py, launch.py     between the supervisor and the IDE: namespaces, privileges, links, init scripts
    builder.py, images.py     builds a recipe's venv once, detached; waits for it
    sweep.py                  deletes the data of deleted claims, detached
    layout.py, processes.py   the folders, and identity of processes

Slipway and a session's supervisor meet only on disk (``sessions/<namespace>/<name>/``):

* ``desired.json`` is the driver's: run (with the whole workload), pause or remove, and a revision.
* ``status.json`` is the supervisor's: steps, readiness, failure, and who runs (pid and start time).
* ``lock`` is held (flock) by the supervisor as long as it lives: there is never a second one.

A supervisor works until what is wanted is true. When it was killed half-way, ``LocalDriver.watch`` and ``apply``
start another: that one adopts an IDE that still runs, ends what is left over otherwise, and goes on.
A restart of Slipway touches no session. Under systemd, Slipway's unit needs ``KillMode=process`` for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compute.clusters.local.driver import LocalDriver

__all__ = ["LocalDriver"]


def __getattr__(name: str) -> Any:
    # Late: a session's supervisor imports this package too, and has no use for the driver.
    if name == "LocalDriver":
        from compute.clusters.local.driver import LocalDriver

        return LocalDriver
    raise AttributeError(name)
