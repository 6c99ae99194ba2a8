"""Sessions: find, launch, wait, pause, resume, open, delete, read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from slipway.errors import ApiError, NotReached, TimedOut
from slipway.launching import Launch
from slipway.resource import Resource, matching, once
from slipway.shapes import parse
from slipway.slurm import AttachedSlurm
from slipway.things import Activity, Events, Log, OpenedSession, Session, Validation

Phase = Literal["Running", "Paused", "Failed"]
LONGEST_WAIT = 30.0  # of one request; the server allows 60
SHORT_WAIT = 1.0  # where somebody watches the steps
LOG_WINDOW = 500  # lines that are compared to tell which are new
FOLLOW_PAUSE = 1.0


class Sessions(Resource):
    def list(
        self, search: str = "", phase: str = "", preset: str = "", owner: str = "", ordering: str = "-created_at"
    ) -> Iterator[Session]:
        """Everybody's in the workspace; ``owner="~me"``: yours. ``ordering`` as in the API, such as ``name``."""
        return self._pages(Session, search=search, phase=phase, preset=preset, owner=owner, ordering=ordering)

    def get(self, name: str) -> Session:
        return self._get(Session, name)

    def launch(self, wanted: Launch, idempotency_key: str = "") -> Session:
        """It is queued when this returns; ``wait`` for it. Sent again after trouble, it is still launched once.

        Your own ``idempotency_key`` makes that true across runs of your program, for a day."""
        answer = self._transport.send("POST", *self._path, body=wanted.body(), headers=once(idempotency_key))
        return parse(Session, answer.data, answer.etag)

    def validate(self, wanted: Launch) -> Validation:
        """What a launch would say, and make. Makes nothing."""
        return parse(Validation, self._transport.send("POST", *self._path, "validate", body=wanted.body()).data)

    def wait(
        self, name: str, phase: Phase = "Running", timeout: float = 300.0, on_change: Callable[[Session], None] | None = None
    ) -> Session:
        """The session, once it is in ``phase``. ``on_change`` gets it whenever it is looked at, every second or so.

        Raises :class:`NotReached` as soon as it can't get there, :class:`TimedOut` after ``timeout`` seconds, and
        :class:`ApiError` with status 404 when it goes away.
        """
        host = ""
        for session in self._watch(name, phase, timeout, on_change):
            host = host or session.host
            if session.host != host or not (session.is_at(phase) or session.can_reach(phase)):
                raise NotReached(session, phase)
            if session.is_at(phase):
                return session
        raise TimedOut(session, phase, timeout)

    def wait_deleted(self, name: str, timeout: float = 300.0, on_change: Callable[[Session], None] | None = None) -> None:
        """Until there is no such session any more. Raises as ``wait`` does."""
        host = ""
        try:
            for session in self._watch(name, "Deleted", timeout, on_change):
                host = host or session.host
                if session.host != host:
                    return  # it is gone, and another one has its name
                if not session.can_reach("Deleted"):
                    raise NotReached(session, "Deleted")
        except ApiError as error:
            if error.status == 404:
                return
            raise
        raise TimedOut(session, "Deleted", timeout)

    def _watch(self, name: str, phase: str, timeout: float, on_change: Callable[[Session], None] | None) -> Iterator[Session]:
        """The session, looked at at least once and until the time is up. The server does the waiting."""
        deadline = time.monotonic() + timeout
        longest = SHORT_WAIT if on_change else LONGEST_WAIT
        while True:
            seconds = max(0, min(int(longest), int(deadline - time.monotonic())))
            query = {"wait": phase, "timeout": seconds}
            answer = self._transport.send("GET", *self._path, name, query=query, wait=seconds)
            session = parse(Session, answer.data, answer.etag)
            if on_change:
                on_change(session)
            yield session
            left = deadline - time.monotonic()
            if left <= 0:
                return
            # A server that has no place to wait answers at once and says when to come back; a second's rest is ours to take.
            if answer.retry_after or not seconds:
                time.sleep(min(left, answer.retry_after or left))

    def pause(self, name: str, if_match: str = "") -> Session:
        """Releases its compute; its volumes stay. Pausing a paused session changes nothing."""
        return self._do(name, "pause", if_match)

    def resume(self, name: str, if_match: str = "") -> Session:
        """Starts a paused or failed session again."""
        return self._do(name, "resume", if_match)

    def open(self, name: str) -> OpenedSession:
        """A one-time address for your browser. Only its owner opens a session."""
        return parse(OpenedSession, self._transport.send("POST", *self._path, name, "open").data)

    def delete(self, name: str, volumes: Sequence[str] = (), if_match: str = "") -> Session | None:
        """Its volumes stay, but for those that are named, which go to the trash. None when it was gone before we heard."""
        query = {"volumes": ",".join(volumes)} if volumes else None
        answer = self._transport.send("DELETE", *self._path, name, query=query, headers=matching(if_match))
        return parse(Session, answer.data, answer.etag) if answer.data else None

    def _do(self, name: str, verb: str, if_match: str) -> Session:
        answer = self._transport.send("POST", *self._path, name, verb, headers=matching(if_match))
        return parse(Session, answer.data, answer.etag)

    def logs(self, name: str, tail: int = 200, previous: bool = False) -> Log:
        """The end of its log, at most 2000 lines. ``previous``: of the run before the last restart."""
        query = {"tail": tail, **({"previous": "true"} if previous else {})}
        return self._get(Log, name, "logs", query=query)

    def follow_logs(self, name: str, tail: int = 200) -> Iterator[str]:
        """The last lines, then each new one as it comes, until the session is paused, fails or goes away.

        More than 500 lines within a second can't all be told.
        """
        seen: list[str] = []
        before, is_first = "", True
        while True:
            try:
                log = self.logs(name, tail=max(tail, LOG_WINDOW))
                has_ended = log.text == before and self.get(name).phase in ("Paused", "Failed")
            except ApiError as error:
                if error.status == 404 and not is_first:
                    return
                raise
            lines = log.text.split("\n") if log.text else []
            # The last line may still be written at: it is told when it has not changed for a moment.
            whole = lines if log.text == before else lines[:-1]
            fresh = news(seen, whole)
            yield from fresh[-tail:] if is_first else fresh
            seen, before, is_first = whole, log.text, False
            if has_ended:
                return
            time.sleep(FOLLOW_PAUSE)

    def events(self, name: str) -> Events:
        """What the cluster says has happened to it."""
        return self._get(Events, name, "events")

    def slurm(self, name: str) -> AttachedSlurm:
        """The Slurm cluster that is attached to it. 404 when there is none."""
        return self._get(AttachedSlurm, name, "slurm")

    def activity(self, name: str) -> Iterator[Activity]:
        """What was asked of it and by whom, and how its phase changed; the latest first."""
        return self._pages(Activity, name, "activity")


def news(seen: list[str], now: list[str]) -> list[str]:
    """The lines of ``now`` that come after those of ``seen``, of which the first may have dropped out."""
    for dropped in range(len(seen) + 1):
        kept = seen[dropped:]
        if now[: len(kept)] == kept:
            return now[len(kept) :]
    return now
