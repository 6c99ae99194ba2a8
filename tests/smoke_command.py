"""The second walk of `make smoke`: the same main path with the command `slipway`, as a person at a terminal would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from config.demo_accounts import DEMO_ACCOUNTS
from tests.browser import Browser
from tests.stack import Stack

MEMBER = next(account for account in DEMO_ACCOUNTS if account.username == "member")
WORKSPACE = "research"


class CommandWalk:
    """Each step is a method; ``session`` is what the launch answered with."""

    preset = "jupyterlab"

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.home = stack.folder / "command"
        self.token = ""
        self.session: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return str(self.session["name"])

    def steps(self) -> list[tuple[str, Callable[[], object]]]:
        return [
            ("make a token on its page", self.make_token),
            ("slipway login", self.login),
            ("slipway launch", self.launch),
            ("slipway list, logs", self.look),
            ("slipway open", self.open),
            ("slipway pause", lambda: self.expect("Paused", "pause", self.name, "--wait")),
            ("slipway resume", lambda: self.expect("Running", "resume", self.name)),
            ("slipway delete", self.delete),
            ("revoke the token", self.revoke),
        ]

    def run(self, *arguments: str, stdin: str = "", allow: tuple[int, ...] = (0,)) -> Any:
        """What the command answered in JSON. It has a home of its own, and nothing of ours in its environment."""
        program = [str(Path(sys.executable).parent / "slipway"), *arguments, "--json"]
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        done = subprocess.run(program, input=stdin, env=environment, capture_output=True, text=True, timeout=300)
        told = done.stdout + done.stderr
        assert not self.token or self.token not in told, f"slipway {arguments[0]} told the token."
        assert done.returncode in allow, f"slipway {' '.join(arguments)} ended with {done.returncode}: {told}"
        return json.loads(done.stdout or "null")

    def expect(self, phase: str, *arguments: str) -> None:
        self.session = self.run(*arguments)
        assert self.session["phase"] == phase, f"The session is {self.session['phase']}."

    def make_token(self) -> None:
        self.browser = Browser(self.stack.url)
        self.browser.sign_in(MEMBER.username, MEMBER.password)
        page = self.browser.get("/account/tokens/new/")
        wanted = {"name": "smoke", "scopes": ["read", "sessions"], "workspaces": [WORKSPACE]}
        made = self.browser.submit(page, page.form(field="scopes"), wanted)
        self.token = made.text.partition('id="id_token" value="')[2].partition('"')[0]
        assert self.token.startswith("slw_"), f"No token was made: {made.errors()}"

    def login(self) -> None:
        self.home.mkdir(mode=0o700)
        me = self.run("login", self.stack.url, "--token-stdin", stdin=f"{self.token}\n")
        assert me["username"] == MEMBER.username
        assert [workspace["name"] for workspace in me["workspaces"]] == [WORKSPACE]

    def launch(self) -> None:
        self.expect("Running", "launch", self.preset, "--env", "GREETING=hello")
        assert self.session["env"] == ["GREETING"]
        assert [step["state"] for step in self.session["steps"]] == ["done"] * 4

    def look(self) -> None:
        assert [session["phase"] for session in self.run("list", "--mine") if session["name"] == self.name] == ["Running"]
        assert "Jupyter" in self.run("logs", self.name)["text"]

    def open(self) -> None:
        """The one-time address lets in a browser that is nowhere signed in, and only the first one."""
        url = self.run("open", self.name, "--print")["url"]
        page = Browser(self.stack.url).get(url)
        assert page.url.startswith(f"{self.stack.session_url(self.session['host'])}/lab"), f"Open led to {page.url}"
        assert "JupyterLab" in page.text
        again = Browser(self.stack.url).get(url, allow=(200, 401, 403, 404, 410))
        assert "JupyterLab" not in again.text, "The one-time address let a second browser in."

    def delete(self) -> None:
        self.run("delete", self.name, "--yes", "--wait")
        assert self.name not in [session["name"] for session in self.run("list")]
        self.run("show", self.name, allow=(4,))

    def revoke(self) -> None:
        page = self.browser.get(f"/account/tokens/{self.token.split('_')[1]}/revoke/")
        self.browser.submit(page, page.form("/revoke/"))
        self.run("whoami", allow=(5,))
