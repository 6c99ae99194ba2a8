"""Drafts against the catalog: what would be created or changed, field by field, and the writing of it.

What the files do not name stays as it is: entries, variables and volumes that a curator added are never deleted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db.models import Max, Model, QuerySet

from compute.errors import Problem, Refused
from compute.models import Workspace
from presets.admin_forms import SESSIONS
from presets.durations import spell
from presets.exchange.drafts import ConfigurationDraft, Draft, EntryDraft, Note, PresetDraft, shortened
from presets.exchange.parts import looks_secret
from presets.ides import IDES
from presets.models import (
    Configuration,
    ConfigurationVariable,
    ConfigurationVolume,
    Image,
    PodSize,
    Preset,
    PresetVariable,
    PresetVolume,
)
from presets.pictures import Picture

MAX_REASON = 100


@dataclass(frozen=True)
class FieldChange:
    """``old`` and ``new`` are for people; a variable's value is in neither."""

    label: str
    old: str
    new: str


@dataclass
class RowChange:
    """A row with its new values set, not yet saved. Without ``fields`` and not new, nothing is to be done."""

    row: Any
    noun: str
    name: str
    is_new: bool
    fields: list[FieldChange] = field(default_factory=list)

    @property
    def is_change(self) -> bool:
        return self.is_new or bool(self.fields)

    def set(self, label: str, name: str, new: Any, shown: tuple[str, str] | None = None) -> None:
        old = getattr(self.row, name)
        if old != new:
            setattr(self.row, name, new)
            was, becomes = shown or (_words(old), _words(new))
            self.fields.append(FieldChange(label, "" if self.is_new else was, becomes))


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    return shortened(str(value), 120) or "–"


def _length(seconds: int | None) -> str:
    return "–" if seconds is None else spell(seconds)


@dataclass
class Item:
    """What one document does: its own row first. ``left`` names rows of it that the document does not know."""

    draft: Draft
    rows: list[RowChange]
    left: list[str] = field(default_factory=list)
    workspaces: Sequence[Workspace] = ()

    @property
    def notes(self) -> list[Note]:
        return self.draft.notes

    @property
    def noun(self) -> str:
        return self.rows[0].noun

    @property
    def name(self) -> str:
        return self.rows[0].name

    @property
    def is_new(self) -> bool:
        return self.rows[0].is_new

    @property
    def changes(self) -> list[RowChange]:
        return [row for row in self.rows if row.is_change]

    @property
    def reasons(self) -> list[tuple[str, list[Note]]]:
        """The notes, those with the same reason together."""
        grouped: dict[str, list[Note]] = {}
        for note in self.notes:
            grouped.setdefault(note.why, []).append(note)
        return list(grouped.items())


@dataclass
class Plan:
    items: list[Item]

    @property
    def is_change(self) -> bool:
        return any(item.changes for item in self.items)

    @property
    def digest(self) -> str:
        """Differs when anything else would be done than when it was looked at."""
        told = [(item.draft.place, [(row.noun, row.name, row.is_new, row.fields) for row in item.changes]) for item in self.items]
        return hashlib.sha256(repr(told).encode()).hexdigest()


def plan(drafts: Iterable[Draft]) -> Plan:
    """Reads only; about nine queries per draft. Raises :class:`Refused` with everything that the catalog can't take."""
    problems: list[Problem] = []
    items = []
    last = {model: model._default_manager.aggregate(last=Max("position"))["last"] or 0 for model in (Preset, Configuration)}
    for draft in drafts:
        model: type[Preset] | type[Configuration] = Preset if isinstance(draft, PresetDraft) else Configuration
        comparison = _Comparison(draft, model, problems)
        if comparison.own.is_new:
            last[model] += 1
            comparison.own.row.position = last[model]
        items.append(comparison.item())
    if problems:
        raise Refused(problems)
    return Plan(items)


