"""The verbs on a session that is there, and looking at it."""

from __future__ import annotations

import json
import sys
import webbrowser

import click

from slipway.cli.asking import Asking, in_workspace, session_name
from slipway.cli.completion import data_volume_names, preset_names
from slipway.cli.output import Progress, ago, say, show_json, table, tell
from slipway.things import Session

PHASES = ("Pending", "Running", "Paused", "Failed", "Terminating", "Unknown")
wait_option = click.option(
    "--timeout", type=click.FloatRange(min=0), default=300.0, show_default=True, metavar="SECONDS", help="How long to wait at most."
)


@click.command("list")
@click.option("--mine", is_flag=True, help="Yours only.")
@click.option("--owner", metavar="USER", default="", help="Of one user.")
@click.option("--phase", type=click.Choice(PHASES, case_sensitive=False), default=None, help="In one phase.")
@click.option("--preset", metavar="NAME", default="", shell_complete=preset_names, help="Of one preset.")
@click.option("--search", metavar="WORDS", default="", help="In the session’s or the owner’s name.")
@in_workspace
def list_sessions(asking: Asking, mine: bool, owner: str, phase: str | None, preset: str, search: str) -> None:
    """List the workspace's sessions, the latest first."""
    found = asking.workspace.sessions.list(search=search, phase=phase or "", preset=preset, owner="~me" if mine else owner)
    if asking.wants_json:
        show_json(list(found))
        return
    rows = [(one.name, one.phase, one.preset, one.pod_size.name, one.owner, ago(one.created_at), str(one.price_per_hour)) for one in found]
    if rows:
        table(("NAME", "PHASE", "PRESET", "POD SIZE", "OWNER", "AGE", "PRICE/H"), rows, right=("AGE", "PRICE/H"))
    else:
        tell("There are no such sessions. Launch one: slipway launch PRESET")


@click.command()
@session_name
@in_workspace
def show(asking: Asking, name: str) -> None:
    """Show the session NAME."""
    session = asking.workspace.sessions.get(name)
    if asking.wants_json:
        show_json(session)
    else:
        describe(session)


def describe(session: Session) -> None:
    size = session.pod_size
    rows = [
        ("Phase", f"{session.phase} for {ago(session.phase_since)}"),
        ("", session.message),
        ("Preset", f"{session.preset}, image {session.image}"),
        ("Pod size", f"{size.name}: {size.cpu} CPU, {size.memory}" + (f", {size.gpus} GPU" if size.gpus else "")),
        ("Pool", session.compute_pool or ""),
        ("Slurm cluster", session.slurm_cluster or ""),
        ("Home", session.home.claim if session.home else ""),
        *(("Data", f"{one.claim} at {one.mount_path}" + (", read-only" if one.read_only else "")) for one in session.data_volumes),
        ("Configurations", ", ".join(session.configurations)),
        ("Variables", ", ".join(session.env)),
        ("Owner", session.owner),
        ("Price", f"{session.price_per_hour} an hour"),
        ("Node", session.node),
        ("Restarts", str(session.restarts or "")),
        ("Page", session.links.get("page", "")),
    ]
    for title, value in rows:
        if value:
            say(f"{title + ':' if title else '':<16}{value}")
    for warning in session.warnings:
        tell(f"Mind: {warning}")


@click.command()
@session_name
@click.option("--for", "phase", type=click.Choice(("Running", "Paused", "Failed", "Deleted")), default="Running", show_default=True)
@wait_option
@in_workspace
def wait(asking: Asking, name: str, phase: str, timeout: float) -> None:
    """Wait until the session NAME is in a phase.

    Ends with 6 as soon as it can't get there, with 7 when the time is up.
    """
    _wait(asking, name, phase, timeout)


def _wait(asking: Asking, name: str, phase: str, timeout: float) -> None:
    with Progress() as progress:
        watching = progress if progress.is_shown else None
        sessions = asking.workspace.sessions
        if phase == "Deleted":
            sessions.wait_deleted(name, timeout=timeout, on_change=watching)
            session = None
        else:
            session = sessions.wait(name, phase, timeout=timeout, on_change=watching)  # type: ignore[arg-type]  # click has checked it
    if asking.wants_json:
        show_json(session or {"name": name, "phase": "Deleted"})
    else:
        say(f"{name} is {phase}.")


