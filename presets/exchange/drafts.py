"""What an import wants to be in the catalog, free of files and rows; and what it could not take along."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Model

from presets.pictures import Picture

Values = dict[str, Any]


@dataclass(frozen=True)
class Note:
    """A field of a document that the catalog does not get: where, what was there (never a secret), and why."""

    path: str
    value: str
    why: str


@dataclass
class EntryDraft:
    """An image or a pod size. ``redirect`` is the slug of an image's successor."""

    id: str
    slug: str
    values: Values
    path: str
    redirect: str = ""


@dataclass(frozen=True)
class MountDraft:
    volume: str
    mount_path: str
    read_only: bool


@dataclass
class Draft:
    """What presets and configurations share. ``kept`` are the parts of the document that only an export reads; None: no such parts.

    ``first`` are values that only a new row gets: later they are the curator's.
    """

    slug: str
    place: str
    values: Values
    variables: dict[str, str] = field(default_factory=dict)
    volumes: list[MountDraft] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    kept: dict[str, Any] | None = None
    first: Values = field(default_factory=dict)


@dataclass
class PresetDraft(Draft):
    """An empty ``ide`` in the values: the file does not tell. ``pictures`` are those that the files hold, by field."""

    images: list[EntryDraft] = field(default_factory=list)
    pod_sizes: list[EntryDraft] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)


@dataclass
class ConfigurationDraft(Draft):
    """``namespace`` is the one that the PodDefault applies in; empty: not said."""

    namespace: str = ""


def slug_of(text: str) -> str:
    """A DNS label made of any text; empty when nothing of it can be one."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")


def slugs_of(ids: Iterable[str]) -> dict[str, str]:
    """A slug for each id: the same for the same ids in any order, and no two alike."""
    plain = {one: slug_of(one) or "entry" for one in ids}
    shared = [slug for slug in plain.values() if list(plain.values()).count(slug) > 1]
    return {
        one: f"{slug[:56].strip('-')}-{hashlib.sha256(one.encode()).hexdigest()[:6]}" if slug in shared and slug != one else slug
        for one, slug in plain.items()
    }


def limit(model: type[Model], name: str) -> int:
    """How many characters the field takes."""
    length: int = model._meta.get_field(name).max_length  # type: ignore[union-attr, assignment]
    return length


def shortened(text: str, at_most: int) -> str:
    """The text on one line, cut at a word with an ellipsis where it is longer."""
    line = " ".join(text.split())
    if len(line) <= at_most:
        return line
    return f"{line[: at_most - 1].rsplit(' ', 1)[0][: at_most - 1]}…"


def summary(value: Any, secret: bool = False) -> str:
    """A value in a few words: names of keys, never what a secret or a long text says."""
    if isinstance(value, Mapping):
        return f"{len(value)} set: {shortened(', '.join(map(str, value)), 60)}" if value else "empty"
    if isinstance(value, list):
        names = [str(item.get("name") or item.get("id") or item.get("key") or "") for item in value if isinstance(item, Mapping)]
        told = f": {shortened(', '.join(filter(None, names)), 60)}" if any(names) else ""
        return f"{len(value)} item{'' if len(value) == 1 else 's'}{told}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"{len(value)} characters" if secret or len(value) > 80 or "\n" in value else value
    return str(value)[:40]
