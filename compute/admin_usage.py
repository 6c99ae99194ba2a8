"""Where catalog entries are used, for the admin: counted in lists, named where a deletion is refused.

The apps on the left of this one (presets, storage, sessions) are reached through reverse relations, by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Count, IntegerField, Model, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

NAMED = 10


@dataclass(frozen=True)
class Use:
    """One way that rows of a model are used.

    ``relation`` is the reverse name on the model, ``noun`` what uses it ("session"), ``via`` the attribute that leads
    from a related row to what is named (a mount's ``session``).
    """

    relation: str
    noun: str
    via: str = ""

    @property
    def annotation(self) -> str:
        return f"uses_{self.relation}"

    def count(self, row: Model) -> int:
        """How many use the row; free when the row came from :func:`with_uses`."""
        known: int | None = getattr(row, self.annotation, None)
        return getattr(row, self.relation).count() if known is None else known

    def names(self, row: Model, limit: int) -> list[str]:
        """The first ``limit`` of them, each with its workspace. One query."""
        related: QuerySet[Any] = getattr(row, self.relation).all()
        target = related.model._meta.get_field(self.via).related_model if self.via else related.model
        paths = [self.via] if self.via else []
        if any(field.name == "workspace" for field in target._meta.fields):
            paths.append(f"{self.via}__workspace" if self.via else "workspace")
        found = [getattr(item, self.via) if self.via else item for item in related.select_related(*paths)[:limit]]
        return [f"{self.noun} “{item}”" + (f" in {item.workspace}" if hasattr(item, "workspace") else "") for item in found]


def with_uses(queryset: QuerySet[Any], uses: Iterable[Use]) -> QuerySet[Any]:
    """The rows with a count per use, each counted on its own: joins would multiply them."""
    model = queryset.model
    for use in uses:
        counted = model._default_manager.filter(pk=OuterRef("pk")).order_by().values("pk").annotate(n=Count(use.relation))
        subquery = Subquery(counted.values("n"), output_field=IntegerField())
        queryset = queryset.annotate(**{use.annotation: Coalesce(subquery, 0)})
    return queryset


def usage(row: Model, uses: Iterable[Use], limit: int = NAMED) -> list[str]:
    """Sentences that name what uses the row, at most ``limit`` per kind and then how many more. At most 2 queries per use."""
    lines: list[str] = []
    for use in uses:
        if total := use.count(row):
            lines += use.names(row, limit)
            if total > limit:
                lines.append(f"and {total - limit} more {use.noun}{'s' if total - limit > 1 else ''}")
    return lines


def counts(row: Model, uses: Iterable[Use]) -> str:
    """Such as "3 sessions, 1 volume"; a dash when nothing uses the row."""
    parts = [f"{total} {use.noun}{'' if total == 1 else 's'}" for use in uses if (total := use.count(row))]
    return ", ".join(parts) or "–"


class UsedByMixin(admin.ModelAdmin):
    """Shows where rows are used and refuses to delete those, on their page, in the list and in bulk."""

    uses: Sequence[Use] = ()
    fixed_when_used: Sequence[str] = ()
    cascades: frozenset[str] = frozenset()
    """Names of rows that go with a row of this model although the admin lets nobody delete them by themselves."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return with_uses(super().get_queryset(request), self.uses)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fixed = self.fixed_when_used if obj is not None and any(use.count(obj) for use in self.uses) else ()
        return [*super().get_readonly_fields(request, obj), *fixed, "used_by_names"]

    @admin.display(description="Used by")
    def used_by(self, row: Model) -> str:
        return counts(row, self.uses)

    @admin.display(description="Used by")
    def used_by_names(self, row: Model | None) -> str | SafeString:
        lines = usage(row, self.uses) if row is not None and row.pk else []
        return format_html_join("", "<div>{}</div>", ((line,) for line in lines)) if lines else "Nothing yet."

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Rows that are used come back as protected, with the names of what uses them; nothing else is collected then."""
        protected: list[Any] = []
        for row in objs:
            if lines := usage(row, self.uses):
                protected += [str(row), lines]
        if protected:
            return [], {}, set(), protected
        to_delete, model_count, perms_needed, protected = super().get_deleted_objects(objs, request)
        return to_delete, model_count, {name for name in perms_needed if str(name) not in self.cascades}, protected
