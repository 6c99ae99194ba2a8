"""No page keeps anyone out: axe-core finds nothing serious on any of them, and the keyboard reaches everything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from compute.models import Workspace
from sessions.models import Session
from tests.live.gallery import VIEWS, nginx_pages
from tests.live.pages import NARROW, WIDE, Wizard, serious_findings
from tests.stack import Stack

PAGES = Callable[..., Any]
SHOW = Callable[..., Any]
# Dark colours change contrasts and nothing else that axe looks at; a narrow screen, what is shown at all.
CONTRAST = ("color-contrast",)
SHOWN = (
    *CONTRAST,
    *("aria-hidden-focus", "button-name", "label", "link-in-text-block", "link-name", "nested-interactive"),
    *("scrollable-region-focusable", "select-name", "summary-name"),
)


def findings_everywhere(page: Page) -> list[str]:
    """Light and dark, wide and narrow, without loading the page again."""
    found = []
    for size, name, rules in ((WIDE, "wide", ()), (NARROW, "narrow", SHOWN)):
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme="light")
        found += [f"{name}, light: {finding}" for finding in serious_findings(page, rules)]
        page.emulate_media(color_scheme="dark")
        found += [f"{name}, dark: {finding}" for finding in serious_findings(page, CONTRAST)]
    return found


@pytest.mark.parametrize("name", VIEWS, scope="session")  # of each page before those of the next one: see test_looks.py
def test_axe_finds_nothing_serious(show: SHOW, name: str) -> None:
    found = findings_everywhere(show(name, only_look=True))
    assert not found, "\n".join(found)


def test_axe_finds_nothing_serious_on_the_pages_that_nginx_answers_by_itself(page_as: PAGES, stack: Stack) -> None:
    page = page_as()
    for name, html in nginx_pages(stack).items():
        page.set_content(html)
        found = findings_everywhere(page)
        assert not found, f"{name}:\n" + "\n".join(found)


def focused(page: Page) -> str:
    """What has the focus, as a screen reader would name it, roughly."""
    return str(
        page.evaluate(
            """() => { const it = document.activeElement;
            return (it.getAttribute("aria-label") || it.labels?.[0]?.textContent || it.textContent || "").replace(/\\s+/g, " ").trim(); }"""
        )
    )


def tab_to(page: Page, name: str, presses: int = 40) -> None:
    """Press Tab until what has this name is focused, and can be seen to be."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        if name in focused(page):
            shown = page.evaluate("""() => { const it = document.activeElement, style = getComputedStyle(it), box = it.getBoundingClientRect();
                return [style.outlineStyle + style.outlineWidth + style.boxShadow, box.width * box.height]; }""")
            assert shown[0] != "none0pxnone", f"{name} does not show that it has the focus"
            assert shown[1] > 0
            return
    raise AssertionError(f"{presses} presses of Tab do not reach {name}; the focus is at {focused(page)}")


def test_the_skip_link_is_first_and_leads_to_the_content(show: SHOW) -> None:
    page = show("sessions")
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    tab_to(page, "New session", 5)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("sessions-empty", "New session"),
        ("session-running", "Open"),
        ("session-paused", "Resume"),
        ("session-failed", "Retry"),
        ("session-delete", "Delete session"),
        ("preset", "Launch session"),
        ("volumes", "New volume"),
        ("secrets-admin", "Add secret"),
        ("wizard-storage", "Launch session"),
    ],
)
def test_tab_reaches_the_primary_action(show: SHOW, name: str, action: str) -> None:
    tab_to(show(name), action)


def test_menus_open_with_enter_and_close_with_escape(show: SHOW) -> None:
    page = show("sessions")
    for summary in (page.locator(".sidebar .workspace-switch > summary"), page.locator("#results details.menu > summary").first):
        menu = summary.locator("xpath=..").locator(".menu-panel")
        summary.focus()
        page.keyboard.press("Enter")
        expect(menu).to_be_visible()
        page.keyboard.press("Tab")
        assert menu.evaluate("panel => panel.contains(document.activeElement)")
        page.keyboard.press("Escape")
        expect(menu).to_be_hidden()
        expect(summary).to_be_focused()


def test_the_wizard_can_be_walked_with_the_keyboard_alone(page_as: PAGES, workspace: Workspace) -> None:
    page = page_as("member")
    wizard = Wizard(page, workspace).start()
    tab_to(page, "Session name")
    page.keyboard.press("Control+A")
    page.keyboard.type("by-hand")
    page.keyboard.press("Enter")
    wizard.expect_step("compute")
    tab_to(page, "Small")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#id_pod_size-medium")).to_be_checked()
    tab_to(page, "Next: Storage")
    page.keyboard.press("Enter")
    wizard.expect_step("storage")
    tab_to(page, "Add a variable")
    page.keyboard.press("Enter")
    expect(page.locator("#env-rows input[placeholder=NAME]")).to_be_focused()  # typing can go on in the new row
    page.keyboard.type("MODE")
    expect(wizard.summary).to_contain_text("MODE")
    tab_to(page, "Launch session")
    assert not Session.objects.filter(workspace=workspace).exists()
