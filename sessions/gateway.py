"""Who may reach a running session through its own origin, and where it is.

The way in: ``issue_ticket`` (Open, on the control plane) → ``redeem`` (``/_slipway/enter``, on the session's origin)
→ ``authorize`` (nginx asks before every request and every WebSocket) → ``live_endpoints`` (the relay asks again for
what is already open). Nothing is remembered between two questions but the :class:`~sessions.models.Grant`, so a pause,
a deletion, a sign-out, a changed password or a lost membership ends it at the next one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode, urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session as SignIn
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Substr
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from compute.access import RANK
from compute.models import ApiToken, Membership, Role
from sessions.models import Grant, Session

TICKET_LIFE = timedelta(seconds=30)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAY_OPEN = [role for role, rank in RANK.items() if rank >= RANK[Role.MEMBER]]
# What nginx can dial without a resolver; anything else in ``Session.endpoint`` counts as no endpoint.
ENDPOINT = re.compile(r"unix:/[\w./@+-]+|(\d{1,3}\.){3}\d{1,3}:\d{1,5}|\[[0-9a-f:]+\]:\d{1,5}")
# A Grant's ``login_key`` where a token of the API asked. No key of a sign-in has a colon.
TOKEN_KEY = "token:"  # noqa: S105
# Code in a sibling session can set cookies of our name for the whole apps domain; beyond this many, none is looked at.
MAX_COOKIES = 8


class Verdict(StrEnum):
    """``UNKNOWN`` covers no such session, no cookie and no access: from outside they look the same."""

    ALLOWED = "allowed"
    UNKNOWN = "unknown"
    WRONG_ORIGIN = "wrong-origin"
    NOT_RUNNING = "not-running"


@dataclass(frozen=True)
class Visit:
    """One request to a session's origin, as nginx saw it. Header values are raw, empty when they were not sent."""

    host: str
    cookie: str = ""
    method: str = "GET"
    is_websocket: bool = False
    origin: str = ""
    fetch_site: str = ""
    fetch_mode: str = ""
    fetch_dest: str = ""


@dataclass(frozen=True)
class Decision:
    """``session`` is set when the visitor may know of it. The rest is for nginx, set when ``ALLOWED``:
    ``upstream`` is ``IP:port`` or ``unix:/path``; ``authorization`` and ``cookie`` are the headers for the IDE."""

    verdict: Verdict
    session: Session | None = None
    grant_id: int = 0
    upstream: str = ""
    authorization: str = ""
    cookie: str = ""


def origin_of(host: str) -> str:
    """The session's own origin as browsers write it: a port only when it is not the scheme's own."""
    apps = urlsplit(settings.SLIPWAY_APPS_URL)
    usual = {"http": 80, "https": 443}[apps.scheme]
    port = f":{apps.port}" if apps.port and apps.port != usual else ""
    return f"{apps.scheme}://{host}.{apps.hostname}{port}"


def cookie_name() -> str:
    """On https the ``__Host-`` prefix makes browsers refuse a cookie of this name that another host sets for ours."""
    return "__Host-slipway_gateway" if settings.SLIPWAY_APPS_URL.startswith("https:") else "slipway_gateway"


def nginx_key() -> str:
    """What nginx shows to prove that it is nginx. Derived, so there is nothing more to configure or to rotate."""
    return salted_hmac("slipway.gateway", "nginx", algorithm="sha256").hexdigest()


def login_key_of(token: ApiToken) -> str:
    """What ties a way into a session to the token that asked for it: revoked or expired, it lets nobody through."""
    return f"{TOKEN_KEY}{token.public_id}"


def issue_ticket(session: Session, user: Any, login_key: str) -> str:
    """The one-time address that signs ``user`` in to the session's origin. Valid for seconds.

    ``login_key`` is the session key of the sign-in that asks (``request.session.session_key``), or :func:`login_key_of` a
    token. The caller has checked that the user may open the session; ``authorize`` checks again at every request.
    """
    if not login_key:
        raise ValueError("A ticket needs the sign-in that asked for it.")
    ticket = secrets.token_urlsafe(32)
    now = timezone.now()
    Grant.objects.create(
        session=session,
        user=user,
        login_key=login_key,
        ticket_hash=_digest(ticket),
        ticket_expires_at=now + TICKET_LIFE,
        expires_at=now + timedelta(hours=settings.SLIPWAY_GRANT_HOURS),
    )
    return f"{origin_of(session.host)}/_slipway/enter?{urlencode({'ticket': ticket})}"


@dataclass(frozen=True)
class Entry:
    """What a ticket led to. ``cookie`` is empty when it had been used or had expired."""

    session: Session
    cookie: str = ""
    max_age: int = 0


def redeem(host: str, ticket: str) -> Entry | None:
    """Turn a ticket into a cookie, once. None when there never was such a ticket for this host."""
    grant = (
        Grant.objects.filter(ticket_hash=_digest(ticket), session__host=host)
        .select_related("session__preset", "session__workspace")
        .first()
    )
    if grant is None:
        return None
    cookie = secrets.token_urlsafe(32)
    now = timezone.now()
    # Conditions on the row itself, without a join: PostgreSQL checks only these again after waiting for a rival's update.
    unused = Grant.objects.filter(pk=grant.pk, cookie_hash=None, ticket_expires_at__gt=now, expires_at__gt=now)
    if not unused.update(cookie_hash=_digest(cookie)):
        return Entry(grant.session)
    return Entry(grant.session, cookie, int((grant.expires_at - now).total_seconds()))


