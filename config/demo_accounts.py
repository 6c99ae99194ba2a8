"""The demo's accounts. Their passwords are public: a system check keeps them from any address but this machine's own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoAccount:
    username: str
    password: str
    full_name: str
    does: str


DEMO_ACCOUNTS = (
    DemoAccount("member", "slipway-demo", "Mei Member", "launches sessions in Research and Sales"),
    DemoAccount("admin", "slipway-demo", "Ada Admin", "manages both workspaces and the catalog"),
    DemoAccount("viewer", "slipway-demo", "Vic Viewer", "looks, and changes nothing"),
    DemoAccount("outsider", "slipway-demo", "Otto Outsider", "has a workspace of his own, and sees no other"),
)
