"""Signing in and out, profiles, and who you are."""

from __future__ import annotations

import sys
from dataclasses import replace
from urllib.parse import urlsplit

import click

from slipway.cli import profiles
from slipway.cli.asking import Asking, connect, for_you
from slipway.cli.completion import profile_names
from slipway.cli.output import ago, say, show_json, table, tell
from slipway.things import Me


@click.command()
@click.argument("url", required=False)
@click.option("--token-stdin", is_flag=True, help="Read the token from standard input instead of asking for it.")
@click.option("-w", "--workspace", metavar="NAME", default="", help="The workspace that commands mean when they name none.")
@for_you
def login(asking: Asking, url: str | None, token_stdin: bool, workspace: str) -> None:
    """Store Slipway's address URL and a token of yours.

    Make the token on Slipway's page API tokens, in the menu of your account. It is asked for without being shown, tried, and
    kept in a file that only you may read. --profile keeps it beside others.
    """
    name = asking.profile_name or profiles.load().current
    known = profiles.load().known.get(name)
    url = (url or click.prompt("Slipway’s address", default=known.url if known else None, err=True)).strip().rstrip("/")
    if urlsplit(url).scheme == "http" and not _is_here(urlsplit(url).hostname or ""):
        tell("Mind: the token goes over the network readable by everybody on it. Use https where you can.")
    if token_stdin:
        token = sys.stdin.readline().strip()
    else:
        tell(f"Make a token at {url}/account/tokens/ and paste it here; it is not shown.")
        token = click.prompt("Token", hide_input=True, err=True).strip()
    profile = profiles.Profile(url, token, workspace)
    me = _try(profile)
    path = profiles.save(profiles.load().with_profile(name, profile))
    if asking.wants_json:
        show_json(me)
    else:
        _describe(me)
        say(f"Kept as profile {name} in {path}.")


def _try(profile: profiles.Profile) -> Me:
    """Whether it works: who its token's user is."""
    with connect(profile) as slipway:
        me = slipway.me()
    if profile.workspace and profile.workspace not in [mine.name for mine in me.workspaces]:
        raise click.BadOptionUsage("workspace", f"--workspace: the token reaches no workspace {profile.workspace}.")
    return me


def _is_here(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1") or host.endswith(".localhost")


def _describe(me: Me) -> None:
    say(f"You are {me.username}" + (f" ({me.name})." if me.name else "."))
    if me.token:
        say(f"Token {me.token.name}: {', '.join(me.token.scopes)}, until {me.token.expires_at:%Y-%m-%d}.")
        if "sessions" not in me.token.scopes:
            tell("This token can’t launch, pause, open or delete sessions: it lacks the scope sessions.")


@click.command()
@for_you
def logout(asking: Asking) -> None:
    """Forget a profile and its token.

    The token itself stays valid: revoke it on the page API tokens.
    """
    known = profiles.load()
    name = asking.profile_name or known.current
    if name not in known.known:
        raise click.ClickException(f"There is no profile {name}.")
    profiles.save(known.without(name))
    if asking.wants_json:
        show_json({"profile": name})
    else:
        say(f"Profile {name} is forgotten. Its token is valid until you revoke it at {known.known[name].url}/account/tokens/.")


@click.command()
@for_you
def whoami(asking: Asking) -> None:
    """Show who you are, your workspaces, and your token."""
    me = asking.slipway.me()
    if asking.wants_json:
        show_json(me)
        return
    say(asking.slipway.url)
    _describe(me)
    table(("WORKSPACE", "NAME", "ROLE"), [(workspace.name, workspace.display_name, workspace.role) for workspace in me.workspaces])
    if me.token and me.token.last_used_at:
        say(f"The token was last used {ago(me.token.last_used_at)} ago.")


@click.command("profiles")
@for_you
def list_profiles(asking: Asking) -> None:
    """List the profiles that you are signed in with."""
    known = profiles.load()
    if asking.wants_json:
        shown = ((name, profile, name == known.current) for name, profile in known.known.items())
        show_json([{"name": name, "url": row.url, "workspace": row.workspace, "is_current": is_current} for name, row, is_current in shown])
        return
    rows = [("*" if name == known.current else "", name, row.url, row.workspace) for name, row in known.known.items()]
    table(("", "PROFILE", "URL", "WORKSPACE"), rows)


@click.command()
@click.argument("name", metavar="[PROFILE]", required=False, shell_complete=profile_names)
@click.option("-w", "--workspace", metavar="NAME", help="The workspace that commands mean when they name none; empty for none.")
@for_you
def use(asking: Asking, name: str | None, workspace: str | None) -> None:
    """Choose the profile, or its workspace, that commands mean when they name none."""
    known = profiles.load()
    name = name or asking.profile_name or known.current
    if name not in known.known:
        raise click.ClickException(f"There is no profile {name}. Run “slipway login --profile {name}”.")
    chosen = known.known[name]
    if workspace is not None:
        chosen = replace(chosen, workspace=workspace)
        _try(chosen)
    profiles.save(known.with_profile(name, chosen))
    if asking.wants_json:
        show_json({"name": name, "url": chosen.url, "workspace": chosen.workspace})
    else:
        say(f"Commands use profile {name}" + (f" and workspace {chosen.workspace}." if chosen.workspace else "."))
