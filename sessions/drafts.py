"""What users have typed into the wizard so far: kept in ``Draft`` rows, and over a sign-in that expired.

See docs/adr/0003-wizard-drafts.md.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.core import signing
from django.db import transaction
from django.http import Http404
from django.utils import timezone

from compute.models import Workspace
from sessions.models import Draft
from storage.encryption import UndecryptableValue, decrypt, encrypt

KEEP_DAYS = 7
KEEP_DRAFTS = 50
STASH = "wizard_stash"
STASH_LIMIT = 64 * 1024
_signer = signing.Signer(salt="sessions.drafts")


def find(user: Any, workspace: Workspace, draft_id: uuid.UUID) -> Draft:
    """The user's own draft with its session. One query. Raises ``Http404`` for anyone else's."""
    draft = Draft.objects.select_related("session__workspace").filter(pk=draft_id, owner=user, workspace=workspace).first()
    if draft is None:
        raise Http404("No such draft.")
    return draft


@contextmanager
def editing(user: Any, workspace: Workspace, draft_id: uuid.UUID) -> Iterator[Draft]:
    """The draft, made if it is new, locked, and saved at the end (a launched one is left as it is).

    Raises ``Http404`` for anyone else's.
    """
    with transaction.atomic():
        draft, made = Draft.objects.select_for_update().get_or_create(pk=draft_id, defaults={"owner": user, "workspace": workspace})
        if draft.owner_id != user.pk or draft.workspace_id != workspace.pk:
            raise Http404("No such draft.")
        if made:
            _keep_newest(user)
        yield draft
        if not draft.launched_host:
            draft.save(update_fields=["data", "updated_at"])


def _keep_newest(user: Any) -> None:
    """A user has so many drafts at most; the oldest go."""
    old = Draft.objects.filter(owner=user).order_by("-updated_at").values_list("pk", flat=True)[KEEP_DRAFTS:]
    Draft.objects.filter(pk__in=list(old)).delete()


def recent(user: Any, workspace: Workspace) -> Draft | None:
    """The newest draft that the user has not launched yet. One query."""
    drafts = Draft.objects.filter(owner=user, workspace=workspace, launched_host="", updated_at__gt=_horizon(KEEP_DAYS))
    return drafts.order_by("-updated_at").first()


def discard(user: Any, workspace: Workspace, draft_id: uuid.UUID) -> None:
    Draft.objects.filter(pk=draft_id, owner=user, workspace=workspace, launched_host="").delete()


def purge_old(days: int = KEEP_DAYS) -> int:
    """Delete drafts that nobody has touched for so many days, launched or not; how many. Two queries."""
    return Draft.objects.filter(updated_at__lt=_horizon(days)).delete()[0]


def _horizon(days: int) -> Any:
    return timezone.now() - timedelta(days=days)


# Over a sign-in that expired: a POST that can't be taken now waits in the (anonymous) browser session.


@dataclass(frozen=True)
class Stashed:
    """A POST of the wizard that came without a sign-in: ``body`` is the form, urlencoded."""

    step: str
    body: str


def key_for(user: Any, draft_id: uuid.UUID) -> str:
    """A form's proof of who it was made for, which outlives the sign-in."""
    return _signer.sign(f"{user.pk}.{draft_id}")


def owner_of_key(key: str, draft_id: uuid.UUID) -> str:
    """The primary key, as text, of the user that the form was made for; empty if the key is not one of ours."""
    try:
        owner, _, form = _signer.unsign(key).partition(".")
    except signing.BadSignature:
        return ""
    return owner if form == str(draft_id) else ""


def stash(session: SessionBase, draft_id: uuid.UUID, owner: str, stashed: Stashed) -> bool:
    """Keep the POST, encrypted, until someone signs in. False if it is too large, and then nothing is kept."""
    token = encrypt(json.dumps({"owner": owner, "step": stashed.step, "body": stashed.body}))
    kept = {key: value for key, value in session.get(STASH, {}).items() if key != str(draft_id)}
    while kept and sum(map(len, kept.values())) + len(token) > STASH_LIMIT:
        kept.pop(next(iter(kept)))
    if len(token) > STASH_LIMIT:
        return False
    session[STASH] = {**kept, str(draft_id): token}
    return True


def unstash(session: SessionBase, draft_id: uuid.UUID, user: Any) -> Stashed | None:
    """Take out what was kept for this draft; None if there is nothing, or if it was another user's."""
    kept = dict(session.get(STASH, {}))
    token = kept.pop(str(draft_id), None)
    if token is None:
        return None
    session[STASH] = kept
    try:
        content = json.loads(decrypt(token))
    except UndecryptableValue:  # the key it was written with has been dropped since
        return None
    return Stashed(content["step"], content["body"]) if content["owner"] == str(user.pk) else None
