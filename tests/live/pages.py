"""What a user sees and does in the browser, in a few words: for the live tests, on Playwright pages."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Response, expect

from compute.models import Workspace

AXE = Path(__file__).with_name("vendor") / "axe.min.js"
NOT_OURS = [
    ".selector .help-tooltip",  # the admin's chooser of many: a label on a span
    ".swagger-ui .opblock-summary-control",  # a button with another one, which copies its address, inside
]
START_SECONDS = 120  # an IDE on a busy machine
STEPS = ("preset", "compute", "storage")
WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


def sign_in(page: Page, username: str, password: str = "slipway-demo") -> None:
    """On the sign-in page, wherever it leads back to."""
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in/" not in url)


@dataclass
class Watch:
    """Everything that a browser complains of on Slipway's own pages: errors and refusals of its console (those of the
    content security policy among them), exceptions of scripts, and requests that failed."""

    url: str
    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.on("console", self._console)
        context.on("weberror", lambda error: self._add(error.page.url if error.page else self.url, f"exception: {error.error}"))
        context.on("requestfailed", lambda request: self._failed(request.url, request.failure or ""))
        context.on("response", self._response)

    def allow(self, pattern: str) -> None:
        """What this test brings about on purpose."""
        self.allowed.append(pattern)

    def check(self) -> None:
        unexpected = [text for text in self.complaints if not any(re.search(pattern, text) for pattern in self.allowed)]
        assert not unexpected, "The browser complained:\n" + "\n".join(unexpected)

    def _add(self, where: str, text: str) -> None:
        if where.startswith(self.url):
            self.complaints.append(f"{text} ({where})")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):  # those are counted below
            self._add(message.page.url if message.page else self.url, f"console: {message.text}")

    def _failed(self, url: str, failure: str) -> None:
        if "ERR_ABORTED" not in failure:  # the user went elsewhere
            self._add(url, f"request failed: {failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._add(response.url, f"answer {response.status}")


def serious_findings(page: Page, rules: tuple[str, ...] = ()) -> list[str]:
    """What axe finds on the page as it is now that is serious or critical; with ``rules``, of these rules only."""
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(_axe())
    # Colours that are still on their way are nobody's contrast.
    page.evaluate("() => Promise.allSettled(document.getAnimations().filter(it => it instanceof CSSTransition).map(it => it.finished))")
    # Preloading writes styles into the page, which its policy refuses.
    options: dict[str, Any] = {"resultTypes": ["violations"], "preload": False}
    if rules:
        options["runOnly"] = list(rules)
    violations = page.evaluate(
        """([exclude, options]) => axe.run({ exclude }, options).then(result => result.violations.map(found => ({
            id: found.id, impact: found.impact, help: found.help,
            nodes: found.nodes.map(node => `${node.target.join(" ")}: ${node.failureSummary}`),
        })))""",
        [NOT_OURS, options],
    )
    return [
        f"{found['id']} ({found['impact']}): {found['help']}\n    " + "\n    ".join(found["nodes"][:3])
        for found in violations
        if found["impact"] in ("serious", "critical")
    ]


@cache
def _axe() -> str:
    return AXE.read_text()


def overflow(page: Page) -> int:
    """By how many pixels the page can be scrolled sideways."""
    return int(page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def stay_on_this_page(page: Page) -> None:
    """Leave a mark that only a page load would wipe out."""
    page.evaluate("() => { window.sameDocument = true; }")


def is_same_page(page: Page) -> bool:
    return bool(page.evaluate("() => window.sameDocument === true"))


def phase(page: Page, name: str, seconds: float = START_SECONDS) -> None:
    """Wait until the session's page says so, by itself."""
    expect(page.locator("#session-badge")).to_have_text(name, timeout=seconds * 1000)


