"""The pages of webhooks: the secret once, the deliveries with their answers, replay."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client

from compute.models import Workspace
from sessions.webhooks import delivery, services
from sessions.webhooks.models import Webhook, WebhookDelivery
from tests.conftest import Cast
from tests.sessions.webhook_receiver import Receiver, plain

pytestmark = pytest.mark.django_db
LIST = "/w/research/webhooks/"


@pytest.fixture
def client(cast: Cast) -> Client:
    return cast.client("admin")


def text(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def test_a_webhook_is_made_and_its_secret_shown_once(client: Client) -> None:
    assert "No webhooks yet" in text(client.get(LIST))
    made = client.post(f"{LIST}new/", {"name": "ci", "url": "https://ci.example.com/hook", "phases": ["Failed"], "enabled": "on"})
    webhook = Webhook.objects.get()
    assert webhook.secret in text(made) and "no-store" in made["Cache-Control"]
    assert (webhook.phases, webhook.enabled) == (["Failed"], True)
    for page in (LIST, f"{LIST}ci/", f"{LIST}ci/edit/"):
        assert webhook.secret not in text(client.get(page))
    assert "ci.example.com" in text(client.get(LIST))


def test_what_is_wrong_is_said_at_its_field(client: Client) -> None:
    answer = text(client.post(f"{LIST}new/", {"name": "ci", "url": "https://192.168.0.1/", "enabled": "on"}))
    assert "192.168.0.1 is not a public address." in answer
    assert not Webhook.objects.exists()


def test_only_admins_find_webhooks_in_the_sidebar(cast: Cast) -> None:
    assert LIST in text(cast.client("admin").get("/w/research/presets/"))
    assert LIST not in text(cast.client("owner").get("/w/research/presets/"))


def test_a_test_event_is_sent_and_its_answer_shown(client: Client, cast: Cast, workspace: Workspace, settings: Any) -> None:
    settings.SLIPWAY_WEBHOOK_ALLOW_PRIVATE = [ip_network("127.0.0.0/8")]
    with Receiver(plain(500, "<script>alert(1)</script>")) as receiver:
        webhook = services.create(cast.admin, workspace, name="ci", url=receiver.url)
        sent = client.post(f"{LIST}ci/test/")
        assert "on its way" in text(client.get(sent["Location"]))
        delivery.run()
        shown = text(client.get(sent["Location"]))
    assert "answered <strong>500</strong>" in shown
    assert "&lt;script&gt;alert(1)" in shown and "<script>alert(1)" not in shown
    row = WebhookDelivery.objects.get()
    assert str(row.event_id) in text(client.get(f"{LIST}ci/"))
    assert "No delivery is delivered." in text(client.get(f"{LIST}ci/?status=delivered"))
    assert "hx-get" in text(client.get(sent["Location"], headers={"HX-Request": "true"}))
    client.post(f"{sent['Location']}replay/")
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("pending", 0)
    webhook.refresh_from_db()
    assert webhook.resume_at is None


def test_a_webhook_is_edited_renewed_and_deleted(client: Client, cast: Cast, workspace: Workspace) -> None:
    before = services.create(cast.admin, workspace, name="ci", url="https://ci.example.com/").secret
    client.post(f"{LIST}ci/edit/", {"url": "https://chat.example.com/"})
    webhook = Webhook.objects.get()
    assert (webhook.url, webhook.phases, webhook.enabled, webhook.secret) == ("https://chat.example.com/", [], False, before)
    assert "is switched off" in text(client.get(f"{LIST}ci/"))
    client.post(f"{LIST}ci/test/")
    assert not WebhookDelivery.objects.exists()
    renewed = text(client.post(f"{LIST}ci/secret/"))
    assert Webhook.objects.get().secret in renewed and before not in renewed
    client.post(f"{LIST}ci/delete/")
    assert not Webhook.objects.exists()


def test_the_list_of_deliveries_costs_the_same_for_many(
    client: Client, cast: Cast, workspace: Workspace, django_assert_max_num_queries: Any
) -> None:
    webhook = services.create(cast.admin, workspace, name="ci", url="https://ci.example.com/")
    WebhookDelivery.objects.bulk_create(WebhookDelivery(webhook=webhook, type="webhook.test", payload={}) for _ in range(60))
    client.get(f"{LIST}ci/")
    with django_assert_max_num_queries(9):
        text(client.get(f"{LIST}ci/?page=2"))
