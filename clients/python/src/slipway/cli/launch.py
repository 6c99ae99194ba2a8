"""``slipway launch``: the wizard's three steps as options."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, TextIO

import click

from slipway.cli import completion
from slipway.cli.asking import Asking, in_workspace
from slipway.cli.output import Progress, say, show_json, tell
from slipway.cli.sessions import open_in_browser, wait_option
from slipway.errors import Problem
from slipway.launching import DataVolume, Home, Launch
from slipway.things import Session, Validation

OPTIONS = {
    "name": "--name",
    "preset": "PRESET",
    "image": "--image",
    "pod_size": "--pod-size",
    "compute_pool": "--pool",
    "slurm_cluster": "--slurm-cluster",
    "home": "--home-volume",
    "home.claim": "--home-volume",
    "home.create": "--home-size",
    "home.create.size": "--home-size",
    "data_volumes": "--volume",
    "configurations": "--configuration",
    "env": "--env",
}
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@click.command()
@click.argument("preset", shell_complete=completion.preset_names)
@click.option("--name", metavar="NAME", help="Of the session. [default: made of the preset and a number]")
@click.option("--image", metavar="NAME", shell_complete=completion.image_names, help="[default: the preset’s]")
@click.option("--pod-size", metavar="NAME", shell_complete=completion.pod_size_names, help="[default: the preset’s]")
@click.option("--pool", "compute_pool", metavar="NAME", shell_complete=completion.pool_names, help="[default: the workspace’s]")
@click.option("--slurm-cluster", metavar="NAME", help="[default: none]")
@click.option("--home-size", metavar="SIZE", help="A new home volume of this size, such as 5Gi. [default: the preset’s choice]")
@click.option("--home-volume", metavar="NAME", shell_complete=completion.home_volume_names, help="A home volume that you have.")
@click.option(
    "--volume",
    "volumes",
    metavar="NAME[:PATH[:ro]]",
    multiple=True,
    shell_complete=completion.data_volume_names,
    help="A data volume, at /data/NAME or PATH; ro: read-only. May be repeated. [default: the preset’s]",
)
@click.option("--no-volumes", is_flag=True, help="No data volumes, not even the preset’s.")
@click.option(
    "--configuration",
    "configurations",
    metavar="NAME",
    multiple=True,
    shell_complete=completion.configuration_names,
    help="May be repeated. [default: those that are on by default]",
)
@click.option("--no-configurations", is_flag=True, help="None, not even those that are on by default.")
@click.option(
    "--env",
    "variables",
    metavar="NAME[=VALUE]",
    multiple=True,
    help="A variable; without VALUE, with the value that it has here. May be repeated. Others may see what is typed on a command line.",
)
@click.option("--env-file", type=click.File(encoding="utf-8"), help="Variables as lines NAME=VALUE; - is standard input.")
@click.option("--dry-run", is_flag=True, help="Say what would be launched, and what is wrong with it. Nothing is made.")
@click.option("--wait/--no-wait", "waits", default=True, show_default=True, help="Until it is Running.")
@wait_option
@click.option("--open", "opens", is_flag=True, help="Open it in the browser once it is Running.")
@in_workspace
def launch(asking: Asking, dry_run: bool, waits: bool, timeout: float, opens: bool, **given: Any) -> None:
    """Launch a session of PRESET.

    What you leave out is what the wizard would choose.
    """
    wanted = wanted_of(**given)
    asking.option_of = option_of(wanted)
    sessions = asking.workspace.sessions
    if dry_run:
        show_validation(asking, sessions.validate(wanted))
        return
    session = sessions.launch(wanted)
    for warning in session.warnings:
        tell(f"Mind: {warning}")
    if waits or opens:
        if not asking.wants_json:
            tell(f"{session.name} is launched.")
        with Progress() as progress:
            session = sessions.wait(session.name, timeout=timeout, on_change=progress if progress.is_shown else None)
    if opens:
        open_in_browser(sessions.open(session.name).url)
    if asking.wants_json:
        show_json(session)
    else:
        say(_outcome(session))


def _outcome(session: Session) -> str:
    if session.phase == "Running":
        return f"{session.name} is Running, at {session.price_per_hour} an hour. Open it: slipway open {session.name}"
    return f"{session.name} is {session.phase}. Wait for it: slipway wait {session.name}"


def wanted_of(
    volumes: tuple[str, ...],
    no_volumes: bool,
    configurations: tuple[str, ...],
    no_configurations: bool,
    home_size: str | None,
    home_volume: str | None,
    variables: tuple[str, ...],
    env_file: TextIO | None,
    **plain: Any,
) -> Launch:
    for several, none, name in ((volumes, no_volumes, "volume"), (configurations, no_configurations, "configuration")):
        if several and none:
            raise click.UsageError(f"Use either --{name} or --no-{name}s.")
    if home_size and home_volume:
        raise click.UsageError("Use either --home-size or --home-volume.")
    home = Home.create(home_size) if home_size else Home.claim(home_volume) if home_volume else None
    return Launch(
        **plain,
        home=home,
        data_volumes=[_data_volume(text) for text in volumes] if volumes or no_volumes else None,
        configurations=list(configurations) if configurations or no_configurations else None,
        env={**dict(_from_file(env_file or ())), **dict(map(_variable, variables))},
    )


def _data_volume(text: str) -> DataVolume:
    claim, _, rest = text.partition(":")
    path, _, mode = rest.partition(":")
    if mode not in ("", "ro", "rw") or not claim:
        raise click.BadOptionUsage("volume", f"--volume {text}: write NAME, NAME:PATH or NAME:PATH:ro.")
    return DataVolume(claim, path, mode == "ro")


def _variable(text: str) -> tuple[str, str]:
    name, is_set, value = text.partition("=")
    if is_set:
        return name, value
    if name not in os.environ:
        raise click.BadOptionUsage("env", f"--env {name}: there is no such variable here. Write {name}=VALUE.")
    return name, os.environ[name]


def _from_file(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    """The variables of a file like those of ``docker run --env-file``: values as they stand, comments and empty lines left out."""
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        name, is_set, value = text.partition("=")
        if not is_set or not VARIABLE.fullmatch(name.strip()):
            raise click.BadOptionUsage("env_file", f"--env-file: line {number} is not NAME=VALUE.")  # and may hold a secret
        yield name.strip(), value


def option_of(wanted: Launch) -> Any:
    """Which option a problem's field came from, with what was typed there where the option may be repeated."""

    def option(problem: Problem) -> str:
        if problem.field in OPTIONS:
            return OPTIONS[problem.field]
        group, _, rest = problem.field.partition(".")
        number = rest.partition(".")[0]
        given: Any = {"data_volumes": wanted.data_volumes, "configurations": wanted.configurations}.get(group)
        if given is not None and number.isdecimal() and int(number) < len(given):
            row = given[int(number)]
            return f"{OPTIONS[group]} {row.claim if isinstance(row, DataVolume) else row}"
        return f"--env {rest}" if group == "env" else problem.field

    return option


def show_validation(asking: Asking, validation: Validation) -> None:
    """Exits with 3, as the launch would, when it would be refused."""
    if asking.wants_json:
        show_json(validation)
    else:
        spec, size = validation.spec, validation.spec.pod_size
        if not validation.errors and size:
            say(
                f"{spec.name}: {spec.preset}, {spec.image}, {size.name} ({size.cpu} CPU, {size.memory}), {validation.price_per_hour} an hour"
            )
        for warning in validation.warnings:
            tell(f"Mind: {warning.message}")
        for problem in validation.errors:
            tell(f"Error: {asking.option_of(problem)}: {problem.message}" if problem.field else f"Error: {problem.message}")
    if validation.errors:
        raise click.exceptions.Exit(3)
