"""From a POST of a step to answers: what was typed, and which fields the user thereby touched.

Nothing is judged here: answers are kept exactly as typed, and ``sessions.spec.check`` says what is wrong with them.
"""

from __future__ import annotations

from django.http import QueryDict

from sessions.spec.check import MAX_VARIABLES
from sessions.wizard import MAX_VOLUMES, Answers, Step, VariableRow, VolumeRow, new_row_id

# Present in every step's form: without it a POST says nothing about fields, and absent checkboxes mean nothing.
RENDERED = "rendered_preset"


def read(answers: Answers, step: Step, post: QueryDict) -> None:
    """Take over what the step's form says; all other answers stay."""
    if RENDERED in post:
        READERS[step.identifier](answers, post)


def apply_rows(answers: Answers, intent: str) -> None:
    """``add:env``, ``add:data_volumes``, ``remove:env:<id>``, ``remove:data_volumes:<id>``; anything else does nothing."""
    verb, kind, row_id = [*intent.split(":"), "", ""][:3]
    if (verb, kind) == ("add", "env") and len(answers.env) < MAX_VARIABLES:
        answers.env.append(VariableRow())
    elif (verb, kind) == ("add", "data_volumes") and len(answers.data_volumes) < MAX_VOLUMES:
        answers.data_volumes.append(VolumeRow())
    elif (verb, kind) == ("remove", "env"):
        answers.env = [row for row in answers.env if row.id != row_id]
    elif (verb, kind) == ("remove", "data_volumes"):
        answers.data_volumes = [row for row in answers.data_volumes if row.id != row_id]
        answers.touched.add("data_volumes")


def rows_of(intent: str) -> str:
    """Which rows an intent adds to or removes from: ``env``, ``data_volumes``, or empty for all other intents."""
    verb, _, rest = intent.partition(":")
    kind = rest.partition(":")[0]
    return kind if verb in ("add", "remove") and kind in ("env", "data_volumes") else ""


def _text(post: QueryDict, key: str, otherwise: str = "") -> str:
    return post.get(key, otherwise).replace("\0", "").strip()


def _read_preset(answers: Answers, post: QueryDict) -> None:
    answers.name = _text(post, "name", answers.name)
    if answers.name != _text(post, "suggested_name"):
        answers.touched.add("name")
    answers.preset = _text(post, "preset", answers.preset)
    _read_choices(answers, post, "image")


def _read_compute(answers: Answers, post: QueryDict) -> None:
    _read_choices(answers, post, "pod_size", "compute_pool", "slurm_cluster")


def _read_choices(answers: Answers, post: QueryDict, *fields: str) -> None:
    for field in fields:
        before = getattr(answers, field)
        now = _text(post, field, before)
        if now != before:
            answers.touched.add(field)
            setattr(answers, field, now)


def _read_storage(answers: Answers, post: QueryDict) -> None:
    home = (answers.home, answers.home_size, answers.home_volume)
    answers.home = "existing" if _text(post, "home", answers.home) == "existing" else "create"
    answers.home_size = _text(post, "home_size", answers.home_size)
    answers.home_volume = _text(post, "home_volume", answers.home_volume)
    if home != (answers.home, answers.home_size, answers.home_volume):
        answers.touched.add("home")
    chosen = list(dict.fromkeys(post.getlist("configurations")))
    if set(chosen) != set(answers.configurations):
        answers.touched.add("configurations")
    answers.configurations = chosen
    _read_volumes(answers, post)
    answers.env = _variables(answers, post)


def _read_volumes(answers: Answers, post: QueryDict) -> None:
    before = {row.id: row for row in answers.data_volumes}
    rows = []
    for row_id in _row_ids(post, "volume_row", MAX_VOLUMES):
        row = VolumeRow(
            id=row_id,
            volume=_text(post, f"volume.{row_id}.volume"),
            mount_path=_text(post, f"volume.{row_id}.mount_path"),
            read_only=f"volume.{row_id}.read_only" in post,
        )
        old = before.get(row_id, VolumeRow())
        is_proposal = row.mount_path == old.mount_path == _usual_path(old.volume)
        if row.volume and row.volume != old.volume and (is_proposal or not row.mount_path):
            row.mount_path = _usual_path(row.volume)
        rows.append(row)
    if len(rows) != len(before) or not all(row.same_as(before.get(row.id, VolumeRow())) for row in rows):
        answers.touched.add("data_volumes")
    answers.data_volumes = rows


def _usual_path(volume: str) -> str:
    return f"/data/{volume}" if volume else ""


def _variables(answers: Answers, post: QueryDict) -> list[VariableRow]:
    """Values never go back to the browser: an empty one of a row that is marked as kept stands for the value we have."""
    before = {row.id: row for row in answers.env}
    rows = []
    for row_id in _row_ids(post, "env_row", MAX_VARIABLES):
        value = post.get(f"env.{row_id}.value", "")
        if not value and post.get(f"env.{row_id}.kept") and row_id in before:
            value = before[row_id].value
        rows.append(VariableRow(id=row_id, name=_text(post, f"env.{row_id}.name"), value=value))
    return rows


def _row_ids(post: QueryDict, marker: str, limit: int) -> list[str]:
    """The rows' ids in the form's order. Ids become part of HTML ids: rows with any that is not of our making are dropped."""
    ids = dict.fromkeys(post.getlist(marker)[:limit])
    return [row_id for row_id in ids if len(row_id) == len(new_row_id()) and row_id.isalnum() and row_id.isascii()]


READERS = {"preset": _read_preset, "compute": _read_compute, "storage": _read_storage}
