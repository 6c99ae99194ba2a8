"""Who may do what over the API, with which token. An operation of the schema that ``MATRIX`` does not list fails."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from compute import tokens
from compute.models import ApiToken, Membership, Scope, Workspace
from presets.models import Preset
from sessions.api.schema import description
from tests.api.conftest import Answer, Api
from tests.api.test_schema import operations
from tests.config.authorization_cast import World, build, ledger, undone
from tests.conftest import Cast
from tests.fakes import FakeDriver

PEOPLE = ("outsider", "viewer", "member", "admin", "owner")
# The things are the owner's, who is a member; ``member`` is a colleague; ``admin`` is of the workspace. Scopes: those of which
# a token needs one. Then the status for each person who is signed in with a browser; an error changes nothing.
MATRIX = """
me_get                  any                  200   200   200   200   200
tokens_list             any                  200   200   200   200   200
tokens_create           browser              201   201   201   201   201
tokens_get              any                  404   404   404   404   200
tokens_revoke           browser              404   404   404   404   204
workspaces_list         any                  200   200   200   200   200
workspaces_get          any                  404   200   200   200   200
catalog_import          catalog              403   403   403   403   403
catalog_export          catalog              403   403   403   403   403
presets_list            read,sessions,catalog  404   200   200   200   200
presets_get             read,sessions,catalog  404   200   200   200   200
compute_pools_list      read,sessions,catalog  404   200   200   200   200
slurm_clusters_list     read,sessions,catalog  404   200   200   200   200
configurations_list     read,sessions,catalog  404   200   200   200   200
volumes_list            read,volumes,sessions  404   200   200   200   200
volumes_create          volumes              404   403   201   201   201
volumes_get             read,volumes,sessions  404   200   200   200   200
volumes_trash           volumes,admin        404   403   403   200   200
trash_list              read,volumes,sessions  404   200   200   200   200
trash_get               read,volumes,sessions  404   200   200   200   200
trash_purge             volumes,admin        404   403   403   204   204
trash_restore           volumes,admin        404   403   403   200   200
secrets_list            read,admin,sessions  404   200   200   200   200
secrets_get             read,admin,sessions  404   200   200   200   200
secrets_write           admin                404   403   403   200   403
secrets_delete          admin                404   403   403   204   403
sessions_list           read,sessions        404   200   200   200   200
sessions_launch         sessions             404   403   201   201   201
sessions_validate       sessions             404   403   200   200   200
sessions_get            read,sessions        404   200   200   200   200
sessions_pause          sessions,admin       404   403   403   202   202
sessions_resume         sessions,admin       404   403   403   202   202
sessions_delete         sessions,admin       404   403   403   202   202
sessions_open           sessions             404   403   403   403   200
sessions_logs           read,sessions        404   403   403   200   200
sessions_events         read,sessions        404   200   200   200   200
sessions_slurm          read,sessions        404   200   200   200   200
sessions_activity       read,sessions        404   200   200   200   200
webhooks_list           admin                404   403   403   200   403
webhooks_create         admin                404   403   403   201   403
webhooks_get            admin                404   403   403   200   403
webhooks_change         admin                404   403   403   200   403
webhooks_delete         admin                404   403   403   204   403
webhooks_renew          admin                404   403   403   200   403
webhooks_test           admin                404   403   403   202   403
deliveries_list         admin                404   403   403   200   403
deliveries_get          admin                404   403   403   200   403
deliveries_replay       admin                404   403   403   202   403
"""
ROWS = {row[0]: row for row in (line.split() for line in MATRIX.splitlines() if line)}
SCOPES = {name: {"any": set(Scope.values), "browser": set()}.get(row[1], set(row[1].split(","))) for name, row in ROWS.items()}
EXPECTED = {name: dict(zip(PEOPLE, map(int, row[2:]), strict=True)) for name, row in ROWS.items()}
DECLARED = {declared["operationId"]: (path, method, declared) for path, method, declared in operations()}

BODIES: dict[str, Any] = {
    "tokens_create": {"name": "fresh", "scopes": ["read"]},
    "catalog_import": {"documents": "kind: PodDefault", "apply": True},
    "volumes_create": {"name": "fresh", "size": "1Gi"},
    "secrets_write": {"value": "canary-typed"},
    "webhooks_create": {"name": "fresh", "url": "https://ci.example.com/"},
    "webhooks_change": {"enabled": False},
    "sessions_launch": {"name": "fresh", "preset": "jupyterlab", "env": {"API_KEY": "canary-typed"}},
    "sessions_validate": {"name": "fresh", "preset": "jupyterlab", "env": {"API_KEY": "canary-typed"}},
}

# Which of its scopes counts depends on whose thing it is: here it is one's own.
OWN = {"sessions_pause", "sessions_resume", "sessions_delete", "volumes_trash", "trash_restore", "trash_purge"}


@pytest.fixture
def world(cast: Cast, workspace: Workspace, preset: Preset, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> World:
    tokens.create_token(cast.owner, name="owned", scopes=["read"])
    return build(cast, workspace, driver, monkeypatch)


def things(world: World, name: str) -> dict[str, str]:
    """What stands in the operation's address."""
    token = ApiToken.objects.get(name="owned")
    session = world.paused if name == "sessions_resume" else world.running
    return {
        "workspace": "research",
        "token": token.public_id,
        "name": session.name,
        "preset": "jupyterlab",
        "volume": world.scratch.name,
        "pvc": world.old.claim,
        "secret": world.secret.name,
        "webhook": world.webhook.name,
        "delivery": str(world.delivery.event_id),
    }


