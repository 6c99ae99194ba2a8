"""Whether this machine can run sessions now, and what an operator should know of how it does."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from compute.clusters.base import ClusterError, Health
from compute.clusters.local import detach, layout
from compute.clusters.local.builder import find_python
from compute.clusters.local.sandbox import Account

GIB = 1024**3
LITTLE_SPACE = 2 * GIB
LIMITS = (
    "Pod sizes are not enforced: sessions share this machine's CPU and memory.",
    "Volume sizes are not enforced: a volume is a folder, and grows as long as the disk has room.",
    "The local driver is for one machine and people who trust each other.",
)

ISOLATED = (
    "Sessions have their own mounts and process ids: below {hidden} they see nothing but their own volumes, image and temporary "
    "files, and they see no process but their own. Everything else on this machine is open to them as far as to the user they run as."
)
SHARED = (
    "Sessions have no mounts and process ids of their own ({why}): read-only volumes are not enforced. Everything "
    "on this machine, other sessions' volumes too, is open to them as far as to the user they run as."
)
SAME_USER = "Sessions run as the same user as Slipway, so they may read and change Slipway's own files, its database too."


def no_user(user: str) -> str:
    return (
        f"Slipway runs as root, sessions never do, and the user {user} does not exist. Make it with: "
        f"useradd --system --no-create-home --shell /usr/sbin/nologin {user}"
    )


def check(root: Path, account: Callable[[], Account], isolate: bool) -> Health:
    """See ``Driver.health``. Costs a few small processes."""
    if sys.platform != "linux":
        return Health(ok=False, problems=("The local driver needs Linux.",))
    problems, notes = [], list(LIMITS)
    try:
        user = account()
        if find_python(user.name) is None:
            problems.append(f"No Python 3.11 or newer with venv that {user.name} can run: install python3 and python3-venv.")
    except ClusterError as error:
        problems.append(str(error))
    try:
        layout.make_root(root)
        free = shutil.disk_usage(root).free
        if free < LITTLE_SPACE:
            problems.append(f"Only {free / GIB:.1f} GiB are free below {root}; an image needs about 0.5 GiB.")
        why = _why_not_isolated(root) if isolate else "it is switched off"
        blocked = layout.unreachable_ancestor(root)
        if why and blocked and os.getuid() == 0:
            problems.append(f"Sessions may not enter {blocked}: set SLIPWAY_LOCAL_ROOT to a path that every user may enter.")
        notes += _what_sessions_see(root, why)
    except (OSError, subprocess.TimeoutExpired) as error:
        problems.append(f"{root} cannot be used: {error}.")
    return Health(ok=not problems, version=f"{platform.system()} {platform.release()}", problems=tuple(problems), notes=tuple(notes))


def _what_sessions_see(root: Path, why_not_isolated: str) -> list[str]:
    notes = [SHARED.format(why=why_not_isolated) if why_not_isolated else ISOLATED.format(hidden=layout.covered(root))]
    return notes if os.getuid() == 0 else [*notes, SAME_USER]


def _why_not_isolated(root: Path) -> str:
    tried = subprocess.run(
        detach.command("sandbox", str(root / "tmp")), cwd="/", env=detach.environment(), capture_output=True, text=True, timeout=20
    )
    return tried.stdout if tried.returncode == 0 else "trying it failed"
