"""What every endpoint has: problem details, pages, sparse fields, ETags, Idempotency-Key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection

from compute import tokens
from compute.models import ApiToken, Membership, Role, Workspace
from sessions.api import idempotency
from sessions.api.me import Me
from sessions.models import IdempotencyRecord
from tests.api.conftest import Api, Tokened
from tests.conftest import Cast

Browser = Callable[[str], Api]
TOKEN = {"name": "ci", "scopes": ["read"]}


# Problems


def test_a_problem_tells_everything_and_no_internals(api: Tokened) -> None:
    client = api("owner")
    client.headers["X-Request-ID"] = "test-1"
    answer = client.get("workspaces/nowhere")
    assert answer.code == "not_found"
    assert answer.data == {
        "type": "http://localhost:8000/api/errors#not_found",
        "title": "There is no such thing",
        "status": 404,
        "detail": answer.data["detail"],
        "code": "not_found",
        "errors": [],
        "request_id": "test-1",
    }
    assert answer["X-Request-ID"] == "test-1"
    client.headers["X-Request-ID"] = 'a"b'
    assert client.get("workspaces/nowhere").data["request_id"] != 'a"b'


def test_every_kind_of_request_gets_a_problem(browser: Browser) -> None:
    client = browser("owner")
    assert client.get("nothing/here").code == "not_found"
    assert client.send("DELETE", "me").code == "method_not_allowed"
    assert client.send("DELETE", "me")["Allow"] == "GET, HEAD"
    assert client.send("OPTIONS", "me").code == "method_not_allowed"
    assert client.send("GET", "me", Accept="text/csv").code == "not_acceptable"
    answer = client.client.post("/api/v1/tokens", {"name": "form"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{\n  "name": "x",,\n}', "Line 2, column 15: "),
        (b'{"name": NaN}', "NaN is not JSON"),
        (b'{"name": "a", "name": "b"}', "repeated"),
        (b'{"name": "\xff"}', "UTF-8"),
        (b'{"name": "\\ud800"}', "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"name": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_what_is_no_json_is_pointed_at(browser: Browser, body: bytes, sentence: str) -> None:
    answer = browser("owner").post("tokens", body)
    assert (answer.status, answer.code) == (400, "malformed")
    assert sentence in answer.data["detail"]


def test_a_body_has_a_largest_size(browser: Browser, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 2048
    answer = browser("owner").post("tokens", {**TOKEN, "name": "x" * 4096})
    assert (answer.status, answer.code) == (413, "too_large")


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ([], [("", "invalid")]),
        ("text", [("", "invalid")]),
        ({}, [("name", "required"), ("scopes", "required")]),
        ({**TOKEN, "colour": 1, "Name": "x"}, [("colour", "unknown_field"), ("Name", "unknown_field")]),
        ({**TOKEN, "name": 1}, [("name", "invalid")]),
        ({**TOKEN, "name": None}, [("name", "null")]),
        ({**TOKEN, "name": "a\u0000b"}, [("name", "null_characters_not_allowed")]),
        ({**TOKEN, "scopes": "read"}, [("scopes", "not_a_list")]),
        ({**TOKEN, "scopes": ["read", 7]}, [("scopes.1", "invalid")]),
        ({**TOKEN, "expires_at": "tomorrow"}, [("expires_at", "invalid")]),
        ({**TOKEN, "expires_at": 1}, [("expires_at", "invalid")]),
    ],
)
def test_a_wrong_shape_is_pointed_at_field_by_field(browser: Browser, body: Any, errors: list[tuple[str, str]]) -> None:
    answer = browser("owner").post("tokens", body)
    assert (answer.status, answer.code, answer.fields) == (400, "invalid", errors)
    assert all(error["message"].endswith(".") for error in answer.data["errors"])


def test_a_bug_shows_nothing_of_itself(api: Tokened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("canary-internal")

    monkeypatch.setattr(Me, "answer", fail)
    answer = api("owner").get("me")
    assert (answer.status, answer.code) == (500, "server_error")
    assert "canary-internal" not in answer.response.content.decode()
    assert "GET /api/v1/me failed" in caplog.text


# Lists


@pytest.fixture
def many(cast: Cast) -> list[str]:
    names = [f"token-{number:02}" for number in range(7)]
    for name in names:
        tokens.create_token(cast.owner, name=name, scopes=["read"])
    ApiToken.objects.update(created_at=ApiToken.objects.first().created_at)  # type: ignore[union-attr]
    return names


def walk(client: Api, direction: str, url: str) -> list[list[str]]:
    pages = []
    while url:
        page = client.send("GET", url.removeprefix("http://localhost:8000"))
        assert page.status == 200, page.data
        pages.append([item["name"] for item in page.data["items"]])
        assert bool(page.data[direction]) == (f'rel="{ {"previous": "prev"}.get(direction, direction) }"' in page.response.get("Link", ""))
        url = page.data[direction] or ""
    return pages


@pytest.mark.parametrize("ordering", ["name", "-name", "created_at", "-created_at"])
def test_pages_lead_through_the_whole_list_and_back(browser: Browser, many: list[str], ordering: str) -> None:
    client = browser("owner")
    there = walk(client, "next", f"/api/v1/tokens?limit=3&ordering={ordering}")
    expected = many[::-1] if ordering.startswith("-") else many
    assert there == [expected[:3], expected[3:6], expected[6:]]
    last = client.get("tokens", limit=3, ordering=ordering)
    while last.data["next"]:
        last = client.send("GET", last.data["next"].removeprefix("http://localhost:8000"))
    assert walk(client, "previous", last.data["previous"]) == [expected[3:6], expected[:3]]


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ({"limit": "0"}, [("limit", "min_value")]),
        ({"limit": "101"}, [("limit", "max_value")]),
        ({"limit": "many"}, [("limit", "invalid")]),
        ({"ordering": "colour"}, [("ordering", "invalid_choice")]),
        ({"cursor": "abc"}, [("cursor", "cursor_invalid")]),
        ({"fields": "name,colour"}, [("fields", "unknown_field")]),
        ({"colour": "red"}, [("colour", "unknown_parameter")]),
        ({"limit": "0", "x\u0000": "y"}, [("limit", "min_value"), ("x\u0000", "unknown_parameter")]),
    ],
)
def test_a_wrong_parameter_is_pointed_at(browser: Browser, query: dict[str, str], errors: list[tuple[str, str]]) -> None:
    answer = browser("owner").get("tokens", **query)
    assert (answer.status, answer.code, answer.fields) == (400, "invalid", errors)


def test_a_cursor_belongs_to_its_ordering(browser: Browser, many: list[str]) -> None:
    client = browser("owner")
    following = client.get("tokens", limit=3, ordering="name").data["next"].removeprefix("http://localhost:8000")
    assert client.send("GET", following.replace("ordering=name", "ordering=-name")).fields == [("cursor", "cursor_invalid")]


def test_sparse_fields(browser: Browser, many: list[str]) -> None:
    client = browser("owner")
    assert client.get("tokens", fields="name,id", limit=1).data["items"][0].keys() == {"name", "id"}
    token = ApiToken.objects.first()
    assert token
    assert client.get(f"tokens/{token.public_id}", fields="name").data == {"name": token.name}


def test_a_list_costs_the_same_for_one_row_and_for_many(
    browser: Browser, many: list[str], cast: Cast, workspace: Workspace, django_assert_num_queries: Any
) -> None:
    client = browser("owner")
    for number in range(5):
        more = Workspace.objects.create(name=f"w{number}", display_name="W", cluster=workspace.cluster, namespace=f"w{number}")
        Membership.objects.create(user=cast.owner, workspace=more, role=Role.VIEWER)
    for path, queries in (("tokens", 4), ("workspaces", 3)):
        for limit in (1, 5):
            with django_assert_num_queries(queries):
                assert len(client.get(path, limit=limit).data["items"]) == limit


# ETags


def test_what_has_not_changed_is_not_sent_again(browser: Browser, many: list[str]) -> None:
    client, token = browser("owner"), ApiToken.objects.get(name="token-01")
    path = f"tokens/{token.public_id}"
    etag = client.get(path)["ETag"]
    again = client.send("GET", path, If_None_Match=f'"other", W/{etag}')
    assert (again.status, again.response.content, again["ETag"]) == (304, b"", etag)
    ApiToken.objects.filter(pk=token.pk).update(name="renamed")
    assert client.send("GET", path, If_None_Match=etag).status == 200


def test_a_write_wants_the_state_that_was_read(browser: Browser, many: list[str]) -> None:
    client, token = browser("owner"), ApiToken.objects.get(name="token-01")
    path = f"tokens/{token.public_id}"
    etag = client.get(path)["ETag"]
    ApiToken.objects.filter(pk=token.pk).update(name="renamed")
    refused = client.delete(path, If_Match=etag)
    assert (refused.status, refused.code, refused["ETag"]) == (412, "precondition_failed", client.get(path)["ETag"])
    assert ApiToken.objects.kept().filter(pk=token.pk).exists()
    assert client.delete(path, If_Match=f'"x", {refused["ETag"]}').status == 204
    assert client.delete(path, If_Match="*").status == 404


# Idempotency


def test_the_same_create_twice_makes_one(browser: Browser) -> None:
    client = browser("owner")
    first = client.post("tokens", TOKEN, Idempotency_Key="k1")
    again = client.post("tokens", dict(reversed(TOKEN.items())), Idempotency_Key="k1")
    assert (first.status, again.status, again["Idempotency-Replayed"]) == (201, 201, "true")
    assert "Idempotency-Replayed" not in first.response
    assert again["Location"] == first["Location"]
    assert {**first.data, "token": None} == again.data
    assert ApiToken.objects.count() == 1


def test_a_key_is_for_one_request(browser: Browser) -> None:
    client = browser("owner")
    client.post("tokens", TOKEN, Idempotency_Key="k1")
    other = client.post("tokens", {**TOKEN, "name": "other"}, Idempotency_Key="k1")
    assert (other.status, other.code) == (409, "idempotency_key_reused")
    assert browser("colleague").post("tokens", {**TOKEN, "name": "other"}, Idempotency_Key="k1").status == 201
    for wrong in ("", "a b", "x" * 256, "\u00e9"):
        assert client.post("tokens", TOKEN, Idempotency_Key=wrong).fields == [("Idempotency-Key", "idempotency_key_invalid")]


def test_an_error_is_not_kept(browser: Browser) -> None:
    client = browser("owner")
    client.post("tokens", TOKEN)
    assert client.post("tokens", TOKEN, Idempotency_Key="k1").status == 422
    assert not IdempotencyRecord.objects.exists()
    ApiToken.objects.all().delete()
    assert client.post("tokens", TOKEN, Idempotency_Key="k1").status == 201


def test_a_kept_answer_is_unreadable_and_forgotten_after_a_day(browser: Browser) -> None:
    browser("owner").post("tokens", {**TOKEN, "name": "canary-name"}, Idempotency_Key="k1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT answer, fingerprint FROM notebook_sessions_idempotencyrecord")
        assert "canary" not in str(cursor.fetchall())
    assert idempotency.purge_old() == 0
    record = IdempotencyRecord.objects.get()
    IdempotencyRecord.objects.update(created_at=record.created_at - idempotency.KEPT)
    assert idempotency.purge_old() == 1
