"""The main path in a real browser: sign in, launch a JupyterLab, run a cell, pause, resume, find the file, delete.

And the gateway as a browser meets it: one-time tickets, no token in any address, nothing for outsiders, and an end at
sign-out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from compute.models import Workspace
from sessions.models import Phase, Session
from tests.live.gallery import Gallery
from tests.live.pages import START_SECONDS, Watch, Wizard, is_same_page, phase, sign_in, stay_on_this_page
from tests.stack import Stack

PAGES = Callable[..., Any]
CELL = "from pathlib import Path; Path('hello.txt').write_text('still here'); print(6 * 7)"


def lab_is_open(tab: Page) -> None:
    expect(tab.locator("#jp-main-dock-panel")).to_be_visible(timeout=START_SECONDS * 1000)


def run_a_cell(tab: Page, code: str, printed: str) -> None:
    """New notebook, type, Shift+Enter: as a user does."""
    tab.locator(".jp-LauncherCard[data-category=Notebook]").first.click()
    cell = tab.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    # What is run before the kernel answers, JupyterLab forgets.
    expect(tab.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=START_SECONDS * 1000)
    cell.click()
    cell.press_sequentially(code)
    cell.press("Shift+Enter")
    expect(tab.locator(".jp-OutputArea-output").first).to_have_text(printed, timeout=60_000)


def contents_of(tab: Page, path: str) -> Any:
    """A file, asked of Jupyter's own interface from within its page."""
    answer = tab.evaluate("path => fetch(`/api/contents/${path}`).then(answer => answer.json())", path)
    return answer["content"]


def enter_in_a_new_tab(page: Page) -> tuple[Page, list[str]]:
    """Press Open; the new tab, let in, and the addresses of everything that it asks for, WebSockets too, from now on."""
    addresses: list[str] = []
    page.context.on("request", lambda request: addresses.append(request.url))
    page.context.on("page", lambda tab: tab.on("websocket", lambda socket: addresses.append(socket.url)))
    with page.context.expect_page() as opening:
        page.get_by_role("button", name="Open", exact=True).click()
    tab = opening.value
    tab.wait_for_url(re.compile(r"\.apps\.localhost:\d+/lab"), wait_until="commit", timeout=60_000)
    return tab, addresses


def open_in_a_new_tab(page: Page) -> tuple[Page, list[str]]:
    """The same, with JupyterLab on the screen."""
    tab, addresses = enter_in_a_new_tab(page)
    lab_is_open(tab)
    return tab, addresses


def test_the_main_path(page_as: PAGES, workspace: Workspace, stack: Stack) -> None:
    page = page_as()
    page.goto(f"/w/{workspace.name}/sessions/")
    sign_in(page, "member")
    page.get_by_role("link", name="New session").first.click()
    wizard = Wizard(page, workspace).to("storage")
    host = wizard.launch()
    stay_on_this_page(page)
    phase(page, "Running")
    session = Session.objects.get(host=host)
    expect(page.locator("#log")).not_to_contain_text("Nothing has been written yet")
    expect(page.locator("#activity")).to_contain_text("Running")

    tab, addresses = open_in_a_new_tab(page)
    assert tab.url.startswith(f"{stack.session_url(host)}/lab")
    run_a_cell(tab, CELL, "42")
    assert any("/channels" in address for address in addresses)
    assert not any(session.ide_token in address for address in addresses)
    assert session.ide_token not in tab.content()
    (file,) = (stack.local_root / "claims" / workspace.namespace).glob("*/hello.txt")
    assert file.read_text() == "still here"

    elsewhere = page_as("member")
    elsewhere.goto(f"/w/{workspace.name}/sessions/")
    menu = elsewhere.locator(f"#menu-of-{host}")
    menu.locator("summary").click()
    page.get_by_role("button", name="Pause").click()
    phase(page, "Paused", 30)
    elsewhere.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # as one that somebody comes back to
    expect(elsewhere.locator(f"#status-{host}")).to_contain_text("Paused")
    expect(menu.get_by_role("button", name="Resume")).to_be_visible()  # it stays open, and offers what can be done now
    elsewhere.close()
    expect(page.get_by_role("button", name="Open", exact=True)).to_have_count(0)
    tab.reload()
    expect(tab.get_by_role("heading")).to_have_text(f"{session.name} is paused")
    page.get_by_role("button", name="Resume").click()
    phase(page, "Running")
    assert is_same_page(page)  # all of it without a page load
    lab_is_open(tab)  # the page that waited went on by itself
    assert contents_of(tab, "hello.txt") == "still here"
    tab.close()

    delete_the_session_and_keep_its_volume(page, workspace, session, file)
    delete_the_volume_and_restore_it(page, workspace, f"home-{session.name}")
    assert file.read_text() == "still here"


def delete_the_session_and_keep_its_volume(page: Page, workspace: Workspace, session: Session, file: Path) -> None:
    page.get_by_role("link", name="Delete").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Delete “{session.name}”?")
    expect(page.get_by_role("checkbox")).not_to_be_checked()  # volumes stay unless the user says so
    page.get_by_role("button", name="Delete session").click()
    expect(page).to_have_url(re.compile(f"/w/{workspace.name}/sessions/$"))
    expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible(timeout=60_000)  # by itself, once it is gone
    page.get_by_role("link", name="Volumes").click()
    expect(page.get_by_role("row", name=f"home-{session.name}")).to_be_visible()
    assert file.exists()


