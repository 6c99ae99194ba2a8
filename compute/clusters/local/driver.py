"""The local driver as Slipway sees it. It writes what is wanted and reads what is; supervisors do the rest."""

from __future__ import annotations

import os
import pwd
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compute.clusters.base import ClusterError, Driver, Event, Health, Outdated, Stop
from compute.clusters.local import detach, health, layout, recipes, sweep, tools
from compute.clusters.local.images import BuildFailed, Image
from compute.clusters.local.layout import Session
from compute.clusters.local.observe import observation
from compute.clusters.local.processes import Process
from compute.clusters.local.sandbox import Account
from compute.clusters.local.status import Status, read_events
from compute.clusters.local.watch import Watch
from compute.workload import Account as WorkloadAccount
from compute.workload import Claim, Namespace, Observation, Workload


class LocalDriver:
    """Satisfies :class:`compute.clusters.base.Driver`. Any number of them, in any process, may share a root.

    ``root`` and ``user`` default to ``SLIPWAY_LOCAL_ROOT`` and ``SLIPWAY_LOCAL_USER``. ``user`` matters only to a
    control plane that runs as root: sessions then run as this user, otherwise as the same user as Slipway.
    ``isolate=False`` does without namespaces even where there are some. There is one way to this machine: ``context`` says nothing.
    """

    def __init__(
        self, name: str, context: str = "", identity: str = "", *, root: Path | None = None, user: str | None = None, isolate: bool = True
    ) -> None:
        if root is None or user is None:
            from django.conf import settings

            root, user = root or settings.SLIPWAY_LOCAL_ROOT, user or settings.SLIPWAY_LOCAL_USER
        self.name = name
        self.root = Path(os.path.abspath(root))
        self.user = user if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        self.isolate = isolate

    # What is wanted

    def offers(self, image: str) -> str:
        return recipes.why_not(image)

    def ensure_namespace(self, namespace: Namespace) -> None:
        """Nothing to do: folders are made when they are first used, and this machine has no guards to set."""

    def prepare(self, workload: Workload) -> Workload:
        return workload  # a folder is there at once

    def apply(self, workload: Workload) -> None:
        refusal = self.offers(workload.image)
        if refusal:
            raise ClusterError("ImageNotOffered", refusal, retryable=False)
        with _as_cluster_error():
            session = Session(self.root, workload.namespace, workload.name)
            account = self.runs_as(workload.account)
            wanted = self._desired(workload, account)
            layout.make_root(self.root)
            with _turn(session, workload.generation):
                for claim in workload.claims:
                    self._ensure_claim(workload.namespace, claim, account)
                current = layout.read_json(session.desired) or {"want": "", "revision": 0}
                if current["want"] == "remove" or workload.revision < current["revision"]:
                    return  # names are never used again, and a newer revision stays
                if current["want"] != "run" or workload.revision > current["revision"]:
                    session.folder.mkdir(mode=0o700, exist_ok=True)
                    layout.write_json(session.desired, wanted)
                    tools.write_programs(session.tools, {program.name: program.script for program in workload.programs})
                tools.write_live(session.tools, workload.live_files, account)
                if not self._settled(session):
                    self._wake(session)

    def write_files(self, namespace: str, name: str, files: dict[str, str], generation: int = 0) -> None:
        with _as_cluster_error():
            session = Session(self.root, namespace, name)
            if not session.folder.exists():
                return
            with session.locked():  # what it asks for is nothing new, so that it leaves no mark of its generation
                _check_newest(session, generation)
                wanted = layout.read_json(session.desired) or {"want": ""}
                if wanted["want"] == "run":
                    account = wanted["account"]
                    tools.write_live(session.tools, files, WorkloadAccount(account["uid"], account["gid"]))

    def pause(self, namespace: str, name: str, generation: int = 0) -> None:
        self._want(namespace, name, "pause", generation)

    def remove(self, namespace: str, name: str, generation: int = 0) -> None:
        self._want(namespace, name, "remove", generation)

    def _want(self, namespace: str, name: str, want: str, generation: int) -> None:
        """Replace what is wanted, keeping nothing of the workload (its secrets above all)."""
        with _as_cluster_error():
            session = Session(self.root, namespace, name)
            if not session.folder.exists() and not generation:
                return
            layout.make_root(self.root)
            with _turn(session, generation):
                if not session.folder.exists():
                    return
                current = layout.read_json(session.desired) or {"want": "", "revision": 0}
                if current["want"] not in (want, "remove"):
                    layout.write_json(session.desired, {"want": want, "revision": current["revision"]})
                if not self._settled(session):
                    self._wake(session)

    def _desired(self, workload: Workload, account: WorkloadAccount) -> dict[str, Any]:
        recipe = recipes.recipe_of(workload.image)
        assert recipe is not None
        kept = ("env", "secret_env", "mounts", "init_scripts", "probe", "start_timeout")
        image = {
            "user": self.account().name,
            "key": recipe.key,
            "ide": recipe.ide,
            "requirements": str(recipe.lock or ""),
            "command": str(recipes.find_command(recipe.command) or "") if recipe.command else "",
        }
        return {
            "want": "run",
            "revision": workload.revision,
            "isolate": self.isolate,
            "account": {**asdict(account), "name": _name_of(account.uid)},
            "image": image,
            "workload": {name: value for name, value in asdict(workload).items() if name in kept},
        }

    def _settled(self, session: Session) -> bool:
        """Whether what is wanted is true already, so that no supervisor needs to do anything."""
        wanted, status = layout.read_json(session.desired), Status.load(session.status)
        if wanted is None or status is None or wanted["want"] == "remove":
            return False
        if wanted["want"] == "pause":
            return status.state == "paused"
        return status.state == "failed" and status.revision == wanted["revision"]

    def _wake(self, session: Session) -> None:
        """Make sure that a supervisor sees what is wanted. The caller holds the session's lock."""
        supervisor = Process.load(layout.read_json(session.lock))
        if supervisor is not None and supervisor.alive():
            supervisor.send(signal.SIGHUP)
        else:
            detach.start("supervisor", str(self.root), session.namespace, session.name, log=session.supervisor_log)

    def heal(self, namespace: str, name: str) -> None:
        """Give the session a supervisor again, if it needs one and has none."""
        with _as_cluster_error():
            session = Session(self.root, namespace, name)
            with _turn(session, 0):
                if session.folder.exists() and not self._settled(session):
                    self._wake(session)

    # What is

    def observe(self, namespace: str, name: str) -> Observation:
        with _as_cluster_error():
            return observation(Session(self.root, namespace, name))

    def watch(self, stop: Stop) -> Iterator[Observation | None]:
        return Watch(self.root, self.heal, self._sweep).run(stop)

    def logs(self, namespace: str, name: str, tail: int = 200, previous: bool = False) -> str:
        if previous:  # each run's log goes on where the last one's ended
            return ""
        with _as_cluster_error():
            session = Session(self.root, namespace, name)
            wanted, status = layout.read_json(session.desired), Status.load(session.status)
            if wanted is not None and status is not None and wanted["want"] == "run" and status.active == "image":
                return layout.tail(Image(self.root, wanted["image"]["key"], Path()).log, tail)
            text = layout.tail(session.init_log, tail) + layout.tail(session.server_log, tail)
            return "".join(text.splitlines(keepends=True)[-tail:])

    def events(self, namespace: str, name: str) -> list[Event]:
        with _as_cluster_error():
            told = read_events(Session(self.root, namespace, name).events)
            return [Event(datetime.fromisoformat(e["at"]), e["kind"], e["reason"], e["message"]) for e in told]

    # Claims

    def ensure_claim(self, namespace: str, claim: Claim) -> None:
        with _as_cluster_error():
            account = self.runs_as(None)
            layout.make_root(self.root)
            self._ensure_claim(namespace, claim, account)

    def _ensure_claim(self, namespace: str, claim: Claim, account: WorkloadAccount) -> None:
        """The claim's folder, in a root that is made. A new one is the account's."""
        folder = layout.claim_folder(self.root, namespace, claim.name)
        layout.make_folder(folder.parent, 0o711)
        if folder.exists():
            return
        # Made aside and renamed: a claim that exists belongs to who uses it.
        new = folder.with_name(f".new-{uuid.uuid4().hex}")
        new.mkdir(mode=0o700)
        if os.getuid() == 0:
            os.chown(new, account.uid, account.gid)
        try:
            new.rename(folder)
        except OSError:
            new.rmdir()
            if not folder.exists():
                raise

    def delete_claim(self, namespace: str, name: str) -> None:
        """Gone at once under its name; a process of its own deletes the data, which may take minutes."""
        with _as_cluster_error():
            folder = layout.claim_folder(self.root, namespace, name)
            with suppress(FileNotFoundError):
                folder.rename(folder.with_name(f".gone-{name}.{uuid.uuid4().hex}"))
            if any(sweep.deleted_claims(self.root, namespace, name)):
                self._sweep(namespace, name)

    def _sweep(self, *only: str) -> None:
        """Start deleting what was put aside: of one claim, or all."""
        with _as_cluster_error():
            layout.make_root(self.root)
        detach.start("sweep", str(self.root), *only, log=self.root / "sweep.log")

    # Images

    def ensure_image(self, image: str) -> None:
        """Start building the image if it is not there; returns at once."""
        built = self._image(image)
        with _as_cluster_error():
            if built is not None and built.venv() is None:
                built.start_build()

    def build_image(self, image: str, on_progress: Callable[[str], None] = lambda message: None) -> None:
        """Build the image and wait for it. Raises :class:`ClusterError` (its message has the end of pip's log)."""
        built = self._image(image)
        if built is None:
            return
        try:
            with _as_cluster_error():
                built.build(on_progress)
        except BuildFailed as error:
            raise ClusterError("ImageBuildFailed", f"{error}\n{error.log}") from error

    def stop_builds(self) -> None:
        """End the builds that are at work; the next one starts afresh. For the end of a demo."""
        for report in (self.root / "images").glob("*/build.json"):
            builder = Process.load((layout.read_json(report) or {}).get("builder"))
            if builder is not None:
                builder.send(signal.SIGKILL, group=True)

    def _image(self, image: str) -> Image | None:
        refusal = self.offers(image)
        if refusal:
            raise ClusterError("ImageNotOffered", refusal, retryable=False)
        with _as_cluster_error():
            layout.make_root(self.root)
        recipe = recipes.recipe_of(image)
        return Image(self.root, recipe.key, recipe.lock, self.account().name) if recipe and recipe.lock else None

    # The machine

    def account(self) -> Account:
        """Who sessions run as. Raises :class:`ClusterError` when that user does not exist, or is root."""
        try:
            found = pwd.getpwnam(self.user)
        except KeyError:
            raise ClusterError("NoSessionUser", health.no_user(self.user)) from None
        if found.pw_uid == 0:
            raise ClusterError("NoSessionUser", "Sessions never run as root. Set SLIPWAY_LOCAL_USER to another user.", retryable=False)
        return Account(found.pw_name, found.pw_uid, found.pw_gid)

    def runs_as(self, account: WorkloadAccount | None) -> WorkloadAccount:
        if account is None:
            usual = self.account()
            return WorkloadAccount(usual.uid, usual.gid)
        if account.uid == 0 or account.gid == 0:
            raise ClusterError("NotRoot", "Sessions never run as root, or in its group.", retryable=False)
        if os.getuid() not in (0, account.uid):
            message = (
                f"Slipway runs as {self.user} (uid {os.getuid()}) here, not as root, so that its sessions can't run as uid {account.uid}."
            )
            raise ClusterError("OneUser", message, retryable=False)
        return account

    def health(self, namespaces: Sequence[str] = ()) -> Health:
        return health.check(self.root, self.account, self.isolate)


def _name_of(uid: int) -> str:
    """What programs call the user, on this machine if it has one of this uid."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextmanager
def _turn(session: Session, generation: int) -> Iterator[None]:
    """Hold the session's lock, unless something newer was asked for: then ``Outdated``. Remembers the generation."""
    with session.locked():
        try:
            newest = _check_newest(session, generation)
            if generation > newest:
                layout.write_json(session.fence, {"generation": generation})
            yield
        finally:
            if not session.folder.exists():
                session.turn.unlink()


def _check_newest(session: Session, generation: int) -> int:
    """The newest generation that was acted on; ``Outdated`` if that is newer than this one."""
    newest: int = (layout.read_json(session.fence) or {"generation": 0})["generation"]
    if generation and generation < newest:
        raise Outdated(newest)
    return newest


@contextmanager
def _as_cluster_error() -> Iterator[None]:
    """Let nothing but :class:`ClusterError` out."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise ClusterError("LocalDisk", f"This machine could not do that: {error.strerror or error}{where}.") from error
    except ValueError as error:
        raise ClusterError("InvalidName", str(error), retryable=False) from error


if TYPE_CHECKING:  # the type checker compares the two here

    def _is_a_driver(driver: LocalDriver) -> Driver:
        return driver
