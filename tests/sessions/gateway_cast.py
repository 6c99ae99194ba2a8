"""What the gateway's tests share: a running session, and the way in."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.test import Client

from presets.models import Preset
from sessions import gateway
from sessions.models import Phase, Session


def running_session(workspace: Any, owner: Any, preset: Preset, endpoint: str = "unix:/run/lab.sock") -> Session:
    return Session.objects.create(
        workspace=workspace,
        owner=owner,
        name="lab",
        preset=preset,
        image=preset.images.all()[0],
        pod_size=preset.pod_sizes.all()[0],
        phase=Phase.RUNNING,
        observed_revision=1,
        endpoint=endpoint,
    )


def issue(session: Session, browser: Client, user: Any = None) -> str:
    """A new ticket for the user (the owner) of this signed-in browser."""
    url = gateway.issue_ticket(session, user or session.owner, browser.session.session_key or "")
    return parse_qs(urlsplit(url).query)["ticket"][0]


def cookie_of(session: Session, browser: Client, user: Any = None) -> str:
    """The Cookie header of a browser that went in."""
    entry = gateway.redeem(session.host, issue(session, browser, user))
    assert entry
    assert entry.cookie
    return f"slipway_gateway={entry.cookie}"
