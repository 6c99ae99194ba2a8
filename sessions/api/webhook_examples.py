"""What webhooks and their deliveries look like, for the API's description."""

from __future__ import annotations

from typing import Any

HERE = "https://slipway.example.com/api/v1/workspaces/research/webhooks"
WEBHOOK: dict[str, Any] = {
    "name": "ci",
    "url": "https://ci.example.com/hooks/slipway",
    "phases": ["Running", "Failed"],
    "enabled": True,
    "failures": 0,
    "created_at": "2026-11-23T09:30:00Z",
    "created_by": "grace",
    "links": {"self": f"{HERE}/ci", "page": "https://slipway.example.com/w/research/webhooks/ci/"},
}
WITH_SECRET = {**WEBHOOK, "secret": None}
BODY = {"name": "ci", "url": "https://ci.example.com/hooks/slipway", "phases": ["Running", "Failed"]}
DELIVERY: dict[str, Any] = {
    "id": "0c8f2d0e-8f0b-4f0a-9c39-3f1d7f1c2b7a",
    "type": "webhook.test",
    "session": "",
    "status": "delivered",
    "attempts": 1,
    "created_at": "2026-11-23T09:30:00Z",
    "tried_at": "2026-11-23T09:30:01Z",
    "next_try_at": None,
    "response_code": 200,
    "response_text": "ok",
    "error": "",
    "duration": 0.042,
    "payload": {
        "id": "0c8f2d0e-8f0b-4f0a-9c39-3f1d7f1c2b7a",
        "type": "webhook.test",
        "at": "2026-11-23T09:30:00Z",
        "workspace": "research",
    },
}
PENDING = {
    **DELIVERY,
    "status": "pending",
    "attempts": 0,
    "tried_at": None,
    "next_try_at": "2026-11-23T09:30:00Z",
    "response_code": None,
    "response_text": "",
    "duration": None,
}
