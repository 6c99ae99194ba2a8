"""Webhooks: announced with the phase, signed, tried again, replayed; nobody waits for a receiver that is dead."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ

from compute.errors import Forbidden, Refused
from compute.models import Workspace
from compute.workload import Observation
from sessions import services as session_services
from sessions import tallies, tasks
from sessions.controller import Controller
from sessions.models import Session
from sessions.webhooks import delivery, http, services
from sessions.webhooks.models import DeliveryRun, Webhook, WebhookDelivery
from tests.conftest import Cast
from tests.fakes import FakeDriver
from tests.sessions.webhook_receiver import Receiver, failing, plain

pytestmark = pytest.mark.django_db
Hook = Callable[..., Webhook]
GUIDE = Path(__file__).parents[2] / "docs" / "webhooks.md"


@pytest.fixture(autouse=True)
def loopback(settings: Any) -> None:
    settings.SLIPWAY_WEBHOOK_ALLOW_PRIVATE = [ip_network("127.0.0.0/8")]


@pytest.fixture
def hook(cast: Cast, workspace: Workspace) -> Hook:
    def hook(url: str = "https://ci.example.com/hook", name: str = "ci", **rest: Any) -> Webhook:
        return services.create(cast.admin, workspace, name=name, url=url, **rest)

    return hook


@pytest.fixture
def told(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The cluster says something of a session, and the controller hears it."""
    monkeypatch.setattr("sessions.controller.TICK", 0.001)

    def told(session: Session, **says: Any) -> None:
        session.refresh_from_db()
        controller = Controller(threading.Event())
        monkeypatch.setattr(controller, "follow_clusters", lambda: None)
        values = {"exists": True, "revision": session.revision} | says
        seen = Observation(name=session.host, namespace="research", at=timezone.now(), **values)
        driver.observations["research", session.host] = seen
        controller.inbox.put((session.workspace.cluster_id, seen))
        controller.round()

    return told


@pytest.fixture
def running(launch: Callable[..., Session], told: Callable[..., None]) -> Callable[[], Session]:
    def running() -> Session:
        session = launch(env=())
        tasks.reconcile(session.pk)
        told(session, ready=True, endpoint="unix:/run/s")
        return session

    return running


def due_now() -> None:
    WebhookDelivery.objects.update(next_try_at=timezone.now())
    Webhook.objects.update(resume_at=None)


def test_a_new_phase_becomes_a_delivery(hook: Hook, running: Any, cast: Cast) -> None:
    hook()
    session = running()
    (row,) = WebhookDelivery.objects.all()
    assert row.payload.pop("at").endswith("Z")
    assert row.payload == {
        "id": str(row.event_id),
        "type": "session.phase_changed",
        "workspace": "research",
        "session": {
            "name": "forecast",
            "host": session.host,
            "owner": "owner",
            "preset": "jupyterlab",
            "phase": "Running",
            "previous_phase": "Pending",
            "reason": "Ready",
            "message": row.payload["session"]["message"],
            "url": f"http://localhost:8000/w/research/sessions/{session.host}/",
        },
    }
    assert OrmQ.objects.count() >= 1


def test_only_the_wanted_phases_of_ones_own_workspace_are_told(hook: Hook, running: Any, cast: Cast) -> None:
    hook(name="failures", phases=["Failed"])
    hook(name="off", enabled=False)
    services.create(cast.outsider, Workspace.objects.get(name="other"), name="theirs", url="https://ci.example.com/")
    running()
    assert not WebhookDelivery.objects.exists()
    assert not DeliveryRun.objects.exists()


def test_the_end_of_a_session_is_told(hook: Hook, running: Any, told: Any, cast: Cast) -> None:
    session = running()
    hook(phases=["Deleted"])
    session_services.delete(cast.owner, Session.objects.get())
    tasks.reconcile(session.pk)
    told(session, exists=False, retained=False)
    (row,) = WebhookDelivery.objects.all()
    assert (row.type, row.host, row.phase) == ("session.deleted", session.host, "Deleted")


def test_a_receiver_that_fails_five_times_gets_it_in_the_end(hook: Hook, running: Any) -> None:
    with Receiver(failing(5)) as receiver:
        webhook = hook(receiver.url)
        running()
        waits = []
        for _ in range(5):
            before = timezone.now()
            delivery.run()
            row = WebhookDelivery.objects.get()
            assert (row.status, row.response_code, row.response_text) == ("pending", 500, "sorry")
            waits.append((row.next_try_at - before).total_seconds())
            delivery.run()  # it is not due yet
            due_now()
        delivery.run()
        delivery.run()
    row = WebhookDelivery.objects.get()
    assert (row.status, row.attempts, row.response_code, row.error, row.lease_until) == ("delivered", 6, 200, "", None)
    assert len(receiver.requests) == 6
    assert len({request.body for request in receiver.requests}) == len({r.headers["Slipway-Event-Id"] for r in receiver.requests}) == 1
    assert waits == [pytest.approx(wait, rel=0.25) for wait in (15, 60, 240, 960, 3840)]
    webhook.refresh_from_db()
    assert (webhook.failures, webhook.resume_at) == (0, None)
    assert dict(tallies.Tally.objects.filter(name="webhook_tries").values_list("label", "count")) == {"retried": 5, "delivered": 1}


