"""Errors that a user can act on, shared by every service, form, page and API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. ``field`` names where it was typed ("" when it is no field's), in the API's spelling:
    ``image``, ``home.size``, ``data_volumes.0.mount_path``, ``env.2.name``. ``code`` is stable, ``message`` a sentence."""

    field: str
    code: str
    message: str


class Refused(Exception):
    """A service did nothing, because of one or more problems."""

    def __init__(self, problems: Iterable[Problem] | Problem) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__(" ".join(problem.message for problem in self.problems))


class Forbidden(Exception):
    """The user sees the thing but may not do this; the message says who may."""