def authorize(visit: Visit) -> Decision:
    """Whether this request may pass, and where to. At most one query."""
    hashes = [_digest(value) for name, value in _pairs(visit.cookie) if name == cookie_name()]
    if not hashes or len(hashes) > MAX_COOKIES:
        return Decision(Verdict.UNKNOWN)
    grant = next((grant for grant in _grants().filter(cookie_hash__in=hashes, session__host=visit.host) if _signed_in(grant)), None)
    if grant is None:
        return Decision(Verdict.UNKNOWN)
    if not _is_own(visit):
        return Decision(Verdict.WRONG_ORIGIN, grant.session)
    if not (upstream := _endpoint(grant.session)):
        return Decision(Verdict.NOT_RUNNING, grant.session)
    ide = grant.session.preset.ide_definition.upstream_headers(grant.session.ide_token)
    return Decision(
        Verdict.ALLOWED,
        grant.session,
        grant.pk,
        upstream,
        authorization=ide.get("Authorization", ""),
        cookie=_cookie_for_ide(visit.cookie, ide.get("Cookie", "")),
    )


def live_endpoints(grant_ids: Collection[int]) -> dict[int, str]:
    """Of these grants the ones that still hold, with where their session is now. One query."""
    grants = _grants().filter(pk__in=grant_ids, cookie_hash__isnull=False)
    return {grant.pk: endpoint for grant in grants if _signed_in(grant) and (endpoint := _endpoint(grant.session))}


def purge_expired() -> int:
    """Delete grants that can never be used again; returns how many."""
    now = timezone.now()
    unused = Q(cookie_hash=None, ticket_expires_at__lt=now - timedelta(hours=1))  # until then its page can still say "expired"
    return Grant.objects.filter(unused | Q(expires_at__lte=now)).delete()[0]


def _digest(secret: str) -> str:
    # Tickets and cookies are 256 random bits: a plain hash can't be searched.
    return sha256(secret.encode()).hexdigest()


def _grants() -> QuerySet[Grant]:
    """Grants that have not expired, of owners who are still active members, with what a decision reads."""
    now = timezone.now()
    sign_in = SignIn.objects.filter(session_key=OuterRef("login_key"), expire_date__gt=now)
    token = ApiToken.objects.kept().filter(user=OuterRef("user"), expires_at__gt=now, public_id=OuterRef("token_id"))
    membership = Membership.objects.filter(workspace=OuterRef("session__workspace"), user=OuterRef("user"), role__in=MAY_OPEN)
    return (
        Grant.objects.filter(Exists(membership), expires_at__gt=now, user=F("session__owner"), user__is_active=True)
        .annotate(sign_in=Subquery(sign_in.values("session_data")[:1]), token_id=Substr("login_key", len(TOKEN_KEY) + 1))
        .annotate(has_token=Q(login_key__startswith=TOKEN_KEY) & Exists(token))
        .select_related("user", "session__preset", "session__workspace")
        # The session's env and snapshot would be decrypted for nothing.
        .defer("session__env", "session__snapshot", "session__steps", "session__log_tail", "session__warnings")
    )


def _signed_in(grant: Any) -> bool:
    """Whether what made the grant is alive: the token, or the sign-in, still this user's, under the password that they have now."""
    if not grant.sign_in:
        return bool(grant.has_token)
    data = SessionStore().decode(grant.sign_in)
    return (
        data.get(SESSION_KEY) == str(grant.user_id)
        and data.get(BACKEND_SESSION_KEY) in settings.AUTHENTICATION_BACKENDS
        and constant_time_compare(data.get(HASH_SESSION_KEY, ""), grant.user.get_session_auth_hash())
    )


def _endpoint(session: Session) -> str:
    return session.endpoint if session.can_open and ENDPOINT.fullmatch(session.endpoint) else ""


def _is_own(visit: Visit) -> bool:
    """Whether the request comes from the session's own pages, from the user, or from no browser at all.

    Sessions are same-site to each other, so SameSite cookies don't keep them apart; this does.

    * ``Sec-Fetch-Site`` (no script can forge it) decides where browsers send it: other sites may only lead the user
      here (a top-level GET), never post, embed, fetch or connect.
    * An ``Origin`` must be our own on WebSockets and unsafe methods. Browsers write "null" under
      ``Referrer-Policy: no-referrer`` even to themselves: it passes where ``Sec-Fetch-Site`` vouches for it.
    * Neither header: not a browser (every one sends Origin with a WebSocket or an unsafe method), but someone who
      holds the cookie: allowed.
    """
    own_site = visit.fetch_site in ("same-origin", "none")
    if visit.fetch_site and not own_site:
        return (
            visit.method in ("GET", "HEAD") and visit.fetch_mode == "navigate" and visit.fetch_dest == "document" and not visit.is_websocket
        )
    if visit.method in SAFE_METHODS and not visit.is_websocket:
        return True
    return visit.origin in ("", origin_of(visit.host)) or (visit.origin == "null" and own_site and not visit.is_websocket)


def _pairs(header: str) -> list[tuple[str, str]]:
    """The cookies of a Cookie header in their order, repeated names included (``http.cookies`` keeps only one)."""
    return [(name.strip(), value.strip()) for name, _, value in (part.partition("=") for part in header.split(";")) if name.strip()]


def _cookie_for_ide(header: str, ide: str) -> str:
    """The Cookie header to send the IDE: the browser's without any of Slipway's, and the IDE's own sign-in put first."""
    hidden = {"slipway_gateway", "__Host-slipway_gateway", settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME}
    hidden |= {name for name, _ in _pairs(ide)}
    kept = [f"{name}={value}" for name, value in _pairs(header) if name not in hidden]
    return "; ".join([ide, *kept] if ide else kept)
