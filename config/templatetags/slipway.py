"""What every page may use: icons, money, sizes, relative times and phase badges. ``{% load slipway %}``."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any

from django import template
from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from presets.durations import spell

register = template.Library()

ICONS = Path(settings.BASE_DIR) / "static" / "vendor" / "lucide"
IDE_ICONS = Path(settings.BASE_DIR) / "static" / "img" / "ides"
SVG = re.compile(r"<svg\b(?P<attributes>[^>]*)>(?P<body>.*)</svg>", re.DOTALL)
VIEW_BOX = re.compile(r'viewBox="([^"]+)"')
QUANTITY = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[KMGTPE]i?|k|m|)")
UNITS = {"": "B", "k": "kB", "K": "kB", "Ki": "KiB"}
DASH = "—"

MINUTE, HOUR, DAY = 60, 3600, 86400


@lru_cache(maxsize=256)
def _read_svg(path: Path) -> tuple[str, str]:
    """The view box and the body of an SVG file. Raises ``TemplateSyntaxError`` when there is no such file."""
    try:
        source = path.read_text()
    except OSError:
        raise template.TemplateSyntaxError(f"There is no icon {path.stem!r} in {path.parent.name}/.") from None
    match, box = SVG.search(source), VIEW_BOX.search(source)
    if match is None or box is None:
        raise template.TemplateSyntaxError(f"The icon {path.stem!r} is not an SVG with a viewBox.")
    return box.group(1), " ".join(match.group("body").split())


@register.simple_tag
def icon(name: str, css: str = "") -> SafeString:
    """A Lucide icon, inlined and hidden from screen readers: ``{% icon "play" %}``. Unknown names raise."""
    box, body = _read_svg(ICONS / f"{name}.svg")
    return format_html(
        '<svg class="icon {}" viewBox="{}" aria-hidden="true" focusable="false">{}</svg>',
        css,
        box,
        mark_safe(body),  # noqa: S308  (a file of this repository)
    )


@register.simple_tag
def ide_icon(ide: str) -> SafeString:
    """Our own picture of an IDE by its slug: ``{% ide_icon preset.ide %}``. An IDE without one gets a generic picture."""
    path = IDE_ICONS / f"{ide}.svg"
    box, body = _read_svg(path if path.exists() else IDE_ICONS / "generic.svg")
    return format_html(
        '<svg class="ide-icon" viewBox="{}" aria-hidden="true" focusable="false">{}</svg>',
        box,
        mark_safe(body),  # noqa: S308  (a file of this repository)
    )


@register.simple_tag(takes_context=True)
def preset_icon(context: template.Context, preset: Any, large: bool = False) -> SafeString:
    """The picture of a preset: its own logo or icon, else its IDE's. On pages inside a workspace only. No query."""
    digest = preset.large_picture if large else preset.small_picture
    if not digest:
        return ide_icon(preset.ide)
    url = reverse("presets:picture", args=(context["request"].workspace.name, preset.slug, digest))
    return format_html('<img class="ide-icon" src="{}" alt="" width="40" height="40" loading="lazy">', url)


@register.filter
def duration(seconds: int) -> str:
    """A length of time for people: 14400 → "4 h"."""
    return spell(seconds)


@register.filter
def money(value: Any) -> str:
    """An amount in the installation's currency: "$0.12", "$0.025", "$0.00". Small prices keep a third decimal."""
    try:
        amount = Decimal(str(value))
    except (InvalidOperation, ValueError):
        return DASH
    if not amount.is_finite():
        return DASH
    if 0 < amount < Decimal("0.001"):
        return f"<{settings.SLIPWAY_CURRENCY}0.001"
    places = Decimal("0.001") if 0 < abs(amount) < 1 else Decimal("0.01")
    text = f"{amount.quantize(places, ROUND_HALF_UP):,}"
    if places == Decimal("0.001") and text.endswith("0"):
        text = text[:-1]
    return f"{settings.SLIPWAY_CURRENCY}{text}"


@register.filter
def size(quantity: Any) -> str:
    """A Kubernetes quantity of bytes for people: "5Gi" → "5 GiB"; what is none is shown as it stands."""
    match = QUANTITY.fullmatch(str(quantity).strip())
    if match is None or match["unit"] == "m":
        return str(quantity)
    unit = UNITS.get(match["unit"], f"{match['unit']}B")
    return f"{match['number']}\N{NO-BREAK SPACE}{unit}"


@register.filter
def cores(quantity: Any) -> str:
    """A Kubernetes quantity of CPU for people: "500m" → "0.5 CPU", "4" → "4 CPU"."""
    match = QUANTITY.fullmatch(str(quantity).strip())
    if match is None or match["unit"] not in ("", "m"):
        return str(quantity)
    number = Decimal(match["number"]) / (1000 if match["unit"] else 1)
    return f"{number.normalize():f}\N{NO-BREAK SPACE}CPU"


def relative(at: datetime, now: datetime) -> str:
    """ "just now", "5 min ago", "3 h ago", "2 d ago", "in 3 d"; more than 30 days away: the date. app.js says the same."""
    seconds = (now - at).total_seconds()
    distance = abs(seconds)
    if distance < MINUTE:
        return "just now"
    if distance < HOUR:
        words = f"{int(distance // MINUTE)} min"
    elif distance < DAY:
        words = f"{int(distance // HOUR)} h"
    elif distance < 30 * DAY:
        words = f"{int(distance // DAY)} d"
    else:
        return f"{timezone.localtime(at):%-d %b %Y}"
    return f"{words} ago" if seconds > 0 else f"in {words}"


@register.filter
def ago(at: datetime | None) -> SafeString | str:
    """A relative ``<time>`` with the exact one on hover; app.js keeps it fresh. None is a dash."""
    if at is None:
        return DASH
    local = timezone.localtime(at)
    return format_html(
        '<time datetime="{}" title="{}" data-ago>{}</time>',
        local.isoformat(timespec="milliseconds"),
        f"{local:%-d %b %Y, %H:%M:%S} {local.tzname()}",
        relative(at, timezone.now()),
    )


@register.simple_tag
def phase_badge(session: Any) -> SafeString:
    """The badge of a session's phase (or of a phase's name), with its message on hover."""
    phase = getattr(session, "phase", session)
    return format_html(
        '<span class="badge-phase phase-{}" title="{}"><span class="badge-dot"></span>{}</span>',
        phase,
        getattr(session, "message", ""),
        phase,
    )
