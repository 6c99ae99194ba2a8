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
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from compute.models import Cluster, Membership, Role, Workspace
from config.demo_accounts import DEMO_ACCOUNTS
from storage.models import SecretsBundle
from tests.browser import Browser
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
        connection.close()
        connection.settings_dict["NAME"] = str(settings_name(running))
        settings.SLIPWAY_LOCAL_ROOT = running.local_root
        # Playwright's loop runs in this thread, and Django would take every query for one of asynchronous code.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        with django_db_blocker.unblock():
            yield running
            connection.close()


def settings_name(stack: Stack) -> str:
    """The stack's database as Django's settings name it."""
    import environ

    return str(environ.Env.db_url_config(stack.database_url)["NAME"])


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


@pytest.fixture(scope="session")
def visitors() -> dict[str, tuple[Any, Watch]]:
    return {}


@pytest.fixture
def show(
    gallery: Gallery, context_as: Callable[..., Any], visitors: dict[str, tuple[Any, Watch]], request: pytest.FixtureRequest
) -> Iterator[Callable[[str], Any]]:
    """``show("presets")``: a page of the gallery, in the one tab that its visitor keeps: what is cached need not load again."""
    shown: list[tuple[Any, Watch]] = []

    def at(name: str) -> Any:
        view = VIEWS[name]
        if view.username not in visitors:
            context, watching = context_as(view.username, reduced_motion="reduce"), Watch(gallery.stack.url)
            watching.over(context)
            visitors[view.username] = context.new_page(), watching
        page, watching = visitors[view.username]
        watching.complaints.clear()
        watching.allowed = [] if view.status == 200 else [f"answer {view.status}"]
        shown.append((page, watching))
        page.set_viewport_size(WIDE)
        page.emulate_media(color_scheme="light")
        gallery.show(page, view)
        return page

    yield at
    for page, watching in shown:
        photograph_failure(request, [page], 0)
        watching.check()


def photograph_failure(request: pytest.FixtureRequest, pages: list[Any], number: int) -> None:
    if getattr(request.node, "failed", False):
        SCREENSHOTS.mkdir(exist_ok=True)
        for page in pages:
            page.screenshot(path=SCREENSHOTS / f"{request.node.name}-{number}.png", full_page=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.live)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report = yield
    if report.failed and report.when == "call":
        item.failed = True  # type: ignore[attr-defined]
        running = getattr(item, "funcargs", {}).get("stack")
        if running is not None:
            report.sections.append(("The stack's logs", running.logs()))
    return report