@click.command("open")
@session_name
@click.option(
    "--print", "prints", is_flag=True, help="Print the one-time address instead. Who has it first gets in, so keep it to yourself."
)
@in_workspace
def open_session(asking: Asking, name: str, prints: bool) -> None:
    """Open the session NAME in your browser."""
    opened = asking.workspace.sessions.open(name)
    if asking.wants_json:
        show_json(opened)
    elif prints:
        say(opened.url)
    else:
        open_in_browser(opened.url)


def open_in_browser(url: str) -> None:
    if not webbrowser.open(url):
        tell("There is no browser here. Open this in one; it works once, within half a minute:")
        say(url)


@click.command()
@session_name
@click.option("--wait/--no-wait", "waits", default=False, help="Until it is Paused.")
@wait_option
@in_workspace
def pause(asking: Asking, name: str, waits: bool, timeout: float) -> None:
    """Pause the session NAME: its compute is released, its volumes stay."""
    session = asking.workspace.sessions.pause(name)
    _after(asking, session, "Paused", waits, timeout)


@click.command()
@session_name
@click.option("--wait/--no-wait", "waits", default=True, show_default=True, help="Until it is Running.")
@wait_option
@in_workspace
def resume(asking: Asking, name: str, waits: bool, timeout: float) -> None:
    """Start the session NAME again, after a pause or a failure."""
    session = asking.workspace.sessions.resume(name)
    _after(asking, session, "Running", waits, timeout)


def _after(asking: Asking, session: Session, phase: str, waits: bool, timeout: float) -> None:
    if waits:
        _wait(asking, session.name, phase, timeout)
    elif asking.wants_json:
        show_json(session)
    else:
        say(f"{session.name} is asked to be {phase}; it is {session.phase}.")


@click.command()
@session_name
@click.option("-y", "--yes", is_flag=True, help="Don’t ask.")
@click.option(
    "--volumes", metavar="NAME,…", multiple=True, shell_complete=data_volume_names, help="Volumes of it to put into the trash as well."
)
@click.option("--wait/--no-wait", "waits", default=False, help="Until it is gone.")
@wait_option
@in_workspace
def delete(asking: Asking, name: str, yes: bool, volumes: tuple[str, ...], waits: bool, timeout: float) -> None:
    """Delete the session NAME. Its volumes stay, but for those of --volumes."""
    asking.option_of = lambda problem: "--volumes" if problem.field.startswith("volumes") else problem.field
    trashed = [volume.strip() for given in volumes for volume in given.split(",") if volume.strip()]
    if not yes:
        _ask(asking, asking.workspace.sessions.get(name), trashed)
    session = asking.workspace.sessions.delete(name, trashed)
    if waits:
        _wait(asking, name, "Deleted", timeout)
    elif asking.wants_json:
        show_json(session or {"name": name, "phase": "Deleted"})
    else:
        say(f"{name} is being deleted.")


def _ask(asking: Asking, session: Session, trashed: list[str]) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("There is nobody to ask: add --yes.")
    mounted = [*([session.home.claim] if session.home else []), *(volume.claim for volume in session.data_volumes)]
    stays = [volume for volume in mounted if volume not in trashed]
    if stays:
        tell(f"Stays: {', '.join(stays)}.")
    if trashed:
        tell(f"Goes to the trash: {', '.join(trashed)}.")
    if not click.confirm(f"Delete {session.name} of {session.owner}?", err=True):
        raise click.exceptions.Exit(1)


@click.command()
@session_name
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until it is paused or ends.")
@click.option("-n", "--tail", type=click.IntRange(1, 2000), default=200, show_default=True, metavar="LINES", help="The last lines.")
@click.option("--previous", is_flag=True, help="Of the run before the last restart.")
@in_workspace
def logs(asking: Asking, name: str, follow: bool, tail: int, previous: bool) -> None:
    """Show the log of the session NAME. With --follow and --json: an object per line."""
    sessions = asking.workspace.sessions
    if follow and previous:
        raise click.UsageError("Use either --follow or --previous.")
    if follow:
        for line in sessions.follow_logs(name, tail):
            click.echo(json.dumps({"line": line}, ensure_ascii=False)) if asking.wants_json else say(line)
        return
    log = sessions.logs(name, tail, previous)
    if asking.wants_json:
        show_json(log)
        return
    if log.problem:
        tell(log.problem)
    if log.text:
        say(log.text)
