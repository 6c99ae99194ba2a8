"""`make smoke`: the main path over HTTP, as a browser's forms would, and once more with the command `slipway`, against a stack of
its own. The exit code tells."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from config.demo_accounts import DEMO_ACCOUNTS
from tests.browser import Browser, Page
from tests.smoke_command import CommandWalk
from tests.stack import Stack

MEMBER = next(account for account in DEMO_ACCOUNTS if account.username == "member")
WORKSPACE = "research"
CELL = "from pathlib import Path; Path('smoke.txt').write_text('still here'); print(6 * 7)"


class Walk:
    """One walk through a stack. Each step is a method; ``host`` is the session that the wizard launches."""

    preset = "jupyterlab"
    workspace = WORKSPACE

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.browser = Browser(stack.url)
        self.host = ""
        self.origin = ""

    def steps(self) -> list[tuple[str, Callable[[], object]]]:
        return [
            ("sign in", self.sign_in),
            ("walk the wizard", self.launch),
            ("wait for Running", lambda: self.wait_for_phase("Running")),
            ("open through the gateway", self.open),
            ("execute a cell that writes a file", self.execute),
            ("pause", self.pause),
            ("no process is left", self.nothing_runs),
            ("resume", self.resume),
            ("read the file", self.read_file),
            ("delete", self.delete),
            ("the volume is still there", self.volume_is_there),
        ]

    def sign_in(self) -> None:
        self.browser.sign_in(MEMBER.username, MEMBER.password)

    def launch(self) -> None:
        """Next, Next, Launch, with the defaults of the preset."""
        page = self.browser.get(f"/w/{self.workspace}/sessions/new/?preset={self.preset}")
        for step, button in (("preset", "next"), ("compute", "next"), ("storage", "launch")):
            page = self.browser.submit(page, page.form(f"/{step}/"), {}, button)
            assert not page.path.endswith(f"/{step}/"), f"The step {step} refused its defaults: {page.errors()}"
        found = re.fullmatch(rf"/w/{self.workspace}/sessions/([^/]+)/", page.path)
        assert found, f"The wizard led to {page.url}, not to the session:\n{page.text[:3000]}"
        self.host = found[1]
        self.origin = self.stack.session_url(self.host)

    def page(self) -> Page:
        return self.browser.get(f"/w/{self.workspace}/sessions/{self.host}/")

    def wait_for_phase(self, phase: str, seconds: float = 180) -> Page:
        deadline = time.monotonic() + seconds
        while True:
            page = self.page()
            found = re.search(r"phase-(Pending|Running|Paused|Failed|Terminating|Unknown)", page.text)
            now = found[1] if found else "no phase"
            if now == phase:
                return page
            assert now != "Failed" and time.monotonic() < deadline, f"The session is {now} instead of {phase}."
            time.sleep(0.1)

    def act(self, verb: str) -> Page:
        page = self.page()
        return self.browser.submit(page, page.form(f"/{verb}/"))

    def open(self) -> None:
        page = self.act("open")
        assert page.url.startswith(f"{self.origin}/lab"), f"Open led to {page.url}"
        assert "JupyterLab" in page.text
        assert "token" not in urlsplit(page.url).query

    def execute(self) -> None:
        """A cell over the kernel's WebSocket, as JupyterLab's own page does it."""
        kernel = self.call("POST", "/api/kernels", {"name": "python3"})["id"]
        channels = self.browser.websocket(f"{self.origin.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels?session_id={uuid.uuid4()}")
        try:
            assert run_cell(channels, CELL) == "42\n"
        finally:
            channels.close()

    def call(self, method: str, path: str, body: object = None) -> dict[str, str]:
        cookies = {cookie.name: cookie.value for cookie in self.browser.http.cookies if cookie.name == "_xsrf"}
        headers = {"Origin": self.origin, "X-XSRFToken": cookies.get("_xsrf") or ""}
        answer = self.browser.http.request(method, self.origin + path, json=body, headers=headers, timeout=30)
        assert answer.ok, f"{method} {path} answered {answer.status_code}: {answer.text[:500]}"
        result: dict[str, str] = answer.json()
        return result

    def pause(self) -> None:
        self.act("pause")
        self.wait_for_phase("Paused", 60)

    def nothing_runs(self) -> None:
        assert not (left := processes_of(self.host)), f"Still running: {left}"
        answer = self.browser.http.get(f"{self.origin}/api/status", timeout=30)
        assert answer.status_code != 200, "A paused session still answers."

    def resume(self) -> None:
        self.act("resume")
        self.wait_for_phase("Running")
        self.open()

    def read_file(self) -> None:
        assert self.call("GET", "/api/contents/smoke.txt")["content"] == "still here"

    def delete(self) -> None:
        page = self.browser.get(f"/w/{self.workspace}/sessions/{self.host}/delete/")
        self.browser.submit(page, page.form("/delete/"))
        deadline = time.monotonic() + 60
        while self.browser.get(f"/w/{self.workspace}/sessions/{self.host}/", allow=(200, 404)).response.status_code != 404:
            assert time.monotonic() < deadline, "The session is still there."
            time.sleep(0.1)
        self.nothing_runs()

    def volume_is_there(self) -> None:
        name = f"home-{self.host.rpartition('-')[0]}"
        assert name in self.browser.get(f"/w/{self.workspace}/volumes/").text, f"The volumes page does not name {name}."
        kept = list((self.stack.local_root / "claims" / self.workspace).glob("*/smoke.txt"))
        assert [path.read_text() for path in kept] == ["still here"]


def run_cell(channels: object, code: str) -> str:
    """What the cell printed, once the kernel says that it is done."""
    message_id = uuid.uuid4().hex
    header = {"msg_id": message_id, "msg_type": "execute_request", "username": "", "session": uuid.uuid4().hex, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}
    channels.send(json.dumps(request))  # type: ignore[attr-defined]
    printed = ""
    while True:
        message = json.loads(channels.recv())  # type: ignore[attr-defined]
        if message["parent_header"].get("msg_id") != message_id:
            continue
        content = message["content"]
        assert message["msg_type"] != "error", f"The cell failed: {content}"
        if message["msg_type"] == "stream":
            printed += str(content["text"])
        if message["msg_type"] == "status" and content["execution_state"] == "idle":
            return printed


def processes_of(host: str) -> list[str]:
    """The command lines of processes that have the session's name in their command line or environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if int(folder.name) != os.getpid() and (host in command or host in environ):
            found.append(f"{folder.name} {command}")
    return found


def main() -> int:
    started = time.monotonic()
    with Stack() as stack:
        print(f"{time.monotonic() - started:6.2f} s  start Slipway at {stack.url}", flush=True)
        for name, step in [*Walk(stack).steps(), *CommandWalk(stack).steps()]:
            begun = time.monotonic()
            try:
                step()
            except Exception as error:
                print(f"{time.monotonic() - begun:6.2f} s  {name}: {error}\n{stack.logs()}\nsmoke: failed", file=sys.stderr)
                return 1
            print(f"{time.monotonic() - begun:6.2f} s  {name}", flush=True)
    print(f"smoke: ok ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
