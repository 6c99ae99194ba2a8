"""Looking at an import, and doing it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction

from compute.errors import Forbidden, Problem, Refused
from presets.exchange.plan import Plan, plan, write
from presets.exchange.reading import Source
from presets.exchange.sources import Options, drafts_of
from presets.models import Configuration, Preset

MODELS = (
    *("preset", "image", "podsize", "presetvariable", "presetvolume"),
    *("configuration", "configurationvariable", "configurationvolume"),
)
PERMISSIONS = tuple(f"presets.{verb}_{model}" for model in MODELS for verb in ("add", "change"))


def require_importer(user: Any) -> None:
    """Raises :class:`Forbidden` for people who may not write all that an import may."""
    if not user.has_perms(PERMISSIONS):
        raise Forbidden("Only those who may add and change presets and configurations, with all that belongs to them, can import them.")


def preview(sources: Sequence[Source], options: Options) -> Plan:
    """What the files would do to the catalog as it is now. Raises :class:`Refused` with every mistake in them."""
    return plan(drafts_of(sources, options))


def apply(user: Any | None, sources: Sequence[Source], options: Options, expected: str = "") -> Plan:
    """Do it, all or nothing; repeating it changes nothing. ``user`` is None for whoever has the server's shell.

    ``expected`` is the digest of the plan that the user has seen: with another one now, :class:`Refused`.
    """
    if user is not None:
        require_importer(user)
    drafts = drafts_of(sources, options)
    try:
        with transaction.atomic():
            for model in (Preset, Configuration):
                list(model._default_manager.select_for_update().filter(slug__in=[draft.slug for draft in drafts]).only("pk").order_by("pk"))
            prepared = plan(drafts)
            if expected and expected != prepared.digest:
                raise Refused(Problem("", "changed", "Someone changed the catalog a moment ago. Look at what would be done now."))
            write(prepared, f"Imported from {', '.join(source.name for source in sources)}")
    except IntegrityError:
        raise Refused(Problem("", "changed", "Someone changed the catalog a moment ago. Nothing was imported: try again.")) from None
    return prepared
