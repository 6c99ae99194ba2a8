"""Webhooks over the API: the secret once, the same refusals as on the pages, tests and replays."""

from __future__ import annotations

import pytest

from compute.models import Scope
from sessions.webhooks.models import Webhook, WebhookDelivery
from tests.api.conftest import Tokened

pytestmark = pytest.mark.django_db
BASE = "workspaces/research/webhooks"
BODY = {"name": "ci", "url": "https://ci.example.com/hook", "phases": ["Failed", "Running"]}


def test_the_secret_is_shown_once(api: Tokened) -> None:
    client = api("admin", Scope.ADMIN)
    made = client.post(BASE, BODY, Idempotency_Key="one")
    assert made.status == 201 and made["Cache-Control"] == "no-store"
    assert made.data["secret"] == Webhook.objects.get().secret
    assert made.data["phases"] == ["Running", "Failed"]
    again = client.post(BASE, BODY, Idempotency_Key="one")
    assert (again.status, again.data["secret"]) == (201, None)
    for answer in (client.get(BASE), client.get(f"{BASE}/ci")):
        assert "secret" not in str(answer.data) and "whsec_" not in str(answer.data)
    renewed = client.post(f"{BASE}/ci/secret")
    assert renewed.data["secret"] == Webhook.objects.get().secret != made.data["secret"]


def test_what_cannot_be_is_refused_at_its_field(api: Tokened) -> None:
    answer = api("admin").post(BASE, {"name": "new", "url": "http://169.254.169.254/", "phases": ["Sleeping"]})
    assert (answer.status, answer.code) == (422, "refused")
    assert answer.fields == [("name", "name_reserved"), ("phases", "phase_unknown"), ("url", "url_not_allowed")]
    assert api("admin").post(BASE, {**BODY, "secret": "mine"}).fields == [("secret", "unknown_field")]


def test_a_change_keeps_what_is_absent_and_wants_the_state_that_was_read(api: Tokened) -> None:
    client = api("admin")
    client.post(BASE, BODY)
    tag = client.get(f"{BASE}/ci")["ETag"]
    changed = client.send("PATCH", f"{BASE}/ci", {"enabled": False}, If_Match=tag)
    assert (changed.status, changed.data["enabled"], changed.data["url"]) == (200, False, BODY["url"])
    assert client.send("PATCH", f"{BASE}/ci", {"enabled": True}, If_Match=tag).status == 412
    assert client.post(f"{BASE}/ci/test").fields == [("", "webhook_disabled")]


def test_a_test_event_can_be_followed_and_replayed(api: Tokened) -> None:
    client = api("admin")
    client.post(BASE, BODY)
    sent = client.post(f"{BASE}/ci/test")
    assert (sent.status, sent.data["status"], sent.data["payload"]["type"]) == (202, "pending", "webhook.test")
    WebhookDelivery.objects.update(status="failed", attempts=8)
    address = f"{BASE}/ci/deliveries/{sent.data['id']}"
    assert (client.get(address).data["status"], client.get(address).data["next_try_at"]) == ("failed", None)
    assert [row["id"] for row in client.get(f"{BASE}/ci/deliveries", status="failed").data["items"]] == [sent.data["id"]]
    replayed = client.post(f"{address}/replay")
    assert (replayed.status, replayed.data["status"], replayed.data["attempts"]) == (202, "pending", 0)


def test_a_token_needs_the_scope_of_admins_even_to_read(api: Tokened) -> None:
    assert api("admin", Scope.READ, Scope.SESSIONS).get(BASE).code == "scope_missing"