def call(world: World, name: str, client: Api, workspace: str = "") -> Answer:
    path, method, _ = DECLARED[name]
    places = {**things(world, name), **({"workspace": workspace} if workspace else {})}
    url = re.sub(r"{(\w+)}", lambda place: str(places[place[1]]), path)
    return client.send(method, url, BODIES.get(name, {}) if method in ("post", "put", "patch") else BODIES.get(name))


def browser(world: World, person: str, **options: Any) -> Api:
    return Api(client=world.client(person, **options))


@pytest.fixture
def token(world: World) -> Callable[..., Api]:
    def make(who: str, *scopes: str, workspaces: list[str] | None = None) -> Api:
        new = tokens.create_token(getattr(world.cast, who), name=f"t{ApiToken.objects.count()}", scopes=scopes, workspaces=workspaces)
        return Api({"Authorization": f"Bearer {new.plain}"})

    return make


def test_every_operation_is_listed() -> None:
    assert set(DECLARED) == set(ROWS), "Say in MATRIX who may do it, and with which scope."
    assert {name: set(declared["x-required-scope"]) for name, (_, _, declared) in DECLARED.items()} == SCOPES


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_token_needs_one_of_the_scopes(world: World, name: str, token: Callable[..., Api]) -> None:
    clients = {scope: token("owner", scope) for scope in Scope.values}
    lacking = "browser_only" if not SCOPES[name] else "scope_missing"
    for scope, client in clients.items():
        with ledger() as book, undone(book):
            answer = call(world, name, client)
            refused = answer.status == 403 and answer.code == lacking
            assert refused == (scope not in SCOPES[name] - ({"admin"} if name in OWN else set())), (scope, answer.status)


@pytest.mark.parametrize("name", sorted(ROWS))
def test_each_person_gets_what_the_matrix_says(world: World, name: str) -> None:
    found: dict[str, int] = {}
    for person in PEOPLE:
        client = browser(world, person)
        with ledger() as book, undone(book):
            answer = call(world, name, client)
            found[person] = answer.status
            outcome = book.outcome(answer.response)
            assert answer.status < 400 or outcome == str(answer.status), outcome
    assert found == EXPECTED[name]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_nobody_gets_in_without_signing_in(world: World, name: str) -> None:
    with ledger() as book:
        answer = call(world, name, Api())
        assert (answer.status, answer.code) == (401, "not_authenticated")
        assert book.outcome(answer.response) == "401"


INSIDE = sorted(name for name, (path, _, _) in DECLARED.items() if "{workspace}" in path)


@pytest.mark.parametrize("name", INSIDE)
def test_a_token_reaches_no_other_workspace(world: World, name: str, token: Callable[..., Api]) -> None:
    Membership.objects.create(user=world.cast.owner, workspace=Workspace.objects.get(name="other"), role="admin")
    client = token("owner", *Scope.values, workspaces=["other"])
    with ledger() as book:
        answer = call(world, name, client)
        assert answer.status == (403 if not SCOPES[name] else 404)
        book.written = False  # the token's last use
    assert ApiToken.objects.filter(last_used_at__isnull=False).count() == 1


# A preset is every workspace's, and a secret is made where it is written.
SHARED = {"presets_get", "secrets_write"}


@pytest.mark.parametrize("name", [name for name in INSIDE if DECLARED[name][0].count("{") > 1 and name not in SHARED])
def test_what_belongs_to_another_workspace_is_not_found_through_ones_own(world: World, name: str) -> None:
    with ledger() as book:
        answer = call(world, name, browser(world, "outsider"), workspace="other")
        assert (answer.status, book.outcome(answer.response)) == (404, "404")


@pytest.mark.parametrize("name", sorted(name for name, (_, method, _) in DECLARED.items() if method != "get"))
def test_no_write_is_taken_from_a_browser_without_its_csrf_token(world: World, name: str) -> None:
    with ledger() as book:
        answer = call(world, name, browser(world, "owner", enforce_csrf_checks=True))
        assert (answer.code, book.outcome(answer.response)) == ("csrf_failed", "403")


def test_other_methods_are_not_allowed(world: World) -> None:
    client = browser(world, "admin")
    for path, methods in description()["paths"].items():
        url = path.replace("{delivery}", str(uuid.UUID(int=0)))
        url = re.sub(r"{\w+}", "x", url)
        for method in {"get", "post", "put", "patch", "delete", "options", "trace"} - methods.keys():
            answer = client.send(method, url)
            assert (answer.status, answer.code) == (405, "method_not_allowed"), (method, url)
