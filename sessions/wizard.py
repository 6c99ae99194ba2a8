"""The wizard's steps and the answers that travel through them; no requests, no HTML.

An :class:`Answers` is what a :class:`~sessions.models.Draft` holds: everything as typed, and which fields the user
has touched. Touched fields are the user's; the others follow the defaults of the chosen preset.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from compute.errors import Problem
from sessions.spec import Choices, DataVolumeInput, EnvInput, HomeInput, SpecInput

MAX_VOLUMES = 50


@dataclass(frozen=True)
class Step:
    """``fields`` are the answers that are typed in this step, named like the heads of :class:`Problem` fields."""

    identifier: str
    label: str
    title: str
    fields: frozenset[str]

    def problems(self, problems: Iterable[Problem]) -> list[Problem]:
        return [problem for problem in problems if problem.field.partition(".")[0] in self.fields]

    def is_completed(self, answers: Answers, problems: Iterable[Problem]) -> bool:
        """Whether the user has been here and left nothing to mend."""
        return self.identifier in answers.visited and not self.problems(problems)


STEPS = (
    Step("preset", "Preset", "Preset and image", frozenset({"name", "preset", "image"})),
    Step("compute", "Compute", "Compute", frozenset({"pod_size", "compute_pool", "slurm_cluster"})),
    Step("storage", "Storage", "Storage", frozenset({"home", "home_size", "home_volume", "data_volumes", "configurations", "env"})),
)
BY_IDENTIFIER = {step.identifier: step for step in STEPS}


def position(step: Step) -> int:
    return STEPS.index(step)


def following(step: Step) -> Step:
    """The next step; the last one's is itself."""
    return STEPS[min(position(step) + 1, len(STEPS) - 1)]


def preceding(step: Step) -> Step:
    return STEPS[max(position(step) - 1, 0)]


def furthest_reached(answers: Answers) -> Step:
    """The first step that the user has not yet left by Next, or the last."""
    return next((step for step in STEPS if step.identifier not in answers.visited), STEPS[-1])


def first_with_problems(problems: Iterable[Problem]) -> Step | None:
    found = list(problems)
    return next((step for step in STEPS if step.problems(found)), None)


def destination(step: Step, intent: str, answers: Answers, problems: Sequence[Problem]) -> Step | None:
    """Where ``intent`` leads from ``step``; None: to the launch. Remembers what the user has tried and visited.

    ``next``, ``check`` (stay, but say what is missing), ``back``, ``goto:<step>`` and ``launch``; all others stay.
    Going on takes a step without problems, a launch all steps; going back is always allowed.
    """
    verb, _, argument = intent.partition(":")
    if verb == "launch":
        answers.tried.update(BY_IDENTIFIER)
        return first_with_problems(problems)
    wanted = {"back": preceding(step), "next": following(step), "goto": BY_IDENTIFIER.get(argument, step)}.get(verb, step)
    if verb in ("next", "check") or position(wanted) > position(step):
        answers.tried.add(step.identifier)
        if step.problems(problems):
            return step
        answers.visited.add(step.identifier)
    return min(wanted, furthest_reached(answers), key=position)


def new_row_id() -> str:
    """Rows keep their id for life, so that adding, removing and typing at once never mixes them up."""
    return secrets.token_hex(4)


@dataclass
class VolumeRow:
    id: str = field(default_factory=new_row_id)
    volume: str = ""
    mount_path: str = ""
    read_only: bool = False

    @property
    def is_blank(self) -> bool:
        return not (self.volume or self.mount_path)

    def same_as(self, other: VolumeRow) -> bool:
        return (self.volume, self.mount_path, self.read_only) == (other.volume, other.mount_path, other.read_only)


@dataclass
class VariableRow:
    id: str = field(default_factory=new_row_id)
    name: str = ""
    value: str = ""

    @property
    def is_blank(self) -> bool:
        return not (self.name or self.value)


