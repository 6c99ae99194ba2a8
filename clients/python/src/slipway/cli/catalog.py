"""What there is to launch and to mount."""

from __future__ import annotations

import click

from slipway.cli.asking import Asking, in_workspace
from slipway.cli.completion import preset_names
from slipway.cli.output import ago, say, show_json, table, tell
from slipway.things import Image, PodSize


@click.command()
@click.argument("preset", required=False, shell_complete=preset_names)
@in_workspace
def presets(asking: Asking, preset: str | None) -> None:
    """List presets, or the images and pod sizes of one PRESET."""
    if preset:
        _show_preset(asking, preset)
        return
    found = list(asking.workspace.presets.list())
    if asking.wants_json:
        show_json(found)
        return
    rows = [
        (one.name, one.display_name, next((image.name for image in one.images if image.is_default), ""), one.description) for one in found
    ]
    table(("PRESET", "NAME", "IMAGE", "DESCRIPTION"), rows)


def _show_preset(asking: Asking, name: str) -> None:
    preset = asking.workspace.presets.get(name)
    if asking.wants_json:
        show_json(preset)
        return
    say(f"{preset.display_name}: {preset.description}" if preset.description else preset.display_name)
    if preset.deprecated:
        tell(f"Mind: deprecated. {preset.deprecation_message}")
    say()
    table(("IMAGE", "NAME", "", "DESCRIPTION"), [(one.name, one.display_name, _remark(one), one.description) for one in preset.images])
    say()
    rows = [(one.name, one.cpu, one.memory, str(one.gpus), str(one.price_per_hour or ""), _remark(one)) for one in preset.pod_sizes]
    table(("POD SIZE", "CPU", "MEMORY", "GPUS", "PRICE/H", ""), rows, right=("CPU", "MEMORY", "GPUS", "PRICE/H"))


def _remark(entry: Image | PodSize) -> str:
    return ", ".join(word for word, is_so in (("default", entry.is_default), ("deprecated", entry.deprecated)) if is_so)


@click.command()
@click.option("--kind", type=click.Choice(("home", "data")), default=None)
@click.option("--search", metavar="WORDS", default="", help="In the volume’s or its owner’s name.")
@in_workspace
def volumes(asking: Asking, kind: str | None, search: str) -> None:
    """List the workspace's volumes, and the sessions that mount them."""
    found = list(asking.workspace.volumes.list(search=search, kind=kind or ""))
    if asking.wants_json:
        show_json(found)
        return
    rows = [
        (one.name, one.kind, one.size, one.owner or "", ago(one.created_at), ", ".join(use.session for use in one.used_by)) for one in found
    ]
    table(("VOLUME", "KIND", "SIZE", "OWNER", "AGE", "SESSIONS"), rows, right=("SIZE", "AGE"))
