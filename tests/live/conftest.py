"""Live tests: all of Slipway as `make demo` runs it, a real browser, and the ORM on the stack's own database.

* ``stack``: the running stack (``stack.url``, ``stack.kill("worker")``, ``stack.manage(…)``, see tests/stack.py).
* ``page_as("member")``: a Playwright page of that demo account, signed in. ``page_as("")``: nobody's. The test fails
  when the browser complains on any page of Slipway: ``watch.allow("answer 404")`` for what a test brings about.
* ``workspace``: one of this test alone, on the stack's own cluster, with the demo's accounts in their roles.
* ``browser_as("member")``: the same without JavaScript, over HTTP (tests/browser.py).
* Models can be used as they are: no ``django_db`` mark, and what a test makes stays for the next one.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from compute.models import Cluster, Membership, Role, Workspace
from config.demo_accounts import DEMO_ACCOUNTS
from storage.models import SecretsBundle
from tests.browser import Browser
from tests.laboratory import models_of
from tests.live.gallery import NEWCOMER_PASSWORD, VIEWS, Gallery
from tests.live.pages import WIDE, Watch, sign_in
from tests.stack import Stack, fresh_database

PASSWORDS = {account.username: account.password for account in DEMO_ACCOUNTS}
CHROMIUM = [
    *["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
    *["--disable-component-update", "--disable-sync"],
]
SCREENSHOTS = Path(__file__).resolve().parents[2] / "test-results"


def need(program: str, package: str) -> str:
    """The program's path. Without it the test is skipped, and in CI it fails."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found:
        return found
    told = f"{program} is missing (package {package})"
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)


@pytest.fixture(autouse=True, scope="session")
def _live_alone(request: pytest.FixtureRequest) -> None:
    """The live tests point Django at another database than the others use."""
    if any(not item.path.is_relative_to(Path(__file__).parent) for item in request.session.items):
        pytest.exit("Live tests run on their own: pytest tests/live", returncode=4)


@pytest.fixture(scope="session")
def django_db_setup() -> None:
    """No test database: live tests use the stack's."""


@pytest.fixture(scope="session")
def stack(django_db_blocker: Any) -> Iterator[Stack]:
    need("nginx", "nginx-light")
    with ExitStack() as cleanup:
        given = os.environ.get("DATABASE_URL", "") if connection.vendor == "postgresql" else ""
        running = cleanup.enter_context(Stack(cleanup.enter_context(fresh_database(given)) if given else ""))
        # Playwright's loop runs in this thread, and Django would take every query for one of asynchronous code.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        with django_db_blocker.unblock(), models_of(running):
            yield running


@pytest.fixture
def browser_as(stack: Stack) -> Callable[[str], Browser]:
    def browser(username: str = "") -> Browser:
        fresh = Browser(stack.url)
        if username:
            fresh.sign_in(username, PASSWORDS[username])
        return fresh

    return browser


def new_workspace(**fields: Any) -> Workspace:
    """Research's twin without its data and quotas: the same cluster, pool and people."""
    name = f"lab-{secrets.token_hex(3)}"
    research = Workspace.objects.select_related("default_pool").get(name="research")
    cluster = Cluster.objects.get(name="this-machine")
    values = {"display_name": "Laboratory", "cluster": cluster, "namespace": name, "default_pool": research.default_pool, **fields}
    workspace = Workspace.objects.create(name=name, **values)
    SecretsBundle.objects.create(workspace=workspace)
    people = Membership.objects.filter(workspace=research, role__in=Role.values)
    Membership.objects.bulk_create(Membership(workspace=workspace, user_id=one.user_id, role=one.role) for one in people)
    return workspace


@pytest.fixture
def workspace(stack: Stack) -> Workspace:
    return new_workspace()


@pytest.fixture(scope="session")
def gallery(stack: Stack) -> Iterator[Gallery]:
    """Sessions in every phase, and all else that the pages show (tests/live/gallery.py). For looking, not for changing."""
    PASSWORDS["newcomer"] = NEWCOMER_PASSWORD
    made = Gallery(stack, new_workspace(display_name="Customer insights", quota_sessions=8, quota_cpu="16"), new_workspace())
    try:
        made.make()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    executable = need("chromium", "chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context_as(stack: Stack, chromium: Any) -> Callable[..., Any]:
    """A new browser context of an account. Each account signs in once per run; a sign-in per test would only cost time."""
    states: dict[str, Any] = {}

    def context(username: str = "", **options: Any) -> Any:
        if username and username not in states:
            states[username] = cookies_of(username)
        made = chromium.new_context(base_url=stack.url, storage_state=states.get(username), **options)
        made.set_default_timeout(20_000)
        return made

    def cookies_of(username: str) -> Any:
        fresh = context()
        page = fresh.new_page()
        page.goto("/sign-in/")
        sign_in(page, username, PASSWORDS[username])
        state = fresh.storage_state()
        fresh.close()
        return state

    return context


@pytest.fixture
def watch(stack: Stack) -> Iterator[Watch]:
    watching = Watch(stack.url)
    yield watching
    watching.check()


@pytest.fixture
def page_as(context_as: Callable[..., Any], watch: Watch, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """``page_as(username, **context_options)``, such as ``java_script_enabled=False`` or ``color_scheme="dark"``."""
    contexts: list[Any] = []

    def page(username: str = "", **options: Any) -> Any:
        context = context_as(username, **options)
        watch.over(context)
        contexts.append(context)
        return context.new_page()

    yield page
    for number, context in enumerate(contexts):
        photograph_failure(request, context.pages, number)
        context.close()


@dataclass
class Visitor:
    """An account's one tab. ``view``: what is in it just as it was loaded; empty once a test has done anything there."""

    page: Any
    watch: Watch
    view: str = ""


@pytest.fixture(scope="session")
def visitors() -> dict[str, Visitor]:
    return {}


@pytest.fixture
def show(
    gallery: Gallery, context_as: Callable[..., Any], visitors: dict[str, Visitor], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Any]]:
    """``show("presets")``: a page of the gallery, in the one tab that its visitor keeps: what is cached need not load again.
    ``show("presets", only_look=True)`` promises to change nothing, and need not load what the test before only looked at."""
    shown: list[Visitor] = []

    def at(name: str, only_look: bool = False) -> Any:
        view = VIEWS[name]
        if view.username not in visitors:
            context, watch = context_as(view.username, reduced_motion="reduce"), Watch(gallery.stack.url)
            watch.over(context)
            visitors[view.username] = Visitor(context.new_page(), watch)
        visitor = visitors[view.username]
        visitor.watch.complaints.clear()
        visitor.watch.allowed = [] if view.status == 200 else [f"answer {view.status}"]
        shown.append(visitor)
        visitor.page.set_viewport_size(WIDE)
        visitor.page.emulate_media(color_scheme="light")
        if not only_look or visitor.view != name:
            visitor.view = ""
            gallery.show(visitor.page, view)
            visitor.view = name if only_look else ""
        return visitor.page

    yield at
    for visitor in shown:
        photograph_failure(request, [visitor.page], 0)
        visitor.watch.check()


def photograph_failure(request: pytest.FixtureRequest, pages: list[Any], number: int) -> None:
    if getattr(request.node, "failed", False):
        SCREENSHOTS.mkdir(exist_ok=True)
        for page in pages:
            page.screenshot(path=SCREENSHOTS / f"{request.node.name}-{number}.png", full_page=True)
