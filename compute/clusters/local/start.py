"""One start of a session, as its supervisor does it: image, storage, launch. Standard library only."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compute.clusters.local import commands, layout, sandbox
from compute.clusters.local.images import Image
from compute.clusters.local.launch import Launch, Plan
from compute.clusters.local.sandbox import Account, Bind


class Start:
    """``desired`` is what the driver wrote, see ``LocalDriver.apply``."""

    def __init__(self, session: layout.Session, desired: dict[str, Any]) -> None:
        self.session = session
        self.workload = desired["workload"]
        self.recipe = desired["image"]
        self.account = Account(**desired["account"])
        self.wants_isolation = desired["isolate"]
        self.cover: Path | None = None
        self.program: commands.Program | None = None

    @property
    def isolated(self) -> bool:
        return self.cover is not None

    @property
    def home(self) -> Path:
        """The home volume's folder; without one, a folder that is gone after the session's pause."""
        claim = next((mount["claim"] for mount in self.workload["mounts"] if mount["home"]), None)
        return self.session.claim(claim) if claim else self.session.tmp / "home"

    def find_image(self, on_progress: Callable[[str], None], keep_waiting: Callable[[], bool]) -> None:
        """Wait for the image, and build it if need be. Raises ``images.BuildFailed``."""
        recipe = self.recipe
        if recipe["command"]:
            self.program = commands.Program(recipe["ide"], Path(recipe["command"]).parent, recipe["command"])
            return
        image = Image(self.session.root, recipe["key"], Path(recipe["requirements"]), recipe.get("user") or self.account.name)
        venv = image.build(on_progress, keep_waiting)
        assert venv is not None
        self.program = commands.Program(recipe["ide"], venv / "bin")

    def prepare_storage(self) -> list[str]:
        """Make the folders and hand them to the session user; returns warnings. Raises ``OSError``."""
        self.session.unpublish()
        made = [self.session.tmp, self.session.run]
        for folder, mode in zip(made, (0o700, 0o711), strict=True):
            shutil.rmtree(folder, ignore_errors=True)
            layout.make_folder(folder, mode)
        if not self.home.exists():
            layout.make_folder(self.home, 0o700)
            made.insert(0, self.home)
        for folder in made:  # what is inside first: a folder that is another user's may hold anything a moment later
            os.chown(folder, self.account.uid, self.account.gid, follow_symlinks=False)
        for mount in self.workload["mounts"]:
            give(self.session.claim(mount["claim"]), self.account, mount["home"], mount["read_only"])
        for log in (self.session.init_log, self.session.server_log):
            log.write_bytes(b"")
        return self._isolation()

    def _isolation(self) -> list[str]:
        root = self.session.root
        why = sandbox.why_unavailable(root / "tmp") if self.wants_isolation else "it is switched off"
        if not why:
            self.cover = layout.covered(root)
            return []
        blocked = layout.unreachable_ancestor(root) if os.getuid() == 0 else None
        if blocked:
            raise PermissionError(errno.EACCES, unreachable(self.account.name), str(blocked))
        paths = [mount["path"] for mount in self.workload["mounts"] if mount["read_only"]]
        return [f"This machine can't enforce read-only for {path}: sessions have no mounts of their own ({why})." for path in paths]

    def launch(self) -> Launch:
        """Start the child that becomes the IDE."""
        logs = [os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) for path in (self.session.init_log, self.session.server_log)]
        try:
            return Launch(self._plan(), *logs)
        finally:
            for log in logs:
                os.close(log)

    def _plan(self) -> Plan:
        assert self.program is not None
        session, workload = self.session, self.workload
        data = [mount for mount in workload["mounts"] if not mount["home"]]
        binds = [Bind(session.claim(mount["claim"]), mount["read_only"]) for mount in workload["mounts"]]
        binds += [Bind(session.tmp), Bind(session.run)]
        tools = session.tools if session.tools.exists() else None
        if tools is not None:
            binds.append(Bind(tools, read_only=True))
        if not self.recipe["command"]:
            binds.append(Bind(self.program.bin.parent, read_only=True))
        return Plan(
            account=self.account,
            home=self.home,
            tmp=session.tmp,
            command=commands.command(self.program, session.ide_socket, self.home),
            env=commands.environment(session, self.account, self.program, self.home, workload["env"], workload["secret_env"], tools),
            claims=session.root / "claims",
            links=tuple((mount["path"], str(session.claim(mount["claim"]))) for mount in data),
            scripts=tuple((script["name"], script["script"]) for script in workload["init_scripts"]),
            cover=self.cover,
            binds=tuple(binds),
        )


def unreachable(user: str) -> str:
    return f"{user} may not enter a folder above the sessions' own; set SLIPWAY_LOCAL_ROOT to a path that every user may enter"


def give(claim: Path, account: Account, home: bool = False, read_only: bool = False) -> None:
    """Make a claim belong to the session user, with all that is in it when it was another's.

    Who only reads it takes it from nobody, nor does one of its group, unless it is a home.
    Symbolic links are never followed. A file with several names may be one of the machine's, which the user before linked
    into the claim: it is handed over only if it was that user's.
    """
    found = claim.lstat()
    before = found.st_uid
    if os.getuid() != 0 or before == account.uid:
        return
    if read_only:
        claim.chmod(stat.S_IMODE(found.st_mode) | 0o005)
        return
    if not home and found.st_gid == account.gid:
        claim.chmod(stat.S_IMODE(found.st_mode) | 0o2070)
        return
    for _, names, files, descriptor in os.fwalk(claim, follow_symlinks=False):
        for name in (*names, *files):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if found.st_nlink == 1 or stat.S_ISDIR(found.st_mode) or found.st_uid == before:
                os.chown(name, account.uid, account.gid, dir_fd=descriptor, follow_symlinks=False)
    os.chown(claim, account.uid, account.gid, follow_symlinks=False)
