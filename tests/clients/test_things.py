"""What the client makes of the API's answers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
import slipway
from slipway import UnexpectedAnswer, as_json
from slipway.sessions import news
from slipway.shapes import parse

from config.templatetags.slipway import money
from sessions.api import catalog_examples, session_examples, webhook_examples
from sessions.api.me import ME_EXAMPLE
from sessions.api.secrets import SECRET_EXAMPLE
from sessions.api.slurm import SLURM_EXAMPLE
from sessions.api.tokens import TOKEN_EXAMPLE
from sessions.api.volumes import TRASHED_EXAMPLE, VOLUME_EXAMPLE
from sessions.api.workspaces import QUOTA_EXAMPLE, WORKSPACE_EXAMPLE

EXAMPLES = [
    (slipway.Me, ME_EXAMPLE),
    (slipway.Token, TOKEN_EXAMPLE),
    (slipway.Workspace, WORKSPACE_EXAMPLE),
    (slipway.Workspace, {**WORKSPACE_EXAMPLE, "quota": [QUOTA_EXAMPLE]}),
    (slipway.Preset, catalog_examples.PRESET),
    (slipway.ComputePool, catalog_examples.COMPUTE_POOL),
    (slipway.SlurmCluster, catalog_examples.SLURM_CLUSTER),
    (slipway.Configuration, catalog_examples.CONFIGURATION),
    (slipway.Volume, VOLUME_EXAMPLE),
    (slipway.TrashedVolume, TRASHED_EXAMPLE),
    (slipway.Secret, SECRET_EXAMPLE),
    (slipway.Session, session_examples.SESSION),
    (slipway.Validation, session_examples.VALIDATION),
    (slipway.OpenedSession, session_examples.OPENED),
    (slipway.Log, session_examples.LOG),
    (slipway.Events, {"items": [session_examples.EVENT], "total": 1, "problem": ""}),
    (slipway.AttachedSlurm, SLURM_EXAMPLE),
    (slipway.AttachedSlurm, {**SLURM_EXAMPLE, "nodes": None, "jobs": None, "jobs_total": None}),
    (slipway.Activity, session_examples.ACTIVITY),
    (slipway.Webhook, webhook_examples.WEBHOOK),
    (slipway.WebhookWithSecret, webhook_examples.WITH_SECRET),
    (slipway.Delivery, webhook_examples.DELIVERY),
    (slipway.Delivery, webhook_examples.PENDING),
]


@pytest.mark.parametrize(("cls", "example"), EXAMPLES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_example_of_the_schema_goes_in_and_comes_out_whole(cls: type[Any], example: dict[str, Any]) -> None:
    assert as_json(parse(cls, example)) == example


def test_a_newer_servers_fields_are_left_out_and_missing_ones_are_said() -> None:
    assert parse(slipway.Session, {**session_examples.SESSION, "mood": "sunny"}).name == "sales-forecast"
    with pytest.raises(UnexpectedAnswer, match=r"no Session that this version of the client understands.*phase"):
        parse(slipway.Session, {name: value for name, value in session_examples.SESSION.items() if name != "phase"})
    with pytest.raises(UnexpectedAnswer, match="no Session"):
        parse(slipway.Session, ["no", "object"])


@pytest.mark.parametrize("amount", ["0", "0.00042", "0.025", "0.24", "0.2", "0.9996", "1.2", "1234.565"])
def test_prices_look_as_on_the_pages(amount: str, settings: Any) -> None:
    settings.SLIPWAY_CURRENCY = "$"
    assert str(slipway.Price(Decimal(amount), "$")) == money(amount)


@pytest.mark.parametrize(
    ("seen", "now", "expected"),
    [
        ([], ["a"], ["a"]),
        (["a"], ["a"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b", "c"], ["b", "c", "d"], ["d"]),  # the first has dropped out
        (["a", "a"], ["a", "a", "a"], ["a"]),
        (["a", "b"], ["x", "y"], ["x", "y"]),  # it has started again
        (["a"], [], []),
    ],
)
def test_which_lines_of_a_log_are_new(seen: list[str], now: list[str], expected: list[str]) -> None:
    assert news(seen, now) == expected