class _Comparison:
    """One draft against its row and what belongs to it."""

    def __init__(self, draft: Draft, model: type[Preset] | type[Configuration], problems: list[Problem]) -> None:
        self.draft, self.problems = draft, problems
        found = model._default_manager.filter(slug=draft.slug).first()
        self.owner: Any = found or model(slug=draft.slug, **draft.first)
        self.own = RowChange(self.owner, str(model._meta.verbose_name), "", found is None)
        self.rows = [self.own]
        self.left: list[str] = []
        self.workspaces: Sequence[Workspace] = ()

    def item(self) -> Item:
        draft = self.draft
        values = dict(draft.values)
        if isinstance(draft, PresetDraft):
            self._ide(values)
        elif isinstance(draft, ConfigurationDraft) and self.own.is_new:
            self._scope(draft)
        self._fields(self.own, values)
        if draft.kept is not None:
            self.own.set("Document kept for export", "kubeflow", draft.kept, ("as it was", "as it is in the file"))
        self.own.name = str(self.owner)
        self._valid(self.own, draft.place, ("home_size", "icon", "logo"))
        if isinstance(draft, PresetDraft):
            self._pictures(draft)
            self._entries(draft.images, self._children("images"), Image, "image")
            self._entries(draft.pod_sizes, self._children("pod_sizes"), PodSize, "pod size")
        self._variables()
        self._volumes()
        return Item(draft, self.rows, self.left, self.workspaces)

    def _problem(self, code: str, message: str) -> None:
        self.problems.append(Problem(self.draft.place, code, message))

    def _children(self, relation: str) -> Sequence[Any]:
        """The rows that belong to the owner; a new one has none."""
        if self.own.is_new:
            return []
        rows = cast("QuerySet[Model]", getattr(self.owner, relation).all())
        return list(rows.select_related("redirect_to") if rows.model is Image else rows)

    def _ide(self, values: dict[str, Any]) -> None:
        if self.own.is_new and not values["ide"]:
            self._problem("ide", "The file does not tell which IDE it is. Choose one.")
        elif not values["ide"]:
            del values["ide"]
        elif not self.own.is_new and values["ide"] != self.owner.ide and SESSIONS.count(self.owner):
            self._problem("ide", f"Sessions use the preset “{self.owner}”, so its IDE can't change. Import under another name.")

    def _scope(self, draft: ConfigurationDraft) -> None:
        """A PodDefault works in its namespace: a new configuration is for the workspaces that have it, or for nobody yet."""
        if not draft.namespace:
            return
        self.workspaces = list(Workspace.objects.filter(namespace=draft.namespace))
        if self.workspaces:
            names = ", ".join(str(workspace) for workspace in self.workspaces)
            self.own.fields.append(FieldChange("Workspaces", "", shortened(names, 120)))
        else:
            why = "No workspace has this namespace: the configuration is hidden until you choose its workspaces."
            draft.notes.append(Note("metadata.namespace", draft.namespace, why))
            self.own.set("Hidden", "hidden", True)

    def _fields(self, change: RowChange, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            label = str(change.row._meta.get_field(name).verbose_name)
            words = _length if name == "idle_pause_seconds" else _words
            change.set(label[:1].upper() + label[1:], name, value, (words(getattr(change.row, name)), words(value)))

    def _valid(self, change: RowChange, place: str, exclude: Iterable[str] = ()) -> None:
        try:
            change.row.clean_fields(exclude={"preset", "configuration", "redirect_to", *exclude})
            if change is self.own:
                change.row.clean()
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                self.problems.append(Problem(f"{place}, {change.noun} {change.name}", "invalid", f"{name}: {' '.join(messages)}"))

    # Images and pod sizes

    def _pictures(self, draft: PresetDraft) -> None:
        for name, picture in draft.pictures.items():
            had = getattr(self.owner, f"{name}_id") is not None
            self.own.set(name.capitalize(), f"{name}_id", picture.digest, ("another picture" if had else "–", f"a picture ({picture})"))

    def _port(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The usual port of the IDE need not be said."""
        ide = IDES.get(self.owner.ide)
        return {"port": None} if ide and values.get("port") == ide.port else {}

    def _entries(self, drafts: Sequence[EntryDraft], existing: Sequence[Any], model: type[Image] | type[PodSize], noun: str) -> None:
        known = {row.slug: row for row in existing}
        changes = {}
        for position, draft in enumerate(drafts, 1):
            row = known.get(draft.slug) or model(slug=draft.slug, preset=self.owner)
            change = RowChange(row, noun, draft.values["name"], draft.slug not in known)
            self._fields(change, {**draft.values, **self._port(draft.values), "position": position})
            self._valid(change, self.draft.place)
            changes[draft.slug] = change
        if model is Image:
            for draft in drafts:
                self._redirect(changes[draft.slug], changes.get(draft.redirect))
        has_default = any(draft.values["is_default"] for draft in drafts)
        for number, row in enumerate((row for row in existing if row.slug not in changes), len(drafts) + 1):
            change = RowChange(row, noun, row.name, False)
            self._fields(change, {"position": number, "is_default": row.is_default and not has_default})
            self.left.append(f"{noun} “{row.name}”")
            changes[row.slug] = change
        self.rows += _successors_first(changes.values())

    def _redirect(self, change: RowChange, successor: RowChange | None) -> None:
        row, to = change.row, successor.row if successor else None
        old = row.redirect_to if row.redirect_to_id else None
        if (old.slug if old else "") != (to.slug if to else ""):
            row.redirect_to = to
            change.fields.append(FieldChange("Redirect to", old.name if old else "" if change.is_new else "–", to.name if to else "–"))
        elif to is not None:
            row.redirect_to = to  # the same row, with its new values

    # Variables and volumes

    def _variables(self) -> None:
        model = PresetVariable if isinstance(self.owner, Preset) else ConfigurationVariable
        existing = {row.name: row for row in self._children("variables")}
        for name, value in self.draft.variables.items():
            row = existing.get(name) or model(name=name, is_secret=looks_secret(name), **self._owned())
            change = RowChange(row, "variable", name, name not in existing)
            change.set(
                "Value", "value", value, ("a value", "another value" if name in existing else "a secret" if row.is_secret else "a value")
            )
            self._valid(change, self.draft.place)
            self.rows.append(change)
        self.left += [f"variable {name}" for name in existing if name not in self.draft.variables]

    def _volumes(self) -> None:
        model = PresetVolume if isinstance(self.owner, Preset) else ConfigurationVolume
        existing = {row.volume: row for row in self._children("volumes")}
        wanted = {draft.volume: draft for draft in self.draft.volumes}
        for name, draft in wanted.items():
            row = existing.get(name) or model(volume=name, **self._owned())
            change = RowChange(row, "data volume", name, name not in existing)
            self._fields(change, {"mount_path": draft.mount_path, "read_only": draft.read_only})
            self._valid(change, self.draft.place)
            self.rows.append(change)
            for other in (row for row in existing.values() if row.volume not in wanted):
                if clash := row.clash_with(other):
                    self._problem("mount_path", f"The {self.own.noun} “{self.owner}” {clash}. Change one of the two first.")
        self.left += [f"data volume {name}" for name in existing if name not in wanted]

    def _owned(self) -> dict[str, Any]:
        return {"preset" if isinstance(self.owner, Preset) else "configuration": self.owner}


def _successors_first(changes: Iterable[RowChange]) -> list[RowChange]:
    """In the order in which they can be saved: an image after the one that it redirects to."""
    by_slug = {change.row.slug: change for change in changes}
    done: dict[str, RowChange] = {}

    def add(change: RowChange, behind: frozenset[str]) -> None:
        successor = getattr(change.row, "redirect_to", None)
        if successor is not None and successor.slug in by_slug and successor.slug not in behind:
            add(by_slug[successor.slug], behind | {successor.slug})
        done.setdefault(change.row.slug, change)

    for change in by_slug.values():
        add(change, frozenset({change.row.slug}))
    return list(done.values())


def write(prepared: Plan, reason: str) -> None:
    """Save what the plan changes; history tells the reason. Call it in a transaction."""
    for item in prepared.items:
        if isinstance(item.draft, PresetDraft):
            Picture.objects.bulk_create(item.draft.pictures.values(), ignore_conflicts=True)
        for change in item.changes:
            if change.row._meta.model in (Image, PodSize) and change.row.is_default:
                # The old default steps down first: the database never sees two, in whatever order the rows are saved.
                siblings = type(change.row)._default_manager.filter(preset=item.rows[0].row.pk, is_default=True)
                siblings.exclude(pk=change.row.pk).update(is_default=False)
            change.row._change_reason = shortened(reason, MAX_REASON)
            change.row.save()
        if item.workspaces:
            item.rows[0].row.workspaces.set(item.workspaces)
