"""Completion: what the shell offers, some of it asked of Slipway, and how a shell gets to know of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from slipway.cli import profiles
from slipway.errors import SlipwayError
from slipway.transport import Patience

if TYPE_CHECKING:
    from slipway.cli.asking import Asking

SHELLS = ("bash", "zsh", "fish")
SECONDS = 3.0
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _offering(find: Callable[[Asking, click.Context], Iterator[tuple[str, str]]]) -> Completer:
    """What ``find`` finds as (name, remark), as far as it begins as typed. Nothing at all when Slipway can't be asked: a shell's
    prompt is no place for errors."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from slipway.cli.asking import Asking

        asking = context.ensure_object(Asking)
        asking.patience, asking.timeout = Patience(retries=0), SECONDS
        try:
            return [CompletionItem(name, help=remark) for name, remark in find(asking, context) if name.startswith(incomplete)]
        except (SlipwayError, click.ClickException, OSError):
            return []

    return complete


@_offering
def profile_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    yield from ((name, profile.url) for name, profile in profiles.load().known.items())


@_offering
def workspace_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    yield from ((workspace.name, workspace.display_name) for workspace in asking.slipway.me().workspaces)


@_offering
def session_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    yield from ((session.name, session.phase) for session in asking.workspace.sessions.list(owner="~me"))


@_offering
def preset_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    yield from ((preset.name, preset.display_name) for preset in asking.workspace.presets.list())


def _preset(context: click.Context) -> str:
    """The preset before the option that is being completed: an option without its value ends click's parsing before arguments."""
    return context.params.get("preset") or next(iter(context.args), "")


@_offering
def image_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    if preset := _preset(context):
        yield from ((image.name, image.display_name) for image in asking.workspace.presets.get(preset).images)


@_offering
def pod_size_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    if preset := _preset(context):
        yield from ((size.name, f"{size.cpu} CPU, {size.memory}") for size in asking.workspace.presets.get(preset).pod_sizes)


@_offering
def pool_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    yield from ((pool.name, pool.display_name) for pool in asking.workspace.compute_pools.list())


@_offering
def configuration_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    found = asking.workspace.configurations.list(preset=_preset(context))
    yield from ((configuration.name, configuration.display_name) for configuration in found)


@_offering
def home_volume_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    yield from ((volume.name, volume.size) for volume in asking.workspace.volumes.list(kind="home"))


@_offering
def data_volume_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    yield from ((volume.name, volume.size) for volume in asking.workspace.volumes.list(kind="data"))


@_offering
def webhook_names(asking: Asking, context: click.Context) -> Iterator[tuple[str, str]]:
    yield from ((webhook.name, "" if webhook.enabled else "off") for webhook in asking.workspace.webhooks.list())


def script(shell: str, command: click.Command) -> str:
    """What the shell reads to complete the command."""
    cls: Any = get_completion_class(shell)
    source: str = cls(command, {}, "slipway", "_SLIPWAY_COMPLETE").source()
    return source


def install(shell: str, source: str) -> list[Path]:
    """Put the script where the shell finds it. Returns the files that were written; safe to repeat."""
    home = Path.home()
    if shell == "fish":
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return [_write(config / "fish" / "completions" / "slipway.fish", source)]
    script_path = _write(profiles.profiles_path().parent / f"completion.{shell}", source)
    start_file = home / ".bashrc" if shell == "bash" else Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
    line = f'[ -r "{script_path}" ] && . "{script_path}"  # slipway completion\n'
    before = start_file.read_text(encoding="utf-8") if start_file.exists() else ""
    if line in before:
        return [script_path]
    with start_file.open("a", encoding="utf-8") as file:
        file.write(("" if before.endswith("\n") or not before else "\n") + line)
    return [script_path, start_file]


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
