"""The template tags that every page uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from django.template import Context, Template, TemplateSyntaxError
from django.utils import timezone

from config.templatetags.slipway import ago, cores, money, relative, size

NBSP = "\N{NO-BREAK SPACE}"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def render(source: str, **context: object) -> str:
    return Template("{% load slipway %}" + source).render(Context(context))


def test_an_icon_is_inlined_and_hidden_from_screen_readers() -> None:
    html = render('{% icon "play" "icon-lg" %}')
    assert html.startswith('<svg class="icon icon-lg" viewBox="0 0 24 24" aria-hidden="true"')
    assert "<path" in html


@pytest.mark.parametrize("name", ["no-such-icon", "../../css/slipway"])
def test_an_icon_that_is_not_there_raises(name: str) -> None:
    with pytest.raises(TemplateSyntaxError, match="There is no icon"):
        render("{% icon name %}", name=name)


def test_every_ide_has_a_picture_and_an_unknown_one_a_generic() -> None:
    assert render("{% ide_icon ide %}", ide="rstudio") != render("{% ide_icon ide %}", ide="emacs")
    assert 'class="ide-icon"' in render("{% ide_icon ide %}", ide="emacs")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "$0.00"),
        ("0.025", "$0.025"),
        ("0.12000", "$0.12"),
        ("0.1255", "$0.126"),
        ("1.2", "$1.20"),
        ("1234.567", "$1,234.57"),
        ("0.00001", "<$0.001"),
        ("0.9999", "$1.00"),
        (None, "—"),
        ("NaN", "—"),
    ],
)
def test_money(value: object, shown: str) -> None:
    assert money(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("5Gi", f"5{NBSP}GiB"),
        ("500Mi", f"500{NBSP}MiB"),
        ("2G", f"2{NBSP}GB"),
        ("1024", f"1024{NBSP}B"),
        ("1k", f"1{NBSP}kB"),
        ("odd", "odd"),
    ],
)
def test_size(value: str, shown: str) -> None:
    assert size(value) == shown


@pytest.mark.parametrize(("value", "shown"), [("500m", "0.5"), ("4", "4"), ("10", "10"), ("1500m", "1.5"), ("0.25", "0.25")])
def test_cores(value: str, shown: str) -> None:
    assert cores(value) == f"{shown}{NBSP}CPU"


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (timedelta(seconds=59), "just now"),
        (timedelta(seconds=60), "1 min ago"),
        (timedelta(minutes=59), "59 min ago"),
        (timedelta(hours=23), "23 h ago"),
        (timedelta(days=29), "29 d ago"),
        (timedelta(days=31), "23 Oct 2026"),
        (timedelta(days=-3, seconds=-1), "in 3 d"),
        (timedelta(seconds=-5), "just now"),
    ],
)
def test_relative_times(before: timedelta, words: str) -> None:
    assert relative(NOW - before, NOW) == words


def test_ago_has_the_exact_time_on_hover() -> None:
    html = ago(timezone.now() - timedelta(minutes=5))
    assert ">5 min ago</time>" in html
    assert "UTC" in html
    assert ago(None) == "—"


def test_two_moments_of_one_second_can_be_told_apart() -> None:
    first = timezone.now().replace(microsecond=250_000)
    assert ago(first) != ago(first.replace(microsecond=750_000))


def test_a_phase_badge_takes_a_session_or_a_phase() -> None:
    session = SimpleNamespace(phase="Failed", message='It said "no".')
    assert 'class="badge-phase phase-Failed" title="It said &quot;no&quot;."' in render("{% phase_badge session %}", session=session)
    assert "phase-Running" in render("{% phase_badge phase %}", phase="Running")