def test_after_eight_tries_it_is_given_up_and_can_be_replayed(hook: Hook, running: Any, cast: Cast) -> None:
    with Receiver(failing(8)) as receiver:
        hook(receiver.url)
        running()
        for _ in range(9):
            delivery.run()
            due_now()
        row = WebhookDelivery.objects.get()
        assert (row.status, row.attempts, len(receiver.requests)) == ("failed", 8, 8)
        services.replay(cast.admin, row)
        delivery.run()
    row.refresh_from_db()
    assert (row.status, row.attempts, len(receiver.requests)) == ("delivered", 1, 9)


def guide_example() -> Callable[..., bool]:
    """The code that the documentation gives to receivers, run as it stands there."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)
    found: dict[str, Any] = {}
    exec(code, found)
    return found["is_genuine"]  # type: ignore[no-any-return]


def test_what_arrives_is_signed_as_the_documentation_says(hook: Hook, running: Any) -> None:
    with Receiver(plain(200)) as receiver:
        webhook = hook(receiver.url)
        running()
        delivery.run()
    (request,) = receiver.requests
    assert request.path == "/hook?key=1"
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body)["id"] == request.headers["Slipway-Event-Id"]
    is_genuine = guide_example()
    header = request.headers["Slipway-Signature"]
    assert is_genuine(webhook.secret, header, request.body)
    assert not is_genuine(webhook.secret, header, request.body + b" ")
    assert not is_genuine("whsec_another", header, request.body)
    assert not is_genuine(webhook.secret, header, request.body, now=time.time() + 3600)
    assert not is_genuine(webhook.secret, "nonsense", request.body)
    assert webhook.secret not in str(request.headers) + request.body.decode()


def test_one_dead_receiver_does_not_hold_up_the_others(hook: Hook, running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    sent: list[str] = []

    def post(url: str, body: bytes, headers: Any) -> http.Answer:
        if "dead" in url:
            released.wait(20)
            return http.Answer(error="No answer within 10 seconds.")
        sent.append(url)
        if len(sent) == 5:
            released.set()
        return http.Answer(200)

    monkeypatch.setattr(http, "post", post)
    dead, good = hook("https://dead.example.com/", "dead"), hook("https://good.example.com/", "good")
    for webhook in [dead] * 20 + [good] * 5:
        WebhookDelivery.objects.create(webhook=webhook, type="webhook.test", payload={})
    began = time.monotonic()
    delivery.run()
    assert time.monotonic() - began < 15  # the good one's five came while the dead one's were waiting
    assert good.deliveries.filter(status="delivered").count() == 5
    assert dead.deliveries.filter(attempts=1).count() == delivery.PER_WEBHOOK
    dead.refresh_from_db()
    assert dead.resume_at is not None and dead.resume_at > timezone.now()
    delivery.run()
    assert dead.deliveries.filter(attempts__gt=0).count() == delivery.PER_WEBHOOK  # it is left in peace


def test_two_runs_do_not_send_the_same(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []

    def post(url: str, body: bytes, headers: Any) -> http.Answer:
        sent.append(body)
        delivery.run()  # another task while this one is at it
        return http.Answer(200)

    monkeypatch.setattr(delivery.ThreadPoolExecutor, "submit", _at_once)
    monkeypatch.setattr(http, "post", post)
    webhook = hook()
    for number in range(3):
        WebhookDelivery.objects.create(webhook=webhook, type="webhook.test", payload={"number": number})
    delivery.run()
    assert sorted(sent) == [b'{"number":0}', b'{"number":1}', b'{"number":2}']


def _at_once(self: Any, work: Callable[..., Any], *args: Any) -> Any:
    future: Any = delivery.Future()
    future.set_result(work(*args))
    return future


def test_what_a_killed_run_had_in_hand_is_sent_later(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "post", lambda *_: http.Answer(200))
    row = WebhookDelivery.objects.create(webhook=hook(), type="webhook.test", payload={}, lease_until=timezone.now() + delivery.LEASE)
    DeliveryRun.objects.create(pk=1, queued_at=timezone.now(), lease_until=timezone.now() + delivery.LEASE, holder="killed")
    delivery.queue_due()
    delivery.run()
    assert WebhookDelivery.objects.get().attempts == 0
    past = timezone.now() - timedelta(seconds=1)
    WebhookDelivery.objects.update(lease_until=past)
    DeliveryRun.objects.update(lease_until=past, queued_at=timezone.now() - timedelta(minutes=1))
    delivery.queue_due()
    assert OrmQ.objects.count() == 1
    delivery.run()
    row.refresh_from_db()
    assert row.status == "delivered"


def test_a_webhook_that_no_key_can_read_does_not_stop_the_others(hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "post", lambda *_: http.Answer(200))
    for name in ("unreadable", "good"):
        WebhookDelivery.objects.create(webhook=hook(name=name), type="webhook.test", payload={})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE notebook_sessions_webhook SET secret = 'x' WHERE name = 'unreadable'")
    delivery.run()
    found = dict(WebhookDelivery.objects.values_list("webhook__name", "status"))
    assert found == {"unreadable": "pending", "good": "delivered"}


def test_old_deliveries_are_forgotten(hook: Hook, settings: Any) -> None:
    webhook = hook()
    old = timezone.now() - timedelta(days=settings.SLIPWAY_WEBHOOK_KEEP_DAYS, minutes=1)
    WebhookDelivery.objects.create(webhook=webhook, type="webhook.test", payload={}, created_at=old)
    WebhookDelivery.objects.create(webhook=webhook, type="webhook.test", payload={})
    assert delivery.purge_old() == 1
    assert WebhookDelivery.objects.count() == 1


def test_announcing_costs_the_same_for_one_and_for_many(hook: Hook, launch: Any, django_assert_num_queries: Any) -> None:
    from sessions.webhooks.announce import Change, announce

    sessions = [launch(name=f"lab-{number}") for number in range(8)]
    changes = [
        Change(session, "Running", "Pending", "", "", timezone.now()) for session in Session.objects.select_related("workspace__cluster")
    ]
    assert len(changes) == len(sessions)
    with django_assert_num_queries(1):
        announce(changes)
    with django_assert_num_queries(0):
        announce([])
    hook()
    announce(changes[:1])  # makes the row of the run
    with django_assert_num_queries(5):
        announce(changes)
    assert WebhookDelivery.objects.count() == 9


@pytest.fixture
def verbs(hook: Hook, cast: Cast, workspace: Workspace) -> list[Callable[[Any], Any]]:
    webhook = hook()
    row = services.send_test(cast.admin, webhook)
    return [
        lambda user: services.create(user, workspace, name="mine", url="https://ci.example.com/"),
        lambda user: services.edit(user, webhook, url="https://ci.example.com/", phases=[], enabled=True),
        lambda user: services.renew_secret(user, webhook),
        lambda user: services.send_test(user, webhook),
        lambda user: services.replay(user, row),
        lambda user: services.delete(user, webhook),
    ]


def test_only_admins_manage_webhooks(verbs: list[Callable[[Any], Any]], cast: Cast) -> None:
    before = list(Webhook.objects.values()) + list(WebhookDelivery.objects.values())
    for verb in verbs:
        for person in (cast.owner, cast.viewer):
            with pytest.raises(Forbidden):
                verb(person)
    assert list(Webhook.objects.values()) + list(WebhookDelivery.objects.values()) == before
    for verb in verbs:
        verb(cast.admin)
    assert list(Webhook.objects.values_list("name", flat=True)) == ["mine"]


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"name": "No Name"}, "name", "name_invalid"),
        ({"name": ""}, "name", "blank"),
        ({"name": "new"}, "name", "name_reserved"),
        ({"name": "taken"}, "name", "unique"),
        ({"url": "https://127.0.0.1.:70000/"}, "url", "url_not_allowed"),
        ({"url": "https://10.0.0.1/"}, "url", "url_not_allowed"),
        ({"phases": ["Sleeping"]}, "phases", "phase_unknown"),
    ],
)
def test_what_cannot_be_is_refused_at_its_field(hook: Hook, changes: dict[str, Any], field: str, code: str) -> None:
    hook(name="taken")
    with pytest.raises(Refused) as refused:
        hook(**{"name": "ci", **changes})
    (problem,) = refused.value.problems
    assert problem.field == field
    assert problem.code in (code, "invalid") and problem.message.endswith((".", "”."))


def test_a_workspace_has_ten_at_most(hook: Hook) -> None:
    for number in range(10):
        hook(name=f"ci-{number}")
    with pytest.raises(Refused, match="at most 10"):
        hook(name="eleventh")


def test_address_and_secret_are_encrypted_at_rest(hook: Hook) -> None:
    webhook = hook("https://chat.example.com/services/canary-key")
    with connection.cursor() as cursor:
        cursor.execute("SELECT url, secret FROM notebook_sessions_webhook")
        stored = str(cursor.fetchall())
    assert "canary-key" not in stored and webhook.secret not in stored
    assert "canary-key" not in repr(OrmQ.objects.values_list("payload", flat=True))
