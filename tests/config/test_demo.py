"""Where the demo keeps its data, and what it says when it can't start."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from config import demo
from config.demo_accounts import DEMO_ACCOUNTS


def test_keys_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    first = demo.environment(tmp_path, 8080)
    second = demo.environment(tmp_path, 8081)
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
    assert {name: first[name] for name in demo.KEYS} == {name: second[name] for name in demo.KEYS}
    assert second["SLIPWAY_APPS_URL"] == "http://apps.localhost:8081"


def test_data_is_in_the_checkout_where_that_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "BASE_DIR", Path("/usr"))
    assert demo.state_dir() == Path("/usr/.demo")


def test_data_is_elsewhere_when_the_path_is_too_long_for_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "BASE_DIR", Path("/usr") / ("long" * 30))
    assert demo.state_dir().name.startswith("slipway-demo-")


def test_data_is_elsewhere_when_the_sessions_user_cannot_get_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(demo, "BASE_DIR", closed)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert demo.state_dir().parent == Path("/var/lib")


def test_a_taken_port_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([sys.executable, "-m", "config.demo", "--port", str(port)], capture_output=True, text=True, cwd=demo.BASE_DIR)
    assert done.returncode == 1
    assert done.stdout == f"slipway: Port {port} is taken. Choose another one: make demo PORT={port + 1}\n"


def test_the_banner_ends_with_address_and_accounts() -> None:
    text = demo.banner(8080, Path("/data"))
    assert "http://localhost:8080" in text
    assert all(account.username in text for account in DEMO_ACCOUNTS)
