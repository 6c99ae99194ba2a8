"""Deletes what the driver has put aside, and ends: ``python -m compute.clusters.local.sweep ROOT [NAMESPACE CLAIM]``.

Claims that were deleted (those of one name, or all: also what was left when another sweep was killed), and what is
remembered of removed sessions when it is old enough. Each claim is locked, so any number of sweeps may run.
Standard library only.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from compute.clusters.local import detach, layout

REMEMBERED = 3600.0  # seconds


def deleted_claims(root: Path, namespace: str = "*", claim: str = "*") -> Iterator[Path]:
    """The folders of deleted claims."""
    for pattern in (f".gone-{claim}", f".gone-{claim}.*"):
        yield from (root / "claims").glob(f"{namespace}/{pattern}")


def delete(folder: Path) -> None:
    """Delete the folder of a deleted claim, unless another process is at it. Raises ``OSError``."""
    if os.getuid() != 0:
        folder.chmod(0o700)  # its user may have closed it, and we are that user
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        layout.remove_tree(folder)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)


def forget(fence: Path) -> None:
    """Drop what is remembered of a session that was removed long ago."""
    session = layout.Session(fence.parents[2], fence.parent.name, fence.name.removeprefix(".").removesuffix(".generation"))
    if session.folder.exists() or abs(time.time() - fence.stat().st_mtime) < REMEMBERED:
        return
    with session.locked():
        if not session.folder.exists():
            fence.unlink(missing_ok=True)
            session.turn.unlink()
    with suppress(OSError):  # other sessions are in it
        fence.parent.rmdir()


def main(root: str, namespace: str = "*", claim: str = "*") -> int:
    detach.detach()()
    failed = False
    work: list[tuple[Callable[[Path], None], Path]] = [(delete, folder) for folder in set(deleted_claims(Path(root), namespace, claim))]
    if claim == "*":
        work += [(forget, fence) for fence in (Path(root) / "sessions").glob("*/.*.generation")]
    for act, path in work:
        try:
            act(path)
        except FileNotFoundError:
            continue  # another one was quicker
        except OSError:
            failed = True
            traceback.print_exc()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
