"""Every page fits its screen, wide and narrow, and is photographed for people to look at (test-results/looks)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.live.conftest import SCREENSHOTS
from tests.live.gallery import VIEWS, nginx_pages
from tests.live.pages import NARROW, overflow
from tests.stack import Stack

DESKTOP = {"width": 1440, "height": 900}


# Of each page before those of the next one: it is then loaded once for these tests and for axe.
@pytest.mark.parametrize("name", VIEWS, scope="session")
def test_the_page_fits_its_screen(show: Callable[..., Any], name: str) -> None:
    page = show(name, only_look=True)
    for size in (DESKTOP, NARROW):
        page.set_viewport_size(size)
        assert overflow(page) == 0, f"{name} can be scrolled sideways at {size['width']} pixels"
        if VIEWS[name].main:
            photograph(page, name, size["width"])


def test_nginxs_own_pages_fit_their_screens(page_as: Callable[..., Any], stack: Stack) -> None:
    page = page_as()
    for name, html in nginx_pages(stack).items():
        page.set_viewport_size(NARROW)
        page.set_content(html)
        assert overflow(page) == 0
        photograph(page, name, NARROW["width"])


def photograph(page: Any, name: str, width: int) -> None:
    folder = SCREENSHOTS / "looks"
    folder.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        # Hiding the caret would write style attributes into the page.
        page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True, caret="initial")
