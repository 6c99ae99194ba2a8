"""Pages with many sessions in the database: queries with few and with many, and how long each takes in-process."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from presets.models import Preset
from sessions.models import Draft, Phase, Session
from sessions.paging import keyset_page
from sessions.spec import defaults
from sessions.wizard import BY_IDENTIFIER, Answers
from tests.bench.data import Population

FEW, MANY = 100, 10_000
ROUNDS, BUDGET = 20, 1.5  # at most so many, or so many seconds once there are five
HTMX = {"HX-Request": "true"}


@dataclass
class Measured:
    """``seconds`` are with ``MANY``. ``limit`` is how many queries the page may cost, 0 for no promise."""

    name: str
    limit: int
    few: int = 0
    many: int = 0
    seconds: list[float] = field(default_factory=list)
    slowest: str = ""

    def as_json(self) -> dict[str, Any]:
        ordered = sorted(self.seconds)
        return {
            "name": self.name,
            "limit": self.limit,
            "few": self.few,
            "many": self.many,
            "p50": statistics.median(ordered),
            "p95": ordered[round(0.95 * (len(ordered) - 1))],
            "slowest": self.slowest,
        }


def pages(population: Population) -> dict[str, tuple[int, Callable[[Client], HttpResponse]]]:
    """What is asked for, by name, each with its limit of queries."""
    workspace, user = population.workspace, population.user

    def url(route: str, *args: Any, **query: Any) -> str:
        return reverse(route, args=[workspace.name, *args]) + (f"?{urlencode(query)}" if query else "")

    sessions = Session.objects.in_workspace(workspace).order_by("-created_at", "-pk")
    middle = sessions[sessions.count() // 2].pk
    nearby = Session.objects.filter(pk__in=[middle, sessions.last().pk])  # type: ignore[union-attr]
    cursor = keyset_page(nearby, "created_at", {}, size=1).older
    pending = sessions.filter(phase=Phase.PENDING)[0].host
    running, failed = sessions.filter(phase=Phase.RUNNING)[0].host, sessions.filter(phase=Phase.FAILED)[0].host
    watch = ",".join(f"{host}:0" for host in sessions.values_list("host", flat=True)[:10])
    answers = Answers.from_spec(defaults(user, workspace, Preset.objects.get(slug="preset-0")))
    answers.visited = set(BY_IDENTIFIER)
    draft = Draft.objects.create(pk=uuid.uuid4(), owner=user, workspace=workspace, data=answers.to_data())
    typed = {"intent": "save", "rendered_preset": "preset-0", "preset": "preset-0", "name": "typed", "image": "image-0"}

    def get(address: str, htmx: bool = False) -> Callable[[Client], HttpResponse]:
        return lambda client: client.get(address, headers=HTMX if htmx else None)

    return {
        "list": (12, get(url("sessions:list"))),
        "list, one phase": (12, get(url("sessions:list", phase="Failed"))),
        "list, one preset": (12, get(url("sessions:list", preset="preset-3"))),
        "list, mine": (12, get(url("sessions:list", owner="~me"))),
        "list, searched": (12, get(url("sessions:list", search="work-0123"))),
        "list, nothing found": (12, get(url("sessions:list", search="zzz"))),
        "list, deep page": (12, get(url("sessions:list") + f"?{cursor}")),
        "list, fragment": (12, get(url("sessions:list", phase="Running"), htmx=True)),
        "list, poll": (12, get(url("sessions:list", watch=watch), htmx=True)),
        "detail, running": (12, get(url("sessions:detail", running))),
        "detail, pending": (12, get(url("sessions:detail", pending))),
        "detail, failed": (12, get(url("sessions:detail", failed))),
        "detail, poll": (12, get(url("sessions:detail", running, seen="0"), htmx=True)),
        "delete": (0, get(url("sessions:delete", running))),
        "presets": (0, get(url("presets:list"))),
        "preset": (0, get(url("presets:detail", "preset-0"))),
        "volumes": (0, get(url("storage:volumes"))),
        "volumes, deep page": (0, get(url("storage:volumes", page=max(1, population.size // 50)))),
        "volumes, searched": (0, get(url("storage:volumes", q="home-work-012"))),
        "trash": (0, get(url("storage:trash"))),
        "secrets": (0, get(url("storage:secrets"))),
        "wizard, new": (0, get(url("sessions:new"))),
        **{f"wizard, {step}": (0, get(url("sessions:draft", draft.pk, step))) for step in BY_IDENTIFIER},
        "wizard, typing": (0, lambda client: client.post(url("sessions:draft", draft.pk, "preset"), typed, headers=HTMX)),
    }


def measure(population: Population) -> list[dict[str, Any]]:
    client = Client()
    client.force_login(population.user)
    population.grow(FEW)
    results = {name: Measured(name, limit) for name, (limit, _) in pages(population).items()}
    for name, (_, ask) in pages(population).items():
        results[name].few = len(_queries(client, ask))
    population.grow(MANY)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    for name, (_, ask) in pages(population).items():
        queries = _queries(client, ask)
        results[name].many = len(queries)
        slowest = max(queries, key=lambda query: float(query["time"]))
        results[name].slowest = f"{float(slowest['time']) * 1000:.0f} ms: {slowest['sql']}"
        seconds = results[name].seconds
        while len(seconds) < 5 or (len(seconds) < ROUNDS and sum(seconds) < BUDGET):
            started = time.perf_counter()
            ask(client)
            seconds.append(time.perf_counter() - started)
    return [result.as_json() for result in results.values()]


def _queries(client: Client, ask: Callable[[Client], HttpResponse]) -> list[dict[str, str]]:
    """The queries of one request that is not the first of its kind."""
    assert ask(client).status_code in (200, 204)
    with CaptureQueriesContext(connection) as captured:
        response = ask(client)
    assert response.status_code in (200, 204), response
    return list(captured.captured_queries)
