"""The sessions of a workspace as its list shows them: filtered, paged, and with what each viewer may do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth import get_user_model
from django.db.models import Count, Exists, OuterRef, Q, Sum

from compute.models import Membership, Workspace
from presets.models import Preset
from sessions.actions import Actions, actions_for
from sessions.idle import Idleness, idleness_of
from sessions.marks import mark_of
from sessions.models import Desired, Phase, Session, SessionQuerySet
from sessions.paging import Page, keyset_page

PAGE_SIZE = 25
SOON = 2  # seconds between the looks of a list in which a session moves
SELDOM = 10  # of any other: a cluster, or somebody else, may have changed one
# Offered in the owner filter. Where there are more people, the search finds the rest.
MAX_PEOPLE = 200
# No user name may have a "~"; so this is never a person.
ME = "~me"
ASKED = {Desired.RUNNING: "Asked to start.", Desired.PAUSED: "Asked to pause.", Desired.DELETED: "Asked to be deleted."}
# Not read by the list, and dear to decrypt or long.
UNLISTED = ("env", "ide_token", "snapshot", "log_tail", "steps")


@dataclass(frozen=True)
class Filters:
    """What the list is narrowed to. Empty text filters nothing; ``owner`` is :data:`ME` or a user name."""

    search: str = ""
    phase: str = ""
    preset: str = ""
    owner: str = ""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        """From a query string. A phase that does not exist is no filter."""
        phase = query.get("phase", "")
        return cls(
            search=query.get("search", "").strip().replace("\x00", "")[:100],
            phase=phase if phase in Phase.values else "",
            preset=query.get("preset", "")[:63],
            owner=query.get("owner", "")[:150],
        )

    @property
    def query_string(self) -> str:
        return urlencode({name: value for name, value in asdict(self).items() if value})

    def apply(self, sessions: SessionQuerySet, user: Any) -> SessionQuerySet:
        for word in self.search.split()[:5]:
            person = Q(owner__username__icontains=word) | Q(owner__first_name__icontains=word) | Q(owner__last_name__icontains=word)
            sessions = sessions.filter(Q(name__icontains=word) | person)
        if self.phase:
            sessions = sessions.filter(phase=self.phase)
        if self.preset:
            sessions = sessions.filter(preset__slug=self.preset)
        if self.owner == ME:
            sessions = sessions.filter(owner=user)
        elif self.owner:
            sessions = sessions.filter(owner__username=self.owner)
        return sessions


@dataclass(frozen=True)
class Row:
    """A session as one member sees it. ``mark`` changes when anything that a poll may bring changes."""

    session: Session
    actions: Actions

    @property
    def sentence(self) -> str:
        """What there is to say beside the phase; empty when the phase says it all."""
        told = sentence(self.session)
        is_plain = self.session.phase == Phase.PAUSED and told == self.session.message
        return "" if is_plain else told

    @property
    def idleness(self) -> Idleness | None:
        return idleness_of(self.session)

    @property
    def is_billed(self) -> bool:
        return self.session.desired == Desired.RUNNING and self.session.phase != Phase.FAILED

    @cached_property
    def mark(self) -> str:
        shown = (self.session.phase, self.sentence, self.session.is_moving, self.is_billed, self.actions, self.idleness)
        return mark_of(*shown, size=6)


def sentence(session: Session) -> str:
    """What a session's page says below its phase. What was asked a moment ago counts before what the cluster said last."""
    if session.status_generation < session.generation:
        return ASKED[Desired(session.desired)]
    return "" if session.phase == Phase.RUNNING else session.message


@dataclass(frozen=True)
class Totals:
    running: int
    price_per_hour: Decimal


class Listing:
    """One page of a workspace's sessions for one member. Every property asks the database once, when it is read."""

    def __init__(self, membership: Membership, query: Mapping[str, str]) -> None:
        self.membership = membership
        self.workspace: Workspace = membership.workspace
        self.filters = Filters.of(query)
        self._query = query

    @property
    def _sessions(self) -> SessionQuerySet:
        shown = Session.objects.in_workspace(self.workspace).select_related("owner", "preset", "image", "pod_size")
        return shown.defer(*UNLISTED)

    def _rows(self, sessions: list[Session]) -> list[Row]:
        for session in sessions:
            session.workspace = self.workspace  # saves a join for what every row knows
        return [Row(session, actions_for(self.membership, session)) for session in sessions]

    @cached_property
    def page(self) -> Page[Session]:
        narrowed = self.filters.apply(self._sessions, self.membership.user)
        return keyset_page(narrowed, "created_at", self._query, PAGE_SIZE)

    @cached_property
    def rows(self) -> list[Row]:
        return self._rows(self.page.rows)

    def rows_of(self, hosts: list[str]) -> list[Row]:
        """The sessions with these hosts, as far as they are still there."""
        return self._rows(list(self._sessions.filter(host__in=hosts[:PAGE_SIZE])))

    @cached_property
    def totals(self) -> Totals:
        """Of the whole workspace, whatever the filters say."""
        running = Session.objects.in_workspace(self.workspace).filter(phase=Phase.RUNNING).order_by()
        sums = running.aggregate(running=Count("pk"), price=Sum("price_per_hour"))
        return Totals(sums["running"], Decimal(sums["price"] or 0))

    @cached_property
    def preset_choices(self) -> list[tuple[str, str]]:
        """The presets that the workspace's sessions use, as (slug, name)."""
        used = Session.objects.in_workspace(self.workspace).filter(preset=OuterRef("pk"))
        return list(Preset.objects.filter(Exists(used)).order_by("position", "name").values_list("slug", "name"))

    @cached_property
    def owner_choices(self) -> list[tuple[str, str]]:
        """The user, the owners of the workspace's sessions, and whoever is filtered by, as (value, words)."""
        owners = Session.objects.in_workspace(self.workspace).order_by().values("owner")
        people = get_user_model().objects.filter(pk__in=owners).exclude(pk=self.membership.user_id).order_by("username")
        choices = [(ME, "Me")]
        choices += [
            (person.get_username(), person.get_full_name() or person.get_username())
            for person in people.only("username", "first_name", "last_name")[:MAX_PEOPLE]
        ]
        if self.filters.owner and self.filters.owner not in dict(choices):
            choices.append((self.filters.owner, self.filters.owner))
        return choices


def look_again(rows: Sequence[Row]) -> int:
    """After how many seconds a list that shows these rows asks what is new."""
    return SOON if any(row.session.is_moving for row in rows) else SELDOM


def watched(query: Mapping[str, str]) -> dict[str, str]:
    """What a polling page says that it shows: host → mark."""
    pairs = (item.partition(":") for item in query.get("watch", "").split(",")[:PAGE_SIZE])
    return {host: mark for host, _, mark in pairs if host}