class Wizard:
    """The three steps as a user meets them. Saved: what the autosave answered is on the page."""

    def __init__(self, page: Page, workspace: Workspace) -> None:
        self.page, self.workspace = page, workspace
        self.base = f"/w/{workspace.name}/sessions/new/"

    def start(self, preset: str = "") -> Wizard:
        self.page.goto(self.base + (f"?preset={preset}" if preset else ""))
        return self

    @property
    def step(self) -> str:
        """The identifier of the step that the address names; empty where it names none (a fresh wizard)."""
        found = re.search(r"/new/[0-9a-f-]{36}/(\w+)/", self.page.url)
        return found[1] if found else ""

    def expect_step(self, step: str) -> None:
        label = step.capitalize()
        expect(self.page.locator(".stepper [aria-current=step]")).to_contain_text(label)
        if step != "preset" or self.step:
            expect(self.page).to_have_url(re.compile(f"/{step}/(#.*)?$"))

    def next(self) -> None:
        self.page.get_by_role("button", name="Next: ").click()

    def back(self) -> None:
        self.page.get_by_role("button", name="Back", exact=True).click()

    def to(self, step: str) -> Wizard:
        """Go on with Next until the step."""
        for identifier in STEPS[1 : STEPS.index(step) + 1]:
            self.next()
            self.expect_step(identifier)
        return self

    def launch(self) -> str:
        """Press Launch; returns the host of the session that it leads to."""
        self.launch_button.click()
        self.page.wait_for_url(re.compile(r"/sessions/[a-z0-9-]+-[a-z0-9]{6}/$"))
        return self.page.url.rstrip("/").rpartition("/")[2]

    @property
    def launch_button(self) -> Locator:
        return self.page.get_by_role("button", name="Launch session")

    @property
    def summary(self) -> Locator:
        return self.page.locator("#wizard-summary")

    @property
    def price(self) -> Locator:
        return self.summary.locator(".price")

    def at(self, control: str) -> Locator:
        """The messages that stand at a control, by its id or its label's."""
        return self.page.locator(f'[data-messages-for="{control}"]')

    def error_at(self, control: str, text: str | re.Pattern[str]) -> None:
        expect(self.at(control).locator(".field-error")).to_contain_text(text)
        expect(self.page.locator(f"[id='{control}']")).to_have_attribute("aria-invalid", "true")

    def warning_at(self, control: str, text: str) -> None:
        expect(self.at(control).locator(".field-warning")).to_contain_text(text)

    def no_message_at(self, control: str) -> None:
        expect(self.at(control).locator("p")).to_have_count(0)

    def choose(self, name: str, value: str) -> None:
        """Click the card of a radio button or a switch."""
        self.page.locator(f"label:has(input[name={json.dumps(name)}][value={json.dumps(value)}])").click()

    def add_volume(self, volume: str = "", path: str | None = None, read_only: bool = False) -> str:
        """Add a row and fill it in; returns the row's id."""
        row = self._add("data_volumes", "Add a data volume")
        if volume:
            self.page.select_option(f"#id_data_volumes-{row}-volume", volume)
        if path is not None:
            self.page.fill(f"#id_data_volumes-{row}-mount_path", path)
        if read_only:
            self.page.check(f"#id_data_volumes-{row}-read_only")
        return row

    def add_variable(self, name: str, value: str = "") -> str:
        row = self._add("env", "Add a variable")
        self.page.fill(f"#id_env-{row}-name", name)
        if value:
            self.page.fill(f"#id_env-{row}-value", value)
        return row

    def _add(self, kind: str, button: str) -> str:
        rows = self.page.locator(f"#{kind}-rows > .wizard-row")
        before = rows.count()
        self.page.get_by_role("button", name=button).click()
        expect(rows).to_have_count(before + 1)
        return str(rows.last.get_attribute("id")).removeprefix("row-")

    def answers(self) -> dict[str, list[str]]:
        """What the form of this step holds, without what is not the user's."""
        pairs = self.page.evaluate("() => [...new FormData(document.getElementById('wizard-form'))].map(([k, v]) => [k, String(v)])")
        found: dict[str, list[str]] = {}
        for name, value in pairs:
            if name not in ("csrfmiddlewaretoken", "key", "rendered_preset", "suggested_name"):
                found.setdefault(name, []).append(value)
        return found
