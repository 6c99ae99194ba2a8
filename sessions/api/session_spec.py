"""From the API's spelling of a spec to the services', and of their problems back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from compute.errors import Problem, Refused
from compute.models import Workspace
from presets.models import Preset
from sessions.spec import DataVolumeInput, EnvInput, HomeInput, SpecInput, defaults
from sessions.wizard import Answers

# The services say volume, as the pages do; the API says claim, as manifests do.
SPELLINGS = (
    (re.compile(r"home\.volume"), "home.claim"),
    (re.compile(r"home\.size"), "home.create.size"),
    (re.compile(r"data_volumes\.(\d+)\.volume"), r"data_volumes.\1.claim"),
)
VARIABLE = re.compile(r"env\.(\d+)\.(?:name|value)")


def spec_of(body: dict[str, Any], user: Any, workspace: Workspace) -> SpecInput:
    """What the body asks for. What is absent is what the wizard would have chosen; null and empty are none."""
    preset = Preset.objects.offered_to(workspace).filter(slug=body["preset"].strip()).first()
    usual = defaults(user, workspace, preset) if preset is not None else Answers().to_spec()

    def text(field: str) -> str:
        return (body[field] or "").strip() if field in body else str(getattr(usual, field))

    return SpecInput(
        name=text("name"),
        preset=body["preset"].strip(),
        image=text("image"),
        pod_size=text("pod_size"),
        compute_pool=text("compute_pool"),
        slurm_cluster=text("slurm_cluster"),
        home=_home(body["home"], preset) if "home" in body else usual.home,
        data_volumes=tuple(map(_mount, body["data_volumes"] or ())) if "data_volumes" in body else usual.data_volumes,
        configurations=tuple(dict.fromkeys(body["configurations"] or ())) if "configurations" in body else usual.configurations,
        env=tuple(EnvInput(name.strip(), value) for name, value in (body.get("env") or {}).items()),
    )


def _home(home: dict[str, Any] | None, preset: Preset | None) -> HomeInput:
    if home is None:
        return HomeInput()
    if (create := home.get("create")) is not None:
        usual = preset.home_size if preset is not None else Answers.home_size
        return HomeInput(create_size=create.get("size", usual).strip())
    return HomeInput(volume=(home.get("claim") or "").strip())


def _mount(row: dict[str, Any]) -> DataVolumeInput:
    claim = row["claim"].strip()
    usual = f"/data/{claim}" if claim else ""
    return DataVolumeInput(claim, row.get("mount_path", usual).strip(), row["read_only"])


def spelled(problem: Problem, spec: SpecInput) -> Problem:
    """The problem with its field as the API's bodies have it: ``env.0.value`` is ``env.API_KEY``."""
    if variable := VARIABLE.fullmatch(problem.field):
        return Problem(f"env.{spec.env[int(variable[1])].name}", problem.code, problem.message)
    field = problem.field
    for pattern, ours in SPELLINGS:
        field = pattern.sub(ours, field) if pattern.fullmatch(field) else field
    return Problem(field, problem.code, problem.message)


@contextmanager
def api_spelling(spec: SpecInput) -> Iterator[None]:
    """What is refused inside, in the API's spelling."""
    try:
        yield
    except Refused as refused:
        raise Refused([spelled(problem, spec) for problem in refused.problems]) from None
