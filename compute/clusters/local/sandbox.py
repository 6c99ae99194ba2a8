"""What stands between a session and the rest of the machine, as far as the kernel lets us.

With namespaces (as root, or where the kernel gives unprivileged users theirs) a session has

* its own mounts: below Slipway's root it sees its image, its own claims and its TMPDIR, and nothing else;
  a read-only volume is mounted read-only;
* its own process ids: it sees (and can signal) only itself, and when its first process ends the kernel ends all.

Without them it runs as an ordinary process group, read-only is a wish, and the driver says so.
Runs in a forked child with one thread. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID = 0x00020000, 0x08000000, 0x10000000, 0x20000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
MS_RELATIME = 1 << 21
# statvfs and mount(2) name the same flags by the same numbers, but for relatime.
ST_SAME, ST_RELATIME = 2 | 4 | 8 | 1024 | 2048, 4096
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38


@dataclass(frozen=True)
class Account:
    """Who a session runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Bind:
    """A folder that stays visible below the covered one."""

    path: Path
    read_only: bool = False


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _call("mount", source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode())


def adopt_orphans(on: bool) -> None:
    """Whether descendants that lose their parent become children of this process."""
    _call("prctl", PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def unshare() -> None:
    """Own mounts for this process, own process ids for its next child. Raises ``OSError``."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        _call("unshare", CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC)
    else:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    _mount("none", "/", "none", MS_REC | MS_PRIVATE)


def cover(folder: Path, binds: Sequence[Bind]) -> None:
    """Hide everything below ``folder`` but the ``binds`` that are in it, for this mount namespace. Raises ``OSError``."""
    inside = [bind for bind in binds if bind.path.is_relative_to(folder)]
    sources = [(bind, os.open(bind.path, os.O_PATH | os.O_DIRECTORY)) for bind in inside]
    _mount("tmpfs", str(folder), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m")
    for bind, descriptor in sources:
        bind.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        # The open folder is still the real one, although its path now leads into the new tmpfs.
        _mount(f"/proc/self/fd/{descriptor}", str(bind.path), "none", MS_BIND)
        os.close(descriptor)
        _restrict(bind.path, MS_NOSUID | MS_NODEV | (MS_RDONLY if bind.read_only else 0))
    _restrict(folder, MS_NOSUID | MS_NODEV | MS_RDONLY)


def _restrict(path: Path, flags: int) -> None:
    """Add mount flags. Those that are set already must be repeated: an unprivileged namespace may not clear them."""
    found = os.statvfs(path).f_flag
    kept = (found & ST_SAME) | (MS_RELATIME if found & ST_RELATIME else 0)
    _mount("none", str(path), "none", MS_REMOUNT | MS_BIND | kept | flags)


def own_proc() -> None:
    """Show only the processes of this namespace. For its first process."""
    _mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def become(account: Account) -> None:
    """Give up root for good, and the way back to any privilege (setuid programs)."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    _call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def why_unavailable(folder: Path) -> str:
    """Empty if this machine lets us isolate sessions (tried in a child that ends at once), else why not."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            unshare()
            cover(folder, [])
            grandchild = os.fork()
            if grandchild == 0:
                own_proc()
                os._exit(0)
            if os.waitpid(grandchild, 0)[1] != 0:
                raise OSError("mounting /proc is not permitted")
        except OSError as error:
            os.write(writing, str(error.strerror or error).encode()[:500])
        finally:
            os._exit(0)
    os.close(writing)
    reason = os.read(reading, 500).decode("utf-8", "replace")
    os.close(reading)
    os.waitpid(child, 0)
    return reason


if __name__ == "__main__":
    # For processes with threads, which had better not fork: see health.py.
    sys.stdout.write(why_unavailable(Path(sys.argv[1])))
