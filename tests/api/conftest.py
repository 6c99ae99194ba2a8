"""A client of the API that speaks JSON, with a token of anyone in the cast."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from django.http import HttpResponse
from django.test import Client

from compute import tokens
from compute.models import Scope
from tests.conftest import Cast


@dataclass
class Answer:
    """A response with its JSON. ``fields`` are the (field, code) of its errors."""

    response: HttpResponse

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def data(self) -> Any:
        return json.loads(self.response.content) if self.response.content else None

    @property
    def code(self) -> str:
        assert self.response["Content-Type"] == "application/problem+json", self.response.content[:500]
        return str(self.data["code"])

    @property
    def fields(self) -> list[tuple[str, str]]:
        return [(error["field"], error["code"]) for error in self.data["errors"]]

    def __getitem__(self, header: str) -> str:
        return str(self.response[header])


@dataclass
class Api:
    """``api.get("me")``; ``headers`` go with every request."""

    headers: dict[str, str] = field(default_factory=dict)
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def send(self, method: str, path: str, body: Any = None, query: dict[str, Any] | None = None, **headers: str) -> Answer:
        sent = {**self.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        options: dict[str, Any] = {"headers": sent, "query_params": query or {}}
        if body is not None:
            options |= {"data": body if isinstance(body, bytes) else json.dumps(body), "content_type": "application/json"}
        url = path if path.startswith("/") else f"/api/v1/{path}"
        return Answer(self.client.generic(method.upper(), url, **options))

    def get(self, path: str, **query: Any) -> Answer:
        return self.send("GET", path, query=query)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send("POST", path, {} if body is None else body, **headers)

    def delete(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send("DELETE", path, body, **headers)


Tokened = Callable[..., Api]


@pytest.fixture
def api(cast: Cast) -> Tokened:
    """``api("owner", Scope.READ, workspaces=["research"])``: a client with a fresh token; without scopes, with all of them."""
    made = 0

    def build(who: str = "owner", *scopes: Scope, workspaces: Sequence[str] | None = None) -> Api:
        nonlocal made
        made += 1
        new = tokens.create_token(getattr(cast, who), name=f"token-{made}", scopes=scopes or list(Scope), workspaces=workspaces)
        return Api({"Authorization": f"Bearer {new.plain}"})

    return build


@pytest.fixture
def browser(cast: Cast) -> Callable[[str], Api]:
    """``browser("owner")``: somebody who is signed in; the test client sends no CSRF token and needs none."""

    def build(who: str) -> Api:
        client = Client(raise_request_exception=False)
        client.force_login(getattr(cast, who))
        return Api(client=client)

    return build


@pytest.fixture
def database_file(transactional_db: None, tmp_path: Path) -> Iterator[None]:
    """For tests with threads: SQLite in a file, as it is deployed. The tests' own is in memory, where writers who meet get an
    error instead of waiting their turn. PostgreSQL is used as it is."""
    if connection.vendor != "sqlite":
        yield
        return
    in_memory: Any = connections["default"]
    in_memory.ensure_connection()
    copy = sqlite3.connect(tmp_path / "tests.sqlite3")
    in_memory.connection.backup(copy)
    copy.close()
    name = in_memory.settings_dict["NAME"]
    in_memory.settings_dict["NAME"] = str(tmp_path / "tests.sqlite3")
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        in_memory.settings_dict["NAME"] = name
        connections["default"] = in_memory
