"""Where everything of the local driver is on disk, and how its small files are read and written.

Below the root (modes as in the table; the owner is Slipway's user unless it says otherwise)::

    images/<recipe>-<hash of its lock>/   0755   venvs, built once; see images.py
    claims/<namespace>/<claim>/           0700   a volume; belongs to the session user
    claims/<namespace>/.gone-<claim>.…/   0700   a deleted one, until sweep.py has deleted what is in it
    sessions/<namespace>/<name>/          0700   desired.json, status.json, lock and logs of one session
    sessions/<namespace>/.<name>.…        0600   lock, and newest generation, of a session
    tmp/<id>/                             0700   a session's TMPDIR; belongs to the session user
    tools/<id>/                           0711   bin (its own programs) and live (files that are kept fresh, 0400, the user's)
    run/<id>/                             0711   where the IDE makes its socket; belongs to the session user
    run/<id>.sock                         0666   the same socket for the gateway; the IDE's token guards it

A session may put anything in the place of its own files, a link to another program's socket too. So the gateway never
looks into ``run/<id>/``: it uses a hard link that the supervisor made, in a folder where sessions may not write.
``run`` moves to the system's temporary folder when the root is too deep for a socket's address
(108 bytes) or when other users cannot reach it. Standard library only: the supervisor starts in milliseconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SOCKET_PATH_MAX = 100
MIB = 1024 * 1024
LOG_LIMIT = 8 * MIB
LOG_KEEP = 1 * MIB


def safe(name: str) -> str:
    """``name`` if it is a DNS label, so that joining it to a folder stays inside. ``ValueError`` otherwise."""
    if not NAME.fullmatch(name):
        raise ValueError(f"“{name}” is not a name of a namespace, claim or session.")
    return name


@dataclass(frozen=True)
class Session:
    """The folders of one session."""

    root: Path
    namespace: str
    name: str

    def __post_init__(self) -> None:
        safe(self.namespace)
        safe(self.name)

    @property
    def folder(self) -> Path:
        return self.root / "sessions" / self.namespace / self.name

    @property
    def id(self) -> str:
        """Unique on this machine, also among several roots; marks the session's processes and short paths."""
        return hashlib.sha256(f"{self.root}|{self.namespace}|{self.name}".encode()).hexdigest()[:16]

    @property
    def desired(self) -> Path:
        return self.folder / "desired.json"

    @property
    def status(self) -> Path:
        return self.folder / "status.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def server_log(self) -> Path:
        return self.folder / "server.log"

    @property
    def init_log(self) -> Path:
        return self.folder / "init.log"

    @property
    def supervisor_log(self) -> Path:
        return self.folder / "supervisor.log"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp" / self.id

    @property
    def tools(self) -> Path:
        return self.root / "tools" / self.id

    @property
    def run(self) -> Path:
        return run_folder(self.root) / self.id

    @property
    def ide_socket(self) -> Path:
        """Where the IDE makes its socket. The session may replace it by whatever it likes."""
        return self.run / "ide.sock"

    @property
    def socket(self) -> Path:
        """The IDE's socket for everybody else: no session can change what is here; see :meth:`publish`."""
        return self.run.with_name(f"{self.id}.sock")

    def publish(self, owner: int) -> bool:
        """Make ``socket`` the socket that is at ``ide_socket`` now; False, and no change, if there is none of the owner's."""
        new = self.run.with_name(f"{self.id}.new")
        new.unlink(missing_ok=True)
        try:
            os.link(self.ide_socket, new, follow_symlinks=False)
        except FileNotFoundError:
            return False
        found = new.lstat()
        genuine = stat.S_ISSOCK(found.st_mode) and found.st_uid == owner
        if genuine:
            new.replace(self.socket)
        new.unlink(missing_ok=True)  # replacing does nothing when both are the same socket already
        return genuine

    def unpublish(self) -> None:
        for path in (self.socket, self.run.with_name(f"{self.id}.new")):
            path.unlink(missing_ok=True)

    def claim(self, name: str) -> Path:
        return claim_folder(self.root, self.namespace, name)

    @property
    def fence(self) -> Path:
        """The newest generation that was acted on. Beside the folder, which it outlives for an hour."""
        return self.folder.with_name(f".{self.name}.generation")

    @property
    def turn(self) -> Path:
        """Whose lock :meth:`locked` holds. There may be one only as long as there is a folder."""
        return self.folder.with_name(f".{self.name}.lock")

    def locked(self) -> Any:
        """Serialises changes to what is wanted (driver) with decisions to leave (supervisor)."""
        return locked(self.turn)


