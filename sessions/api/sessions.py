"""Sessions: find, launch, try, pause, resume, open, delete. Each verb is the service that the pages call."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.access import require_role
from compute.models import Role, Scope
from presets.models import Configuration
from sessions import services
from sessions.api import session_examples as examples
from sessions.api.authentication import token_of
from sessions.api.operations import operation
from sessions.api.scopes import require_own_scope
from sessions.api.serializers import Answer, Query, absolute
from sessions.api.session_serializers import SessionBody, SessionSerializer, ValidationSerializer, resolved
from sessions.api.session_spec import api_spelling, spec_of, spelled
from sessions.api.views import WorkspaceView
from sessions.api.waiting import WANTED, waiters
from sessions.gateway import TICKET_LIFE, login_key_of
from sessions.listing import Filters
from sessions.models import Phase, Session, SessionVolume
from sessions.spec import check

READING = (Scope.READ, Scope.SESSIONS)
# One's own sessions want the one, other people's the other.
WRITING = (Scope.SESSIONS, Scope.ADMIN)
RETRY_SECONDS = 2
FILTERS = ("search", "phase", "preset", "owner")


class SessionQuery(Query):
    search = serializers.CharField(required=False, max_length=100, help_text="Words in the session’s or the owner’s name.")
    phase = serializers.ChoiceField(Phase.choices, required=False)
    preset = serializers.CharField(required=False, max_length=63)
    owner = serializers.CharField(required=False, max_length=150, help_text="A user name; ~me is you.")


class WaitQuery(Query):
    wait = serializers.ChoiceField(WANTED, required=False, help_text="Answer when it has this phase, or can’t get there any more.")
    timeout = serializers.IntegerField(min_value=0, max_value=60, default=30, help_text="Seconds to wait at most.")


class DeleteQuery(Query):
    volumes = serializers.CharField(required=False, help_text="Names of its volumes to put into the trash with it, with commas between.")


class OpenedSerializer(Answer):
    url = serializers.URLField(help_text="Leads into the session, once.")
    expires_in = serializers.IntegerField(help_text="Seconds.")


class SessionsView(WorkspaceView):
    represented_by = SessionSerializer

    def sessions(self) -> QuerySet[Session]:
        """The workspace's sessions with what is shown of them; three queries."""
        mounts = Prefetch("mounts", SessionVolume.objects.select_related("volume"))
        configurations = Prefetch("configurations", Configuration.objects.only("slug", "position", "name"))
        shown = Session.objects.in_workspace(self.workspace).for_display().prefetch_related(mounts, configurations)
        return shown.defer("snapshot", "ide_token", "log_tail")

    def named(self, name: str) -> QuerySet[Session]:
        return self.sessions().filter(name=name)


