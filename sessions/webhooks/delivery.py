"""Sending what is due. One task at a time does it, with threads of its own: slow receivers hold up neither each other nor
the worker's other work, and a dead one costs a try now and then."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta

from django.conf import settings
from django.db.models import F
from django.utils import timezone
from django_q.tasks import async_task

from compute import log_context
from sessions import tallies
from sessions.times import outside
from sessions.webhooks import http, signing
from sessions.webhooks.models import FAR, DeliveryRun, WebhookDelivery
from storage.encryption import UndecryptableValue

log = logging.getLogger(__name__)

MAX_TRIES = 8
FIRST_WAIT, GROWTH = timedelta(seconds=15), 4  # 15 s, 1 min, 4 min … 17 h: 8 tries in about a day
HOLD, MAX_HOLD = timedelta(seconds=2), timedelta(minutes=5)  # of everything for a receiver that is down
AT_ONCE = 16  # requests under way
PER_WEBHOOK = 3  # of them; one to a receiver whose last try failed
RUN_FOR = 15.0  # seconds in which a run takes up new work; q2 ends it after 60
LINGER = 25.0  # then it waits that long for what is under way (a name server may be slower than any of our time-outs)
LEASE = timedelta(seconds=90)
QUEUE_STALE = timedelta(seconds=10)


def queue_run() -> None:
    """Queue a run in the current transaction, unless one is waiting already. Two queries."""
    now = timezone.now()
    free = outside("queued_at", now - QUEUE_STALE, now + QUEUE_STALE)
    DeliveryRun.objects.get_or_create(pk=1)
    if DeliveryRun.objects.filter(free, pk=1).update(queued_at=now):
        async_task(run)


def queue_due() -> None:
    """For the sweep: what is due by now, or was lost. One query where nothing is."""
    now = timezone.now()
    if (
        WebhookDelivery.objects.due(now).exists()
        and not DeliveryRun.objects.filter(lease_until__gt=now, lease_until__lt=now + FAR).exists()
    ):
        queue_run()


def run() -> None:
    """The task: send what is due, unless another run is at it."""
    now = timezone.now()
    holder = uuid.uuid4().hex
    DeliveryRun.objects.get_or_create(pk=1)
    free = outside("lease_until", now, now + FAR)
    DeliveryRun.objects.filter(pk=1).update(queued_at=None)  # from here on, whoever has something new queues another
    if not DeliveryRun.objects.filter(free, pk=1).update(lease_until=now + LEASE, holder=holder):
        return
    try:
        _send_due()
    finally:
        DeliveryRun.objects.filter(pk=1, holder=holder).update(lease_until=None, holder="")
    queue_due()


def _send_due() -> None:
    until = time.monotonic() + RUN_FOR
    under_way: dict[Future[http.Answer], WebhookDelivery] = {}
    threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook")
    try:
        while time.monotonic() < until + LINGER:
            if time.monotonic() < until:
                busy = Counter(delivery.webhook_id for delivery in under_way.values())
                for delivery in _claim(AT_ONCE - len(under_way), busy):
                    under_way[threads.submit(_send, delivery)] = delivery
            if not under_way:
                return
            for done in wait(under_way, timeout=1, return_when=FIRST_COMPLETED).done:
                _record(under_way.pop(done), done.result())
    finally:
        threads.shutdown(wait=False, cancel_futures=True)  # what still hangs is tried again when its lease has run out


def _claim(free: int, busy: Counter[int]) -> Iterator[WebhookDelivery]:
    """Up to ``free`` due deliveries, the longest due first, no more of one webhook than may be under way."""
    now = timezone.now()
    full = [webhook for webhook, number in busy.items() if number >= PER_WEBHOOK]
    due = WebhookDelivery.objects.due(now).exclude(webhook__in=full).order_by("next_try_at", "pk")
    for pk, webhook, failures in due.values_list("pk", "webhook", "webhook__failures")[: AT_ONCE * PER_WEBHOOK] if free else ():
        if free <= 0:
            return
        if busy[webhook] >= (1 if failures else PER_WEBHOOK):
            continue
        if not WebhookDelivery.objects.due(now).filter(pk=pk).update(lease_until=now + LEASE):
            continue
        delivery = WebhookDelivery.objects.select_related("webhook").defer("webhook__url", "webhook__secret").filter(pk=pk).first()
        if delivery is None:
            continue
        try:
            delivery.webhook.refresh_from_db(fields=["url", "secret"])
        except UndecryptableValue as error:
            _record(delivery, http.Answer(error=str(error)))
            continue
        busy[webhook] += 1
        free -= 1
        yield delivery


def _send(delivery: WebhookDelivery) -> http.Answer:
    """In a thread of its own; it must not ask the database."""
    body = signing.body_of(delivery.payload)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Slipway-Webhook/1",
        "Slipway-Event-Id": str(delivery.event_id),
        "Slipway-Event": delivery.type,
        "Slipway-Signature": signing.signature(delivery.webhook.secret, body, int(time.time())),
    }
    return http.post(delivery.webhook.url, body, headers)


def _record(delivery: WebhookDelivery, answer: http.Answer) -> None:
    """What came of a try. Three queries."""
    now = timezone.now()
    tries = delivery.attempts + 1
    fresh = {
        "attempts": tries,
        "tried_at": now,
        "lease_until": None,
        "response_code": answer.code,
        "response_text": answer.text,
        "error": answer.error,
        "duration": round(answer.seconds, 3),
    }
    if answer.accepted:
        result = fresh["status"] = WebhookDelivery.Status.DELIVERED.value
    elif tries >= MAX_TRIES:
        result = fresh["status"] = WebhookDelivery.Status.FAILED.value
    else:
        result, fresh["next_try_at"] = "retried", now + _jittered(FIRST_WAIT * GROWTH ** (tries - 1))
    WebhookDelivery.objects.filter(pk=delivery.pk).update(**fresh)
    _hold(delivery, answer)
    tallies.add(tallies.WEBHOOK_TRIES, label=result)
    with log_context.bound(session=delivery.host):
        say = log.info if answer.accepted else log.warning
        say("Webhook %s: try %d of %s, %s", delivery.webhook.name, tries, delivery.event_id, answer.error or answer.code)


def _hold(delivery: WebhookDelivery, answer: http.Answer) -> None:
    webhook = type(delivery.webhook).objects.filter(pk=delivery.webhook_id)
    if answer.is_down:
        wait_for = min(MAX_HOLD, HOLD * 2 ** min(delivery.webhook.failures, 10))
        webhook.update(failures=F("failures") + 1, resume_at=timezone.now() + _jittered(wait_for))
    else:
        webhook.filter(failures__gt=0).update(failures=0, resume_at=None)


def _jittered(wait_for: timedelta) -> timedelta:
    """Up to a fifth less, so that what failed together does not come back together."""
    return wait_for * (1 - random.random() / 5)  # noqa: S311 (nothing secret)


def purge_old() -> int:
    """Forget deliveries that are older than SLIPWAY_WEBHOOK_KEEP_DAYS; a few thousand at a time. Returns how many."""
    old = WebhookDelivery.objects.filter(created_at__lt=timezone.now() - timedelta(days=settings.SLIPWAY_WEBHOOK_KEEP_DAYS))
    return WebhookDelivery.objects.filter(pk__in=list(old.order_by("created_at").values_list("pk", flat=True)[:2000])).delete()[0]
