"""Every operation, with what its schema allows and with what it forbids, as a member and as an admin: no crash, no answer
that the schema does not tell of, nothing wrong taken and nothing right refused for its shape. schemathesis makes the requests.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from django.db import transaction
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

from compute import tokens
from compute.models import Scope, Workspace
from config.wsgi import application
from presets.models import Preset
from sessions.api.schema import description
from tests.config.authorization_cast import build
from tests.conftest import Cast
from tests.fakes import FakeDriver

# What stands in addresses: mostly something that is there.
THINGS = {
    "workspace": ["research", "other"],
    "preset": ["jupyterlab", "nothing"],
    "volume": ["scratch", "nothing"],
    "secret": ["WAREHOUSE_PASSWORD", "NOTHING"],
    "name": ["lab", "rest", "nothing"],
}
# Refusing what only the services can judge (422), and other methods' 405, are asserted elsewhere: by the parity test and
# tests/api/test_access.py. ``unsupported_method`` would ask without a token.
LEFT_OUT = [positive_data_acceptance, unsupported_method]


def described() -> dict[str, Any]:
    document: dict[str, Any] = deepcopy(description())
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)  # every request comes with the token; without one: tests/api/test_access.py
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path" and parameter["name"] in THINGS:
                    parameter["schema"] = {"type": "string", "enum": THINGS[parameter["name"]]}
    return document


schema = schemathesis.openapi.from_dict(described())
schema.app = application


@pytest.fixture(params=["colleague", "admin"])
def bearer(request: Any, cast: Cast, workspace: Workspace, preset: Preset, driver: FakeDriver, monkeypatch: Any, settings: Any) -> str:
    settings.SLIPWAY_API_RATE = 1_000_000
    build(cast, workspace, driver, monkeypatch)
    return tokens.create_token(getattr(cast, request.param), name="robot", scopes=list(Scope)).plain


@schema.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_it_answers_as_described(case: schemathesis.Case, bearer: str) -> None:
    with transaction.atomic():  # each request finds the world as it was
        response = case.call(headers={"Authorization": f"Bearer {bearer}"})
        transaction.set_rollback(True)
    assert "canary-" not in response.text
    case.validate_response(response, excluded_checks=LEFT_OUT)