@dataclass
class Answers:
    """``visited``: steps that were left by Next. ``tried``: steps whose missing answers are to be pointed out."""

    name: str = ""
    preset: str = ""
    image: str = ""
    pod_size: str = ""
    compute_pool: str = ""
    slurm_cluster: str = ""
    home: str = "create"
    home_size: str = "5Gi"
    home_volume: str = ""
    data_volumes: list[VolumeRow] = field(default_factory=list)
    configurations: list[str] = field(default_factory=list)
    env: list[VariableRow] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    visited: set[str] = field(default_factory=set)
    tried: set[str] = field(default_factory=set)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Answers:
        """What :meth:`to_data` wrote, perhaps by an earlier release: answers that it did not know are as at the start."""
        values: dict[str, Any] = {
            key: value for step in STEPS for key, value in data.get(step.identifier, {}).items() if key in step.fields
        }
        values["data_volumes"] = [VolumeRow(**row) for row in values.get("data_volumes", ())]
        values["env"] = [VariableRow(**row) for row in values.get("env", ())]
        values |= {key: set(data.get(key, ())) for key in ("touched", "visited", "tried")}
        return cls(**values)

    def to_data(self) -> dict[str, Any]:
        """As a draft keeps it: answers by step, and what is known of them."""
        values = asdict(self)
        data: dict[str, Any] = {key: sorted(values.pop(key)) for key in ("touched", "visited", "tried")}
        for step in STEPS:
            data[step.identifier] = {key: values[key] for key in sorted(step.fields)}
        return data

    @classmethod
    def from_spec(cls, spec: SpecInput) -> Answers:
        """Answers that nobody has touched."""
        answers = cls(
            name=spec.name,
            preset=spec.preset,
            image=spec.image,
            pod_size=spec.pod_size,
            compute_pool=spec.compute_pool,
            slurm_cluster=spec.slurm_cluster,
            data_volumes=_volume_rows(spec),
            configurations=list(spec.configurations),
        )
        answers.take_home(spec.home)
        return answers

    def to_spec(self) -> SpecInput:
        """What these answers ask for. Rows that are wholly blank are left out."""
        home = HomeInput(volume=self.home_volume) if self.home == "existing" else HomeInput(create_size=self.home_size)
        return SpecInput(
            name=self.name,
            preset=self.preset,
            image=self.image,
            pod_size=self.pod_size,
            compute_pool=self.compute_pool,
            slurm_cluster=self.slurm_cluster,
            home=home,
            data_volumes=tuple(DataVolumeInput(row.volume, row.mount_path, row.read_only) for row in self.volume_rows()),
            configurations=tuple(self.configurations),
            env=tuple(EnvInput(row.name, row.value) for row in self.variable_rows()),
        )

    def volume_rows(self) -> list[VolumeRow]:
        """The rows that the spec has, in its order: problem ``data_volumes.N`` speaks of number N here."""
        return [row for row in self.data_volumes if not row.is_blank]

    def variable_rows(self) -> list[VariableRow]:
        return [row for row in self.env if not row.is_blank]

    def take_home(self, home: HomeInput) -> None:
        if home.volume:
            self.home, self.home_volume = "existing", home.volume
        else:
            self.home, self.home_size = "create", home.create_size

    def follow(self, fresh: SpecInput, offered: Choices) -> None:
        """The preset has changed: keep what the user touched where the new preset has it too; the rest is its defaults."""
        if "name" not in self.touched:
            self.name = fresh.name
        if "image" not in self.touched or self.image not in {image.slug for image in offered.images}:
            self.image = fresh.image
            self.touched.discard("image")
        if "pod_size" not in self.touched or self.pod_size not in {size.slug for size in offered.pod_sizes}:
            self.pod_size = fresh.pod_size
            self.touched.discard("pod_size")
        if "home" not in self.touched:
            self.take_home(fresh.home)
        if "data_volumes" not in self.touched:
            self.data_volumes = _volume_rows(fresh)
        if "configurations" not in self.touched:
            self.configurations = list(fresh.configurations)
        else:
            slugs = {configuration.slug for configuration in offered.configurations}
            self.configurations = [slug for slug in self.configurations if slug in slugs]


def _volume_rows(spec: SpecInput) -> list[VolumeRow]:
    return [VolumeRow(volume=row.volume, mount_path=row.mount_path, read_only=row.read_only) for row in spec.data_volumes]


def key_of(problem: Problem, answers: Answers) -> str:
    """The problem's field with the row's id in the place of its number: ``env.0.name`` → ``env.1f3a90bc.name``."""
    parts = problem.field.split(".")
    if len(parts) == 3:
        rows: Sequence[VolumeRow | VariableRow] = answers.volume_rows() if parts[0] == "data_volumes" else answers.variable_rows()
        parts[1] = rows[int(parts[1])].id
    return ".".join(parts)


def is_shown(problem: Problem, answers: Answers) -> bool:
    """What is wrong shows at once; what is merely missing shows after the user has tried to go on."""
    if problem.code != "required":
        return True
    head = problem.field.partition(".")[0]
    return any(head in BY_IDENTIFIER[identifier].fields for identifier in answers.tried)
