"""The command itself: its subcommands, and what it ends with. README.md lists the exit codes; they stay as they are."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import click

import slipway
from slipway.cli import catalog, completion, sessions, signing_in
from slipway.cli.asking import Asking
from slipway.cli.launch import launch
from slipway.cli.output import plain, say, tell
from slipway.cli.webhooks import webhooks
from slipway.errors import ApiError, NotReached, SlipwayError, TimedOut, Unreachable

FAILED, REFUSED, NOT_FOUND, NOT_ALLOWED, NOT_REACHED, TIMED_OUT, UNREACHABLE, INTERRUPTED = 1, 3, 4, 5, 6, 7, 8, 130
STATUSES = {401: NOT_ALLOWED, 403: NOT_ALLOWED, 404: NOT_FOUND, 429: FAILED}


class InOrder(click.Group):
    """Lists commands as they were added: by how often they are needed."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(slipway.__version__, prog_name="slipway")
def cli() -> None:
    """Notebook and IDE sessions on your team's cluster.

    Begin with “slipway login”, then “slipway launch PRESET”. SLIPWAY_URL and SLIPWAY_TOKEN go before what login has stored.
    """


@cli.command("completion")
@click.argument("shell", type=click.Choice(completion.SHELLS))
@click.option("--install", is_flag=True, help="Put it where the shell finds it, instead of printing it.")
def complete(shell: str, install: bool) -> None:
    """Complete commands, sessions and presets in your shell."""
    source = completion.script(shell, cli)
    if not install:
        click.echo(source)
        return
    for path in completion.install(shell, source):
        say(f"Written: {path}")
    say(f"New {shell} shells complete slipway.")


for command in (
    *(signing_in.login, launch, sessions.list_sessions, sessions.show, sessions.open_session, sessions.pause, sessions.resume),
    *(sessions.delete, sessions.logs, sessions.wait, catalog.presets, catalog.volumes, webhooks),
    *(signing_in.whoami, signing_in.use, signing_in.list_profiles, signing_in.logout),
):
    cli.add_command(command)
cli.add_command(cli.commands.pop("completion"))


def main(arguments: Sequence[str] | None = None) -> None:
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    asking = Asking()
    try:
        code = cli.main(arguments, prog_name="slipway", standalone_mode=False, obj=asking)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        _tell_click(asking, error)
        return error.exit_code
    except SlipwayError as error:
        return _tell(asking, error)
    except (click.Abort, KeyboardInterrupt):
        tell("Stopped.")
        return INTERRUPTED
    except BrokenPipeError:  # who read our output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    finally:
        asking.close()


def _tell_click(asking: Asking, error: click.ClickException) -> None:
    if asking.wants_json:
        _tell_json({"code": "usage" if isinstance(error, click.UsageError) else "failed", "detail": error.format_message()})
    else:
        error.show()


def _tell(asking: Asking, error: SlipwayError) -> int:
    """Say what is wrong, each problem at its option; returns the exit code."""
    problems = error.errors if isinstance(error, ApiError) else ()
    if asking.wants_json:
        _tell_json(_as_json(error))
    elif problems:
        for problem in problems:
            option = asking.option_of(problem)
            tell(f"Error: {option}: {problem.message}" if option else f"Error: {problem.message}")
    else:
        tell(f"Error: {error}")
    if not asking.wants_json and isinstance(error, ApiError) and error.status >= 500 and error.request_id:
        tell(f"If it stays so, tell an administrator this: {error.request_id}")
    return exit_code(error)


def exit_code(error: SlipwayError) -> int:
    match error:
        case ApiError():
            return STATUSES.get(error.status, REFUSED if error.status < 500 else FAILED)
        case NotReached():
            return NOT_REACHED
        case TimedOut():
            return TIMED_OUT
        case Unreachable():
            return UNREACHABLE
    return FAILED


def _as_json(error: SlipwayError) -> dict[str, object]:
    if isinstance(error, ApiError):
        errors = [problem._asdict() for problem in error.errors]
        return {"code": error.code, "status": error.status, "detail": error.detail, "errors": errors, "request_id": error.request_id}
    codes = {NOT_REACHED: "not_reached", TIMED_OUT: "timed_out", UNREACHABLE: "unreachable"}
    return {"code": codes.get(exit_code(error), "failed"), "detail": str(error)}


def _tell_json(error: dict[str, object]) -> None:
    click.echo(plain(json.dumps({"error": error}, ensure_ascii=False)), err=True)


if __name__ == "__main__":
    main()
