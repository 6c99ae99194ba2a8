"""What a step of the wizard shows: the options with what is chosen, the messages at their fields, the stepper, the summary."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any

from compute.errors import Problem
from compute.models import ComputePool, Workspace
from presets.catalog import images_of, pod_sizes_of, runnable_presets
from presets.models import Image, Preset
from sessions import drafts
from sessions.spec import Checked, Choices, check, choices
from sessions.spec.check import MAX_VARIABLES
from sessions.spec.choices import VolumeChoice
from sessions.wizard import (
    MAX_VOLUMES,
    STEPS,
    Answers,
    Step,
    VariableRow,
    VolumeRow,
    following,
    furthest_reached,
    is_shown,
    key_of,
    position,
)


@dataclass
class Messages:
    """What is to be said at one field. ``key`` is the problem's field with row ids for numbers."""

    key: str
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def control(self) -> str:
        """The HTML id of what the user types into."""
        return "id_" + self.key.replace(".", "-")

    @property
    def region(self) -> str:
        """The HTML id of the place that holds the messages."""
        return "messages_" + self.key.replace(".", "-")


@dataclass
class Option:
    """One thing to choose. ``gone``: it was chosen before and is not offered any more; it stays until another is chosen."""

    value: str
    row: Any
    selected: bool
    gone: bool = False
    price: Decimal | None = None
    in_use_by: str = ""


@dataclass
class RowView:
    """A row of data volumes or variables with the messages of its cells."""

    row: Any
    cells: dict[str, Messages]
    options: list[Option] = field(default_factory=list)


@dataclass
class StepView:
    step: Step
    number: int
    current: bool
    reached: bool
    completed: bool
    wrong: bool


