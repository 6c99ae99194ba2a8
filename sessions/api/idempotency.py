"""``Idempotency-Key``: a create that is sent again, because its answer was lost, does nothing and answers the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from compute.errors import Problem
from sessions.api.problems import ProblemError
from sessions.models import IdempotencyRecord

HEADER = "Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEPT = timedelta(hours=24)
REPEATED = ("ETag", "Location")  # headers that belong to the answer


def once(request: Request, act: Callable[[], Response], shown_once: Collection[str] = ()) -> Response:
    """``act``'s answer, or the one that this user's earlier request with the same key got.

    The record is written in the transaction of the effect: both are there or neither is, so an error is not kept and may
    be tried again. Requests at the same moment wait for the first one, at the record's unique key (SQLite: at the start of
    the transaction). ``shown_once`` names fields that no second answer shows: they are null there.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return act()
    if not KEY.fullmatch(key):
        problem = Problem(HEADER, "idempotency_key_invalid", "Use 1 to 255 printable ASCII characters, such as a UUID.")
        raise ProblemError("invalid", errors=[problem])
    fingerprint = _fingerprint(request)
    user: Any = request.user
    with transaction.atomic():
        record, is_first = IdempotencyRecord.objects.get_or_create(user=user, key=key, defaults={"fingerprint": fingerprint})
        if not is_first:
            return _again(record, fingerprint)
        response = act()
        record.answer = {
            "status": response.status_code,
            "json": _kept(response.data, shown_once),
            "headers": {name: response[name] for name in REPEATED if name in response},
        }
        record.save(update_fields=["answer"])
    return response


def _again(record: IdempotencyRecord, fingerprint: str) -> Response:
    if not constant_time_compare(record.fingerprint, fingerprint):
        raise ProblemError("idempotency_key_reused", "This Idempotency-Key came with another request before. Use a fresh one.")
    answer = record.answer
    return Response(json.loads(answer["json"]), status=answer["status"], headers={**answer["headers"], "Idempotency-Replayed": "true"})


def _kept(data: Any, shown_once: Collection[str]) -> str:
    """As text: the fields keep their order."""
    return JSONRenderer().render({**data, **dict.fromkeys(shown_once)}).decode()


def _fingerprint(request: Request) -> str:
    # Keyed: a body may hold a secret that a plain hash would let someone guess.
    text = json.dumps([request.method, request.get_full_path(), request.data], sort_keys=True)
    return salted_hmac("slipway.api.idempotency", text, algorithm="sha256").hexdigest()


def purge_old() -> int:
    """Forget answers that are older than a day; returns how many."""
    return IdempotencyRecord.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]