class Sessions(SessionsView):
    @operation(
        id="sessions_list",
        summary="List sessions",
        scopes=READING,
        query=SessionQuery,
        answer=SessionSerializer,
        example=examples.SESSION,
        orders=("-created_at", "created_at", "name", "-name", "phase_since", "-phase_since", "price_per_hour", "-price_per_hour"),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """Of everybody in the workspace."""
        filters = Filters(**{name: self.query.get(name, "") for name in FILTERS})
        return self.page(filters.apply(self.sessions(), request.user))  # type: ignore[arg-type]

    @operation(
        id="sessions_launch",
        summary="Launch a session",
        scopes=(Scope.SESSIONS,),
        body=SessionBody,
        body_example=examples.BODY,
        answer=SessionSerializer,
        example=examples.SESSION,
        status=201,
        tagged=True,
        creates=True,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str) -> Response:
        """It is queued when this answers, and starts by itself; wait for it with ?wait=Running."""
        with transaction.atomic():
            if "name" not in self.body:
                self.lock()  # a name that we choose must still be free when it is used
            spec = spec_of(self.body, request.user, self.workspace)
            with api_spelling(spec):
                session = services.launch(request.user, self.workspace, spec)
        return self.answer(self.one(self.sessions().filter(pk=session.pk)), absolute("api:session", self.workspace.name, session.name))


class Validate(SessionsView):
    @operation(
        id="sessions_validate",
        summary="Try a launch",
        scopes=(Scope.SESSIONS,),
        body=SessionBody,
        body_example=examples.BODY,
        answer=ValidationSerializer,
        example=examples.VALIDATION,
        refusals=("forbidden",),
    )
    def post(self, request: Request, workspace: str) -> Response:
        """Everything that a launch would check; nothing is made. errors is what a launch would refuse with."""
        require_role(self.membership, Role.MEMBER, "launch sessions")
        spec = spec_of(self.body, request.user, self.workspace)
        checked = check(request.user, self.workspace, spec)
        found: dict[str, Any] = {
            "errors": [spelled(problem, spec) for problem in checked.problems],
            "warnings": [spelled(warning, spec) for warning in checked.warnings],
            "spec": resolved(spec.name, checked),
            "price_per_hour": checked.price_per_hour,
            "quota": checked.quota,
        }
        return self.answer(found)


class OneSession(SessionsView):
    @operation(
        id="sessions_get",
        summary="Show a session",
        scopes=READING,
        query=WaitQuery,
        answer=SessionSerializer,
        example=examples.SESSION,
        tagged=True,
    )
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """With ?wait= it answers as soon as the phase is there or can’t come any more, or when the time is up: look at phase.
        A session that goes away meanwhile is 404. Where too many wait already, it answers at once, with Retry-After."""
        session = self.one(self.named(name))
        if "wait" not in self.query:
            return self.answer(session)
        had_place = waiters.wait(session, self.query["wait"], self.query["timeout"])
        response = self.answer(self.one(self.sessions().filter(pk=session.pk)))
        if not had_place:
            response["Retry-After"] = str(RETRY_SECONDS)
        return response

    @operation(
        id="sessions_delete",
        summary="Delete a session",
        scopes=WRITING,
        query=DeleteQuery,
        answer=SessionSerializer,
        example={**examples.SESSION, "desired": "deleted", "message": "Asked to be deleted."},
        status=202,
        tagged=True,
        conditional=True,
        refusals=("refused", "forbidden"),
    )
    def delete(self, request: Request, workspace: str, name: str) -> Response:
        """Its volumes stay, but for those that are named, which go to the trash."""
        with self.unchanged(self.named(name)) as session:
            require_own_scope(self.request, session.owner_id, Scope.SESSIONS)
            volumes = [volume for volume in self.query.get("volumes", "").split(",") if volume]
            services.delete(request.user, session, volumes)
            return self.answer(self.one(self.sessions().filter(pk=session.pk)))


class Pause(SessionsView):
    @operation(
        id="sessions_pause",
        summary="Pause a session",
        scopes=WRITING,
        answer=SessionSerializer,
        example={**examples.SESSION, "desired": "paused", "message": "Asked to pause."},
        status=202,
        tagged=True,
        conditional=True,
        refusals=("forbidden",),
    )
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Releases its compute; volumes stay attached. Pausing a paused session changes nothing."""
        with self.unchanged(self.named(name)) as session:
            require_own_scope(self.request, session.owner_id, Scope.SESSIONS)
            services.pause(request.user, session)
            return self.answer(self.one(self.sessions().filter(pk=session.pk)))


class Resume(SessionsView):
    @operation(
        id="sessions_resume",
        summary="Resume a session",
        scopes=WRITING,
        answer=SessionSerializer,
        example={**examples.SESSION, "phase": "Paused", "message": "Asked to start."},
        status=202,
        tagged=True,
        conditional=True,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """Starts a paused or failed session again, with the catalog as it is now. Resuming a running one changes nothing."""
        with self.unchanged(self.named(name)) as session:
            require_own_scope(self.request, session.owner_id, Scope.SESSIONS)
            services.resume(request.user, session)
            return self.answer(self.one(self.sessions().filter(pk=session.pk)))


class Open(SessionsView):
    @operation(
        id="sessions_open",
        summary="Open a session",
        scopes=(Scope.SESSIONS,),
        answer=OpenedSerializer,
        example=examples.OPENED,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str, name: str) -> Response:
        """A one-time address for its owner’s browser. What is opened with a token closes when the token is revoked or expires."""
        session = self.one(self.named(name))
        token = token_of(request)
        login_key = login_key_of(token) if token is not None else request.session.session_key or ""
        url = services.open_session(request.user, session, login_key)
        response = self.answer({"url": url, "expires_in": int(TICKET_LIFE.total_seconds())})
        response["Cache-Control"] = "no-store"
        return response
