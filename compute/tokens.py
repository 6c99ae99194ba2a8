"""API tokens: made once by their user, shown once, known by a hash, and gone the moment they are revoked."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import Case, F, Value, When
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from compute.errors import Problem, Refused
from compute.models import ApiToken, Scope, Workspace

PREFIX = "slw"
DEFAULT_LIFE = timedelta(days=90)
MAX_LIFE = timedelta(days=366)
MAX_TOKENS = 100  # per user
KEPT = timedelta(days=90)  # a revoked or expired token's row
WINDOW = timedelta(minutes=1)


class TokenRejected(Exception):
    """The token lets nobody in. ``code`` is ``token_invalid``, ``token_expired`` or ``token_revoked``."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


@dataclass(frozen=True)
class NewToken:
    """``plain`` is the whole token: shown to its user now, and never again."""

    row: ApiToken
    plain: str


@dataclass(frozen=True)
class Rate:
    """What a token has left of the running minute. ``allowed`` is False for a request too many."""

    limit: int
    remaining: int
    reset_seconds: int
    allowed: bool


def create_token(
    user: Any, *, name: str, scopes: Collection[str], workspaces: Sequence[str] | None = None, expires_at: datetime | None = None
) -> NewToken:
    """A new token of the user. ``workspaces`` are names; None reaches all of the user's, later ones too.

    Raises ``Refused`` with a problem per field (name, scopes, workspaces, expires_at).
    """
    name = name.strip()
    expires_at = expires_at or timezone.now() + DEFAULT_LIFE
    with transaction.atomic():
        get_user_model().objects.select_for_update(no_key=True).get(pk=user.pk)  # names and the number of tokens hold
        rows = list(Workspace.objects.visible_to(user).filter(name__in=workspaces or ()))
        problems = [*_name_problems(user, name), *_scope_problems(scopes), *_expiry_problems(expires_at)]
        if workspaces is not None:
            problems += _workspace_problems(workspaces, {row.name for row in rows})
        if problems:
            raise Refused(problems)
        secret = secrets.token_urlsafe(32)
        token = ApiToken.objects.create(
            user=user,
            public_id=secrets.token_hex(6),
            secret_hash=_digest(secret),
            name=name,
            scopes=[scope.value for scope in Scope if scope in scopes],
            is_limited=workspaces is not None,
            expires_at=expires_at,
        )
        token.workspaces.set(rows)
    return NewToken(token, f"{PREFIX}_{token.public_id}_{secret}")


def _name_problems(user: Any, name: str) -> list[Problem]:
    kept = ApiToken.objects.kept().filter(user=user)
    if not name:
        return [Problem("name", "required", "Give the token a name, such as “ci” or “laptop”.")]
    if len(name) > 100:
        return [Problem("name", "name_too_long", "Use at most 100 characters.")]
    if kept.filter(name=name).exists():
        return [Problem("name", "name_taken", f"You have a token named “{name}” already. Revoke it, or choose another name.")]
    if kept.count() >= MAX_TOKENS:
        return [Problem("", "tokens_too_many", f"You have {MAX_TOKENS} tokens. Revoke those that you no longer need.")]
    return []


def _scope_problems(scopes: Collection[str]) -> list[Problem]:
    if not scopes:
        return [Problem("scopes", "required", "Choose at least one scope.")]
    if unknown := sorted(set(scopes) - set(Scope.values)):
        known = ", ".join(Scope.values)
        return [Problem("scopes", "scope_unknown", f"There is no scope {', '.join(unknown)}. The scopes are {known}.")]
    return []


def _workspace_problems(names: Sequence[str], mine: Collection[str]) -> list[Problem]:
    if not names:
        return [Problem("workspaces", "required", "Choose at least one workspace, or leave the token unlimited.")]
    return [
        Problem(f"workspaces.{number}", "workspace_unknown", f"You are a member of no workspace “{name}”.")
        for number, name in enumerate(names)
        if name not in mine
    ]


def _expiry_problems(expires_at: datetime) -> list[Problem]:
    now = timezone.now()
    if expires_at <= now:
        return [Problem("expires_at", "expiry_past", "Choose a time in the future.")]
    if expires_at > now + MAX_LIFE:
        return [Problem("expires_at", "expiry_too_late", f"A token lives at most {MAX_LIFE.days} days.")]
    return []


def revoke_token(user: Any, token: ApiToken) -> None:
    """The token, and every session that was opened with it, is closed from now on. Revoking again changes nothing."""
    ApiToken.objects.kept().filter(pk=token.pk, user=user).update(revoked_at=timezone.now())


def authenticate(plain: str) -> ApiToken:
    """The token's row with its user. One query. Raises :class:`TokenRejected`."""
    prefix, _, rest = plain.partition("_")
    public_id, _, secret = rest.partition("_")
    token = None
    if prefix == PREFIX and public_id.isalnum() and public_id.isascii() and secret:
        token = ApiToken.objects.select_related("user").filter(public_id=public_id).first()
    if token is None or not constant_time_compare(token.secret_hash, _digest(secret)) or not token.user.is_active:
        raise TokenRejected("token_invalid", "This token is not valid. Make a new one on the page API tokens.")
    if token.revoked_at:
        raise TokenRejected("token_revoked", "This token has been revoked. Make a new one on the page API tokens.")
    if token.is_expired:
        raise TokenRejected("token_expired", "This token has expired. Make a new one on the page API tokens.")
    return token


def count_request(token: ApiToken) -> Rate:
    """Count one request and stamp the token's last use: one UPDATE, which holds across all processes.

    A request too many changes nothing. ``remaining`` starts from the row as it was read, so requests at the same moment
    may tell a little too much; the limit itself is exact.
    """
    now = timezone.now()
    window = now.replace(second=0, microsecond=0)
    limit = settings.SLIPWAY_API_RATE
    reset = max(1, int((window + WINDOW - now).total_seconds()))
    # A request that was slow, or whose machine's clock is, must not set back a minute that has begun.
    running = (window, window + WINDOW)
    counted = Case(When(window__range=running, then=F("used") + 1), default=Value(1))
    newest = Case(When(window__range=running, then=F("window")), default=Value(window))
    allowed = ApiToken.objects.filter(pk=token.pk).exclude(window__range=running, used__gte=limit)
    if not allowed.update(used=counted, window=newest, last_used_at=now):
        return Rate(limit, 0, reset, allowed=False)
    used = token.used + 1 if token.window is not None and running[0] <= token.window <= running[1] else 1
    return Rate(limit, max(0, limit - used), reset, allowed=True)


def purge_old() -> int:
    """Delete tokens that let nobody in for long; returns how many."""
    before = timezone.now() - KEPT
    return (ApiToken.objects.filter(revoked_at__lt=before) | ApiToken.objects.filter(expires_at__lt=before)).delete()[0]


def _digest(secret: str) -> str:
    # 256 random bits: a plain hash can't be searched.
    return sha256(secret.encode(errors="replace")).hexdigest()
