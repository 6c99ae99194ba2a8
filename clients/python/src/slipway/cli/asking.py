"""What commands share: whom they ask, in which workspace, and their common options."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import click

from slipway.cli import completion, profiles
from slipway.client import Slipway, WorkspaceClient
from slipway.errors import Problem
from slipway.transport import Patience

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Asking:
    """One run of the command. ``option_of`` says which option a problem's field came from."""

    profile_name: str = ""
    workspace_name: str = ""
    wants_json: bool = False
    option_of: Callable[[Problem], str] = field(default=lambda problem: problem.field)
    # Completion must be quick, or not be there at all.
    patience: Patience = field(default_factory=Patience)
    timeout: float = 30.0

    @cached_property
    def profile(self) -> profiles.Profile:
        return profiles.choose(self.profile_name)

    @cached_property
    def slipway(self) -> Slipway:
        return connect(self.profile, self.timeout, self.patience)

    def close(self) -> None:
        """The connections, if there were any."""
        if "slipway" in self.__dict__:
            self.slipway.close()

    @cached_property
    def workspace(self) -> WorkspaceClient:
        """The one that was named, or is the profile's, or is the only one."""
        name = self.workspace_name or self.profile.workspace
        if not name:
            mine = [workspace.name for workspace in self.slipway.me().workspaces]
            if len(mine) != 1:
                told = (
                    f"You are in {', '.join(mine)}: say which, or choose one with “slipway use -w NAME”."
                    if mine
                    else "You are in no workspace."
                )
                raise click.BadOptionUsage("workspace", f"--workspace: {told}")
            name = mine[0]
        return self.slipway.workspace(name)


def connect(profile: profiles.Profile, timeout: float = 30.0, patience: Patience | None = None) -> Slipway:
    try:
        return Slipway(profile.url, profile.token, timeout=timeout, patience=patience)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


asking = click.make_pass_decorator(Asking, ensure=True)


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.ensure_object(Asking), name, value)

    return keep


PROFILE = click.option(
    "--profile",
    metavar="NAME",
    envvar="SLIPWAY_PROFILE",
    expose_value=False,
    is_eager=True,
    callback=_keep("profile_name"),
    shell_complete=completion.profile_names,
    help="The profile to use instead of the current one.",
)
JSON = click.option("--json", is_flag=True, expose_value=False, is_eager=True, callback=_keep("wants_json"), help="Answer in JSON.")
WORKSPACE = click.option(
    "-w",
    "--workspace",
    metavar="NAME",
    envvar="SLIPWAY_WORKSPACE",
    expose_value=False,
    is_eager=True,
    callback=_keep("workspace_name"),
    shell_complete=completion.workspace_names,
    help="The workspace, instead of your usual one.",
)


def for_you(function: F) -> F:
    """A command that asks Slipway."""
    return JSON(PROFILE(asking(function)))  # type: ignore[return-value]


def in_workspace(function: F) -> F:
    """A command that asks Slipway about one workspace."""
    return WORKSPACE(for_you(function))


def session_name(function: F) -> F:
    return click.argument("name", shell_complete=completion.session_names)(function)
