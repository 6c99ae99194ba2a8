"""What a session says and what has happened to it: log, events, activity."""

from __future__ import annotations

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import Forbidden
from sessions import events, logs
from sessions.api import session_examples as examples
from sessions.api.operations import operation
from sessions.api.serializers import Answer, Query, Thing, Time
from sessions.api.sessions import READING, SessionsView
from sessions.models import Activity, Session

MAX_LINES = 2000


class LogQuery(Query):
    tail = serializers.IntegerField(min_value=1, max_value=MAX_LINES, default=logs.LINES, help_text="The last lines: so many at most.")
    previous = serializers.BooleanField(default=False, help_text="Of the run before the last restart.")


class LogSerializer(Answer):
    text = serializers.CharField(help_text="Without terminal codes, and without the IDE’s own token.")
    previous = serializers.BooleanField()
    has_previous = serializers.BooleanField(help_text="Whether there is a log of the run before.")
    problem = serializers.CharField(help_text="Why the cluster would not tell; then text is the last that was kept.")


class EventSerializer(Answer):
    at = Time(source="event.at")
    kind = serializers.ChoiceField(["Normal", "Warning"], source="event.kind")
    reason = serializers.CharField(source="event.reason")
    message = serializers.CharField()


class EventsSerializer(Answer):
    items = EventSerializer(many=True, source="rows")
    total = serializers.IntegerField(help_text="With those that are too old to be listed.")
    problem = serializers.CharField(help_text="Why the cluster would not tell; empty when it did.")


class ActivitySerializer(Thing):
    at = Time()
    verb = serializers.CharField(help_text="launch, pause, resume, retry, delete, open, phase, error.")
    actor = serializers.CharField(source="actor.get_username", allow_null=True, help_text="Null: the cluster, or Slipway itself.")
    phase = serializers.CharField()
    reason = serializers.CharField()
    message = serializers.CharField()


class OutputView(SessionsView):
    def session(self, name: str) -> Session:
        """With its cluster, which is asked."""
        session = self.one(Session.objects.in_workspace(self.workspace).filter(name=name).defer("env", "snapshot"))
        session.workspace = self.workspace
        return session


class Logs(OutputView):
    @operation(
        id="sessions_logs",
        summary="Read a session’s log",
        scopes=READING,
        query=LogQuery,
        answer=LogSerializer,
        example=examples.LOG,
        text_example=examples.LOG["text"],
        refusals=("forbidden",),
    )
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """The end of it, asked of the cluster now. For its owner and admins: it may hold whatever was printed there.

        With `Accept: text/plain` the text alone.
        """
        log = logs.tail(self.membership, self.session(name), previous=self.query["previous"], lines=self.query["tail"])
        if log.hidden:
            raise Forbidden(log.hidden)
        return Response(f"{log.text}\n" if log.text else "") if self.wants_text else self.answer(log)


class Events(OutputView):
    @operation(
        id="sessions_events",
        summary="Read a session’s events",
        scopes=READING,
        answer=EventsSerializer,
        example={"items": [examples.EVENT], "total": 1, "problem": ""},
    )
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """What the cluster says has happened to it: the last hundred, newest first."""
        return self.answer(events.events_of(self.session(name)))


class History(OutputView):
    @operation(
        id="sessions_activity",
        summary="Read a session’s activity",
        scopes=READING,
        answer=ActivitySerializer,
        example=examples.ACTIVITY,
        orders=("-at", "at"),
    )
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """What was asked of it and by whom, and how its phase changed."""
        return self.page(Activity.objects.filter(session=self.session(name)).select_related("actor"))