def claim_folder(root: Path, namespace: str, name: str) -> Path:
    return root / "claims" / safe(namespace) / safe(name)


def run_folder(root: Path) -> Path:
    """The folder of the sockets' folders; see the module's docstring."""
    inside = root / "run"
    if len(str(inside / ("x" * 16) / "ide.sock")) <= SOCKET_PATH_MAX and reachable(root):
        return inside
    return Path("/tmp") / f"slipway-{os.getuid()}-{hashlib.sha256(str(root).encode()).hexdigest()[:8]}"  # noqa: S108


def reachable(path: Path) -> bool:
    """Whether every user may pass through all folders down to ``path``. What does not exist yet will be made so."""
    return unreachable_ancestor(path) is None


def unreachable_ancestor(path: Path) -> Path | None:
    """The uppermost folder on the way to ``path`` (itself included) that other users may not enter."""
    for folder in (*reversed(path.parents), path):
        with suppress(FileNotFoundError):
            if not os.stat(folder).st_mode & 0o001:
                return folder
    return None


def covered(root: Path) -> Path:
    """The folder below which isolated sessions see only what is theirs.

    As root, an ancestor that the session user may not enter is covered as well: what it needs is bound again.
    """
    return (unreachable_ancestor(root) if os.getuid() == 0 else None) or root


def make_root(root: Path) -> None:
    """Make the fixed folders. The run folder may lie in a place where others write: it must be ours."""
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    for name, mode in (("images", 0o755), ("claims", 0o711), ("sessions", 0o700), ("tmp", 0o711), ("tools", 0o711)):
        make_folder(root / name, mode)
    make_folder(run_folder(root), 0o711)


def make_folder(path: Path, mode: int) -> None:
    """Make one folder with exactly this mode, whatever the umask; ``PermissionError`` if it is another user's or a link."""
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
        path.chmod(mode)
    found = path.lstat()
    if not path.is_dir() or path.is_symlink() or found.st_uid != os.getuid():
        raise PermissionError(f"{path} is not a folder of the user that runs Slipway.")


def remove_tree(folder: Path) -> None:
    """Delete a folder of a user's with all that is in it, if it is there, also what they made read-only (Go's module cache is)."""
    if not folder.exists():
        return
    if os.getuid() != 0:  # who needs permission to look into, and to take out of, each folder
        folder.chmod(0o700)
        for path, names, _ in os.walk(folder):
            for inner in (Path(path, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
    shutil.rmtree(folder)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the file, or None if there is none (or it was cut by a full disk)."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace the file at once: a reader sees the old or the new one, only its owner may read it."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(value, file)
    new.replace(path)


def write_json_into(file: TextIO, value: dict[str, Any]) -> None:
    """Replace the content of an open file (a lock, which must stay the same file)."""
    file.truncate(0)
    json.dump(value, file)
    file.flush()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file, which is made when missing. Its holder may unlink it: who waited for that takes a new one."""
    while True:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # the folder went away in between
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.stat(path).st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False


def tail(path: Path, lines: int, limit: int = 256 * 1024) -> str:
    """The last lines of a file, reading at most ``limit`` bytes of it; empty if there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
    kept = text.splitlines()[-lines:] if lines > 0 else []
    return "\n".join(kept) + "\n" if kept else ""
