"""What a terminal shows while a session starts."""

from __future__ import annotations

import io
from typing import Any

import pytest
from slipway import Session
from slipway.cli.output import Progress
from slipway.shapes import parse

from sessions.api.session_examples import SESSION
from tests.clients.conftest import Terminal


def step(name: str, state: str, message: str = "", **times: str) -> dict[str, Any]:
    return {"step": name, "label": name.title(), "state": state, "message": message, "started_at": None, "finished_at": None, **times}


def starting(*steps: dict[str, Any]) -> Session:
    return parse(Session, {**SESSION, "phase": "Pending", "message": "Starting", "steps": steps})


def test_each_step_is_told_once_and_the_current_one_as_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    done = step("compute", "done", started_at="2026-11-23T09:30:00Z", finished_at="2026-11-23T09:30:02Z")
    with Progress() as progress:
        progress(starting(step("compute", "active", "Looking\x1b[2J for a node")))
        progress(starting(done, step("image", "active")))
        progress(starting(done, step("image", "active")))
        progress(starting(done, step("image", "failed", "There is no such image.")))
    lines = [line for line in terminal.getvalue().replace("\x1b[K", "").replace("\r", "\n").splitlines() if line.strip()]
    assert [line.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") for line in lines] == [
        "… Compute: Looking[2J for a node",
        "✓ Compute (2.0 s)",
        "… Image",
        "✗ Image: There is no such image.",
        "… Pending: Starting",
    ]


def test_a_log_file_gets_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr("sys.stderr", said)
    with Progress() as progress:
        progress(starting(step("compute", "active")))
    assert said.getvalue() == ""
