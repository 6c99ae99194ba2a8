"""A stack seen through its models, and a workspace of it to try things in, whose sessions are followed from outside: what the
live tests and those on a cluster share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

import environ
import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connections

from compute import clusters
from compute.models import Workspace
from sessions import services
from sessions.models import Activity, Session
from sessions.spec import SpecInput
from tests.stack import Stack

GONE = "gone"


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of the condition."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"Not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


@contextmanager
def models_of(stack: Stack) -> Iterator[None]:
    """Models of this process are in the stack's database meanwhile, in every thread, and its local sessions where it has them."""
    wanted, old = environ.Env.db_url_config(stack.database_url), connections.settings["default"]
    options = old if old["ENGINE"] == wanted["ENGINE"] else {}
    given = connections["default"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(connections.settings, "default", connections.configure_settings({"default": {**options, **wanted}})["default"])
        patch.setattr(settings, "SLIPWAY_LOCAL_ROOT", stack.local_root)
        connections["default"] = connections.create_connection("default")
        clusters._build.cache_clear()
        try:
            yield
        finally:
            clusters._build.cache_clear()
            connections["default"].close()
            connections["default"] = given


@dataclass
class Subject:
    """One session. ``claim`` is its home volume's."""

    session: Session
    lab: Any = field(repr=False)
    claim: str = ""

    @property
    def host(self) -> str:
        return self.session.host

    @property
    def row(self) -> Session | None:
        return Session.objects.filter(pk=self.session.pk).first()

    @property
    def phase(self) -> str:
        row = self.row
        return row.phase if row else GONE

    def pause(self) -> None:
        services.pause(self.lab.member, self.session)

    def resume(self) -> None:
        services.resume(self.lab.member, self.session)

    def delete(self) -> None:
        services.delete(self.lab.member, self.session)

    def told(self, verb: str = "phase") -> list[tuple[str, str]]:
        """Each phase and reason that its activity names, oldest first."""
        return list(Activity.objects.filter(host=self.host, verb=verb).order_by("pk").values_list("phase", "reason"))


S = TypeVar("S", bound=Subject)


@dataclass
class Laboratory(Generic[S]):
    """A workspace whose sessions are the demo member's."""

    stack: Stack
    workspace: Workspace
    subjects: list[S] = field(default_factory=list)
    subject: ClassVar[type[Any]] = Subject

    @cached_property
    def member(self) -> Any:
        return get_user_model().objects.get(username="member")

    def spec(self, name: str, **options: Any) -> SpecInput:
        raise NotImplementedError

    def launch(self, name: str, **options: Any) -> S:
        return self.follow(services.launch(self.member, self.workspace, self.spec(name, **options)))

    def follow(self, session: Session) -> S:
        self.subjects.append(self.subject(session, self, session.mounts.get(is_home=True).volume.claim))
        return self.subjects[-1]

    def follow_host(self, host: str) -> S:
        return self.follow(Session.objects.get(host=host))
