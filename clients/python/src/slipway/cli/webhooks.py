"""Who is told of the workspace's sessions, and what became of what was sent."""

from __future__ import annotations

from itertools import islice

import click

from slipway.cli.asking import Asking, in_workspace
from slipway.cli.completion import webhook_names
from slipway.cli.output import ago, say, show_json, table, tell

PHASES = ("Pending", "Running", "Paused", "Failed", "Terminating", "Unknown")
webhook_name = click.argument("name", shell_complete=webhook_names)


@click.group()
def webhooks() -> None:
    """Tell other programs of the workspace's sessions. For its admins, with a token that has the scope admin."""


@webhooks.command("list")
@in_workspace
def list_webhooks(asking: Asking) -> None:
    """List the workspace's webhooks."""
    found = list(asking.workspace.webhooks.list())
    if asking.wants_json:
        show_json(found)
        return
    rows = [
        (one.name, "on" if one.enabled else "off", str(one.failures or ""), ", ".join(one.phases) or "all", ago(one.created_at), one.url)
        for one in found
    ]
    table(("WEBHOOK", "STATE", "FAILURES", "PHASES", "AGE", "URL"), rows, right=("FAILURES", "AGE"))


@webhooks.command()
@click.argument("name")
@click.argument("url")
@click.option("--phase", "phases", type=click.Choice(PHASES), multiple=True, help="Tell it of this phase; repeat for more. Default: all.")
@in_workspace
def create(asking: Asking, name: str, url: str, phases: tuple[str, ...]) -> None:
    """Make a webhook, and print its secret: it can't be shown again."""
    asking.option_of = lambda problem: {"name": "NAME", "url": "URL", "phases": "--phase"}.get(problem.field, problem.field)
    made = asking.workspace.webhooks.create(name, url, phases)
    if asking.wants_json:
        show_json(made)
    elif made.secret is None:
        tell(f"{made.name} is there, but the answer with its secret got lost: make a new secret on its page.")
    else:
        tell(f"{made.name} is there. Its events are signed with this secret, which is shown this once:")
        say(made.secret)


@webhooks.command()
@webhook_name
@in_workspace
def delete(asking: Asking, name: str) -> None:
    """Delete the webhook NAME with its deliveries. What waits is not sent any more."""
    asking.workspace.webhooks.delete(name)
    if asking.wants_json:
        show_json({"name": name})
    else:
        say(f"{name} is deleted.")


@webhooks.command()
@webhook_name
@in_workspace
def test(asking: Asking, name: str) -> None:
    """Send the webhook NAME a test event."""
    sent = asking.workspace.webhooks.test(name)
    if asking.wants_json:
        show_json(sent)
    else:
        say(f"{sent.id} is queued. What becomes of it: slipway webhooks deliveries {name}")


@webhooks.command()
@webhook_name
@click.option("--status", type=click.Choice(("pending", "delivered", "failed")), default=None, help="With this outcome.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, metavar="ROWS", help="The latest.")
@in_workspace
def deliveries(asking: Asking, name: str, status: str | None, limit: int) -> None:
    """List what was, or is to be, sent to the webhook NAME, the latest first."""
    found = list(islice(asking.workspace.webhooks.deliveries(name, status or ""), limit))
    if asking.wants_json:
        show_json(found)
        return
    rows = [
        (one.id, one.type, one.session, one.status, str(one.attempts), ago(one.created_at), one.error or str(one.response_code or ""))
        for one in found
    ]
    table(("DELIVERY", "TYPE", "SESSION", "STATUS", "TRIES", "AGE", "LAST ANSWER"), rows, right=("TRIES", "AGE"))


@webhooks.command()
@webhook_name
@click.argument("delivery", type=click.UUID)
@in_workspace
def replay(asking: Asking, name: str, delivery: object) -> None:
    """Send DELIVERY to the webhook NAME again, with the same id."""
    sent = asking.workspace.webhooks.replay(name, str(delivery))
    if asking.wants_json:
        show_json(sent)
    else:
        say(f"{sent.id} is queued again.")
