"""A plan in words, for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from presets.exchange.drafts import Note
from presets.exchange.plan import Item, Plan, RowChange


def lines(plan: Plan, done: bool) -> Iterator[str]:
    """What would be done, or has been, for each document; what it can't carry; and the sum of it."""
    for item in plan.items:
        yield from _item(item)
        yield ""
    created = sum(row.is_new for item in plan.items for row in item.changes)
    changed = sum(not row.is_new for item in plan.items for row in item.changes)
    if not plan.is_change:
        yield "Nothing to do: the catalog has all of it."
    else:
        told = f"{created} created, {changed} changed."
        yield f"Imported: {told}" if done else f"This was a preview: {told} Repeat it with --apply to do it."


def _item(item: Item) -> Iterator[str]:
    yield f"{item.noun} {item.name} ({item.draft.slug}), from {item.draft.place}"
    if not item.changes:
        yield "  is in the catalog already, just so"
    for row in item.changes:
        yield from _row(row)
    if item.left:
        yield f"  left as they are, not in the file: {', '.join(item.left)}"
    if item.notes:
        yield "  cannot be carried:"
        yield from (f"  {line}" for line in note_lines(item.notes))


def _row(row: RowChange) -> Iterator[str]:
    yield f"  {'+ create' if row.is_new else '~ change'} {row.noun} {row.name}"
    for change in row.fields:
        yield f"      {change.label}: {change.new}" if row.is_new else f"      {change.label}: {change.old} → {change.new}"


def note_lines(notes: Iterable[Note]) -> Iterator[str]:
    """Each field with its reason; fields with the same reason stand together."""
    grouped: dict[str, list[Note]] = {}
    for note in notes:
        grouped.setdefault(note.why, []).append(note)
    for why, same in grouped.items():
        yield f"  {why}"
        yield from (f"      {note.path} ({note.value})" for note in same)