class Page:
    """One step for one user, built from the answers and the catalog of this moment. Reads only."""

    def __init__(
        self, user: Any, workspace: Workspace, draft_id: uuid.UUID, step: Step, answers: Answers, checked: Checked | None = None
    ) -> None:
        self.user, self.workspace, self.draft_id, self.step, self.answers = user, workspace, draft_id, step, answers
        self.checked = checked or check(user, workspace, answers.to_spec())
        self.key = drafts.key_for(user, draft_id)

    @cached_property
    def shown(self) -> list[Problem]:
        """The problems to be pointed out by now. Asked for after the intent has been followed: that may make it more."""
        return [problem for problem in self.checked.problems if is_shown(problem, self.answers)]

    @cached_property
    def _messages(self) -> dict[str, Messages]:
        found: dict[str, Messages] = {}
        for problem in self.shown:
            key = key_of(problem, self.answers)
            found.setdefault(key, Messages(key)).errors.append(problem.message)
        for warning in self.checked.warnings:
            key = key_of(warning, self.answers)
            found.setdefault(key, Messages(key)).warnings.append(warning.message)
        return found

    def at(self, key: str) -> Messages:
        return self._messages.setdefault(key, Messages(key))

    @cached_property
    def fields(self) -> dict[str, Messages]:
        """The messages of this step's single fields, by the field's name with underscores (``home_size``)."""
        keys = {
            "preset": ("name", "preset", "image"),
            "compute": ("pod_size", "compute_pool", "slurm_cluster"),
            "storage": ("home", "home.size", "home.volume", "data_volumes", "configurations", "env"),
        }
        return {key.replace(".", "_"): self.at(key) for key in keys[self.step.identifier]}

    @cached_property
    def regions(self) -> list[Messages]:
        """Every place of this step that can hold messages, in the page's order. Fields that offer nothing are not on the page."""
        offers = {"slurm_cluster": "slurm_options", "home_volume": "home_options", "configurations": "configuration_options"}
        regions = [at for name, at in self.fields.items() if name not in offers or getattr(self, offers[name])]
        if self.step.identifier == "storage":
            regions += [cell for view in (*self.volume_rows, *self.variable_rows) for cell in view.cells.values()]
        return regions

    @cached_property
    def errors(self) -> list[Messages]:
        """What is wrong in this step once the user has tried to leave it, for the list at its top."""
        return [region for region in self.regions if region.errors] if self.step.identifier in self.answers.tried else []

    @property
    def general_errors(self) -> list[str]:
        return self.at("").errors

    @property
    def error_count(self) -> int:
        return sum(len(region.errors) for region in self.errors)

    @property
    def number(self) -> int:
        return position(self.step) + 1

    @property
    def next(self) -> Step:
        return following(self.step)

    @property
    def is_last(self) -> bool:
        return self.step == STEPS[-1]

    @property
    def is_first(self) -> bool:
        return self.step == STEPS[0]

    @cached_property
    def steps(self) -> list[StepView]:
        furthest = position(furthest_reached(self.answers))
        return [
            StepView(
                step=step,
                number=number + 1,
                current=step == self.step,
                reached=number <= furthest,
                completed=step.is_completed(self.answers, self.checked.problems),
                wrong=number <= furthest and bool(step.problems(self.shown)),
            )
            for number, step in enumerate(STEPS)
        ]

    # Step 1

    @cached_property
    def presets(self) -> list[Preset]:
        return runnable_presets(self.workspace)

    @cached_property
    def preset_options(self) -> list[Option]:
        pool = self.workspace.default_pool
        options = [
            Option(
                preset.slug,
                preset,
                preset.slug == self.answers.preset,
                price=min((size.price_per_hour(pool) for size in pod_sizes_of(preset)), default=None),
            )
            for preset in self.presets
        ]
        return _with_gone(options, self.answers.preset, Preset.objects.filter(slug=self.answers.preset))

    @cached_property
    def image_options(self) -> list[Option]:
        preset = next((preset for preset in self.presets if preset.slug == self.answers.preset), None)
        offered = images_of(preset) if preset else []
        options = [Option(image.slug, image, image.slug == self.answers.image) for image in offered]
        known = Image.objects.filter(preset__slug=self.answers.preset, slug=self.answers.image)
        return _with_gone(options, self.answers.image, known)

    @property
    def suggested_name(self) -> str:
        """The name, as long as it is our own suggestion."""
        return "" if "name" in self.answers.touched else self.answers.name

    # Steps 2 and 3

    @cached_property
    def choices(self) -> Choices | None:
        """None when the preset is not even in the catalog any more."""
        preset = self.checked.preset or Preset.objects.filter(slug=self.answers.preset).first()
        return choices(self.user, self.workspace, preset) if preset else None

    @property
    def offered(self) -> Choices:
        """The choices, of which there are none without a preset."""
        return self.choices or Choices([], [], [], None, [], [], [], [], [])

    @property
    def pool(self) -> ComputePool | None:
        return self.checked.pool or self.offered.default_pool

    @cached_property
    def pod_size_options(self) -> list[Option]:
        options = [
            Option(size.slug, size, size.slug == self.answers.pod_size, price=size.price_per_hour(self.pool))
            for size in self.offered.pod_sizes
        ]
        return _with_gone(options, self.answers.pod_size)

    @cached_property
    def has_gpus(self) -> bool:
        return any(size.gpus for size in self.offered.pod_sizes)

    @cached_property
    def pool_options(self) -> list[Option]:
        size = self.checked.pod_size
        options = [
            Option(pool.name, pool, pool.name == self.answers.compute_pool, price=size.price_per_hour(pool) if size else None)
            for pool in self.offered.pools
        ]
        return _with_gone(options, self.answers.compute_pool)

    @property
    def default_pool_price(self) -> Decimal | None:
        size = self.checked.pod_size
        return size.price_per_hour(self.offered.default_pool) if size and self.offered.default_pool else None

    @cached_property
    def slurm_options(self) -> list[Option]:
        options = [Option(row.name, row, row.name == self.answers.slurm_cluster) for row in self.offered.slurm_clusters]
        return _with_gone(options, self.answers.slurm_cluster)

    @cached_property
    def home_options(self) -> list[Option]:
        return _volume_options(self.offered.home_volumes, self.answers.home_volume)

    @cached_property
    def volume_rows(self) -> list[RowView]:
        return [self.volume_row(row) for row in self.answers.data_volumes]

    def volume_row(self, row: VolumeRow) -> RowView:
        cells = {name: self.at(f"data_volumes.{row.id}.{name}") for name in ("volume", "mount_path", "read_only")}
        return RowView(row, cells, _volume_options(self.offered.data_volumes, row.volume))

    @cached_property
    def variable_rows(self) -> list[RowView]:
        return [self.variable_row(row) for row in self.answers.env]

    def variable_row(self, row: VariableRow) -> RowView:
        return RowView(row, {name: self.at(f"env.{row.id}.{name}") for name in ("name", "value")})

    @cached_property
    def configuration_options(self) -> list[Option]:
        chosen = set(self.answers.configurations)
        options = [Option(row.slug, row, row.slug in chosen) for row in self.offered.configurations]
        offered = {option.value for option in options}
        return options + [Option(slug, None, True, gone=True) for slug in self.answers.configurations if slug not in offered]

    @property
    def can_add_volume(self) -> bool:
        return len(self.answers.data_volumes) < MAX_VOLUMES

    @property
    def can_add_variable(self) -> bool:
        return len(self.answers.env) < MAX_VARIABLES

    # Summary

    @property
    def price(self) -> Decimal | None:
        return self.checked.price_per_hour if self.checked.pod_size else None

    @property
    def variable_names(self) -> list[str]:
        return [row.name for row in self.answers.env if row.name]


def _with_gone(options: list[Option], chosen: str, known: Any = None) -> list[Option]:
    """The options and, when the chosen one is not among them, that one too. ``known`` finds its row, if it has one still."""
    if not chosen or any(option.selected for option in options):
        return options
    return [*options, Option(chosen, known.first() if known is not None else None, True, gone=True)]


def _volume_options(offered: list[VolumeChoice], chosen: str) -> list[Option]:
    options = [Option(item.volume.name, item.volume, item.volume.name == chosen, in_use_by=item.in_use_by) for item in offered]
    return _with_gone(options, chosen)
