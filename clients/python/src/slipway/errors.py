"""What can go wrong, each as one exception with a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from slipway.things import Session


class Problem(NamedTuple):
    """What is wrong with one field, such as ``data_volumes.0.claim``; ``field`` is empty when it is no field's."""

    field: str
    code: str
    message: str


class SlipwayError(Exception):
    """Whatever this package raises."""


class Unreachable(SlipwayError):
    """No answer came, as often as it was tried."""


class UnexpectedAnswer(SlipwayError):
    """An answer came, but not one of Slipway's API."""


class ApiError(SlipwayError):
    """Slipway said no. ``code`` is stable (the server lists all of them at ``/api/errors``), ``detail`` is for people.

    ``errors`` tells what is wrong field by field; ``request_id`` is what an administrator finds in the logs.
    """

    def __init__(self, status: int, code: str, detail: str, errors: Sequence[Problem] = (), request_id: str = "") -> None:
        self.status, self.code, self.detail, self.errors, self.request_id = status, code, detail, tuple(errors), request_id
        super().__init__(detail)

    @classmethod
    def of(cls, status: int, document: Any, request_id: str = "") -> ApiError:
        """The error that a problem document (RFC 9457) tells of; something between us and Slipway may have sent another one."""
        if not isinstance(document, Mapping) or "code" not in document:
            return cls(status, "", f"Slipway’s address answered with status {status}, and did not say why.", (), request_id)
        errors = [
            Problem(str(row.get("field", "")), str(row.get("code", "")), str(row.get("message", ""))) for row in document.get("errors", ())
        ]
        detail = str(document.get("detail") or document.get("title") or f"Status {status}.")
        return cls(status, str(document["code"]), detail, errors, str(document.get("request_id") or request_id))


class NotReached(SlipwayError):
    """A session can't get to the phase that was waited for: it failed, or something else was asked of it."""

    def __init__(self, session: Session, phase: str) -> None:
        self.session = session
        super().__init__(f"{session.name} is {session.phase} and will not be {phase}. {session.message}".rstrip())


class TimedOut(SlipwayError):
    """The time was up before a session got to the phase. It still may."""

    def __init__(self, session: Session, phase: str, seconds: float) -> None:
        self.session = session
        super().__init__(f"{session.name} is {session.phase} and not {phase} after {seconds:g} s. {session.message}".rstrip())
