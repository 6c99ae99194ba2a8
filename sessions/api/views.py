"""The views that every endpoint is made of: what comes in is checked by the operation's declaration, what goes out is made by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from compute.access import membership_of
from compute.models import Membership, Workspace
from sessions.api import etags, pagination, throttling
from sessions.api.authentication import token_of
from sessions.api.operations import Operation, operation_of
from sessions.api.problems import CONTENT_TYPE, ProblemError, document, flatten
from sessions.api.renderers import PlainTextRenderer
from sessions.api.schema import OperationSchema
from sessions.api.serializers import Answer, Body, Query

M = TypeVar("M", bound=Model)


class View(APIView):
    """One address of the API. Its methods are declared with ``@operation``, and answer by ``answer``, ``page`` or ``done``.

    ``query`` and ``body`` are what came in, checked. ``represented_by`` is the thing's whole representation, of which the
    ETag is made that ``If-Match`` speaks of.
    """

    http_method_names = ["get", "head", "post", "put", "patch", "delete"]
    schema = OperationSchema()
    represented_by: type[Answer] | None = None
    operation: Operation
    query: dict[str, Any]
    body: dict[str, Any]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.operation = operation_of(self, str(request.method))
        super().initial(request, *args, **kwargs)
        self.enter(**kwargs)
        self.query = _checked(self.operation.parameters, request.query_params.dict())
        self.body = _checked(self.operation.body, request.data) if self.operation.body else {}

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        self.rate_headers = throttling.count(request)

    def get_renderers(self) -> list[BaseRenderer]:
        declared: Operation | None = getattr(self, "operation", None)
        return [JSONRenderer(), *([PlainTextRenderer()] if declared and declared.text_example else [])]

    @property
    def wants_text(self) -> bool:
        return isinstance(self.request.accepted_renderer, PlainTextRenderer)

    def enter(self, **kwargs: Any) -> None:
        """Find what the address is inside of; nothing at the top."""

    def context(self) -> dict[str, Any]:
        """What serializers know of who asks."""
        return {"request": self.request, "token": token_of(self.request)}

    def answer(self, thing: Any, location: str = "") -> Response:
        """One thing, as the operation declares its answer."""
        assert self.operation.answer is not None
        data: Any = self.operation.answer(thing, context=self.context()).data
        headers = {"Location": location} if location else {}
        if self.operation.tagged:
            headers["ETag"] = etags.etag_of(data)
            if self.request.method in ("GET", "HEAD") and etags.is_known(self.request, headers["ETag"]):
                return Response(status=304, headers=headers)
        return Response(self._narrowed([data])[0], status=self.operation.status, headers=headers)

    def page(self, queryset: QuerySet[Any]) -> Response:
        """A page of a list, narrowed and ordered as the address says."""
        assert self.operation.answer is not None
        cut = pagination.cut(queryset, self.query["ordering"], self.query["limit"], self.query.get("cursor", ""))
        data: Any = self.operation.answer(cut.rows, many=True, context=self.context()).data
        base, query = f"{settings.SLIPWAY_URL}{self.request.path}", self.request.query_params.dict()
        links = {name: pagination.address(base, query, getattr(cut, name)) for name in ("next", "previous")}
        header = ", ".join(f'<{url}>; rel="{ {"previous": "prev"}.get(name, name) }"' for name, url in links.items() if url)
        return Response({"items": self._narrowed(data), **links}, headers={"Link": header} if header else None)

    def one(self, rows: QuerySet[M]) -> M:
        """The one row of ``rows``; raises ``Http404`` when it is not there."""
        row = rows.first()
        if row is None:
            raise Http404
        return row

    def done(self) -> Response:
        """Nothing to show."""
        return Response(status=204)

    def _narrowed(self, items: list[Any]) -> list[Any]:
        names = self.query.get("fields")
        return items if names is None else [{name: item[name] for name in names} for item in items]

    @contextmanager
    def unchanged(self, rows: QuerySet[M]) -> Iterator[M]:
        """The one row of ``rows``, for a write: in a transaction, and locked when ``If-Match`` asks for a certain state of it.

        Raises ``Http404`` when it is not there, ``precondition_failed`` when it is in another state.
        """
        with transaction.atomic():
            if "If-Match" in self.request.headers:
                self.lock()
                rows.model._default_manager.select_for_update().filter(pk__in=rows.values("pk")).first()
            row = self.one(rows)
            if "If-Match" in self.request.headers:
                assert self.represented_by is not None
                etags.require_match(self.request, etags.etag_of(self.represented_by(row, context=self.context()).data))
            yield row

    def lock(self) -> None:
        """What services lock before a row of this kind, so that two writers never wait for each other; nothing at the top."""

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        for name, value in getattr(self, "rate_headers", {}).items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        return response


class WorkspaceView(View):
    """An address inside ``/workspaces/{workspace}``: for its members, with a token that reaches it; 404 for all others."""

    membership: Membership
    workspace: Workspace

    def enter(self, **kwargs: Any) -> None:
        self.membership = membership_of(self.request.user, kwargs["workspace"])
        self.workspace = self.membership.workspace
        token = token_of(self.request)
        if token is not None and not token.allows(self.workspace):
            raise Http404

    def context(self) -> dict[str, Any]:
        return {**super().context(), "membership": self.membership, "workspace": self.workspace}

    def lock(self) -> None:
        Workspace.objects.select_for_update(no_key=True).get(pk=self.workspace.pk)


def _checked(shape: type[Body] | type[Query], data: Any) -> dict[str, Any]:
    serializer = shape(data=data)
    if not serializer.is_valid():
        raise ProblemError("invalid", errors=flatten(serializer.errors))
    return dict(serializer.validated_data)


@csrf_exempt  # it changes nothing, and programs get a problem and no page
def unknown(request: HttpRequest, **_: Any) -> JsonResponse:
    """Whatever is below the API's address and is none of it."""
    problem = ProblemError("not_found", "There is no such address in this API.")
    return JsonResponse(document(problem, request), status=404, content_type=CONTENT_TYPE)