def delete_the_volume_and_restore_it(page: Page, workspace: Workspace, volume: str) -> None:
    row = page.get_by_role("row", name=volume)
    row.get_by_role("link", name="Delete").click()
    page.get_by_role("textbox").fill(volume)
    page.get_by_role("button", name="Delete volume").click()
    expect(row).to_have_count(0)
    page.goto(f"/w/{workspace.name}/volumes/trash/")
    page.get_by_role("button", name=f"Restore {volume}").click()
    page.goto(f"/w/{workspace.name}/volumes/")
    expect(row).to_be_visible()


def test_two_tabs_keep_to_themselves_a_double_click_launches_once_and_a_get_never(page_as: PAGES, workspace: Workspace) -> None:
    first = Wizard(page_as("member"), workspace).start()
    second = Wizard(first.page.context.new_page(), workspace).start()
    first.page.locator("#id_home-size, #id_name").first.fill("tab-one")
    first.to("storage")
    assert second.answers()["name"] == ["jupyterlab-1"]
    second.to("compute")
    second.choose("pod_size", "medium")
    for path in ("storage/", "storage/?intent=launch", "preset/?intent=launch"):
        first.page.goto(first.page.url.partition("/storage/")[0] + "/" + path)
    assert not Session.objects.filter(workspace=workspace).exists()

    first.page.goto(first.page.url.replace("/preset/", "/storage/"))
    storage = first.page.url
    first.launch_button.dblclick()
    first.page.wait_for_url(re.compile(r"/sessions/tab-one-[a-z0-9]{6}/$"))
    assert [session.name for session in Session.objects.filter(workspace=workspace)] == ["tab-one"]
    first.page.goto(storage)  # the draft that was launched leads to its session
    expect(first.page).to_have_url(re.compile(r"/sessions/tab-one-[a-z0-9]{6}/$"))

    expect(second.page.locator("#id_pod_size-medium")).to_be_checked()
    second.next()
    second.expect_step("storage")
    Session.objects.filter(workspace=workspace).update(name="jupyterlab-1")  # the name that this tab was offered is taken now
    second.back()
    second.expect_step("compute")
    second.back()
    second.expect_step("preset")
    expect(second.page.locator("#id_name")).to_have_value("jupyterlab-2")
    first.page.goto(first.page.url + "delete/")
    first.page.get_by_role("button", name="Delete session").click()


@pytest.fixture
def running(gallery: Gallery) -> Session:
    """A session of the member that runs. Nothing here changes it."""
    return gallery.sessions["Running"]


def at_its_page(page: Page, session: Session) -> Page:
    page.goto(session.get_absolute_url())
    phase(page, "Running", START_SECONDS)
    return page


def test_a_ticket_works_once_and_only_where_it_is_for(page_as: PAGES, running: Session, watch: Watch) -> None:
    page = at_its_page(page_as("member"), running)
    tab, addresses = enter_in_a_new_tab(page)
    (ticket,) = [address for address in addresses if "/_slipway/enter" in address]
    assert "ticket" not in tab.url
    stranger = page_as()
    stranger.goto(ticket)
    expect(stranger.get_by_role("heading")).to_have_text("This link works only once")
    stranger.goto(ticket.partition("/_slipway")[0])
    expect(stranger.get_by_role("heading")).to_have_text("No such session")
    tab.goto(ticket)  # for the one who is inside it is no harm
    lab_is_open(tab)


@pytest.mark.parametrize("username", ["outsider", "viewer", "admin"])
def test_only_the_owner_gets_in_and_outsiders_see_nothing(
    page_as: PAGES, stack: Stack, running: Session, watch: Watch, username: str
) -> None:
    page = page_as(username)
    page.goto(stack.session_url(running.host))
    expect(page.get_by_role("heading")).to_have_text("No such session")
    if username == "outsider":
        watch.allow("answer 404")
    answer = page.goto(running.get_absolute_url())
    assert answer.status == (404 if username == "outsider" else 200)
    expect(page.get_by_role("button", name="Open", exact=True)).to_have_count(0)
    expect(page.get_by_role("button", name="Pause")).to_have_count(1 if username == "admin" else 0)


def test_signing_out_closes_an_open_kernel_within_seconds(page_as: PAGES, running: Session) -> None:
    page = page_as()
    page.goto(running.get_absolute_url())
    sign_in(page, "member")
    tab, _ = open_in_a_new_tab(at_its_page(page, running))
    with tab.expect_websocket(lambda socket: "/channels" in socket.url, timeout=60_000) as connecting:
        run_a_cell(tab, "print('in')", "in")
    kernel = connecting.value
    assert not kernel.is_closed()
    page.locator(".sidebar .account > summary").click()
    with kernel.expect_event("close", timeout=6_000):
        page.get_by_role("button", name="Sign out").click()
    tab.reload()
    expect(tab.get_by_role("heading")).to_have_text("No such session")


def test_the_cookie_that_opens_a_session_is_its_own_hosts_alone(page_as: PAGES, running: Session, stack: Stack) -> None:
    tab, _ = enter_in_a_new_tab(at_its_page(page_as("member"), running))
    own = {cookie["name"]: cookie for cookie in tab.context.cookies(stack.session_url(running.host))}
    assert own["slipway_gateway"]["domain"] == f"{running.host}.apps.localhost"
    assert own["slipway_gateway"]["httpOnly"]
    control_plane = {cookie["name"] for cookie in tab.context.cookies(stack.url)}
    assert "slipway_gateway" not in control_plane
    assert not any(name.startswith("slipway_session") for name in own)
    assert Session.objects.get(pk=running.pk).phase == Phase.RUNNING
