"""VS Code, launched, opened and paused like any other IDE. Wants code-server on PATH (`config/ops/code-server` builds one)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.smoke import Walk, processes_of
from tests.stack import Stack

pytestmark = [
    pytest.mark.extra,
    pytest.mark.skipif(shutil.which("code-server") is None, reason="code-server is not on PATH"),
]


class VsCodeWalk(Walk):
    preset = "vscode"


@pytest.fixture(scope="module")
def walk(stack: Stack) -> Walk:
    walk = VsCodeWalk(stack)
    walk.sign_in()
    walk.launch()
    walk.wait_for_phase("Running")
    return walk


def test_vs_code_opens_in_the_browser(walk: Walk, page_as: Callable[..., Any]) -> None:
    page = page_as("member")
    page.goto(f"/w/research/sessions/{walk.host}/")
    with page.expect_popup() as opened:
        page.get_by_role("button", name=re.compile("^Open")).first.click()
    editor = opened.value
    editor.wait_for_selector(".monaco-workbench", timeout=60_000)
    assert editor.url.startswith(walk.origin)
    assert "token" not in editor.url


def test_a_paused_vs_code_leaves_no_process(walk: Walk) -> None:
    walk.pause()
    assert not processes_of(walk.host)
    walk.delete()
