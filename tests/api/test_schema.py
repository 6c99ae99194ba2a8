"""The OpenAPI document: valid, complete, and true to its own examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from compute.models import Scope
from sessions.api.problems import KINDS
from sessions.api.schema import description
from tests.api.conftest import Api

METHODS = ("get", "post", "put", "patch", "delete")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in description()["paths"].items():
        for method in METHODS:
            if method in methods:
                yield path, method, methods[method]


OPERATIONS = [pytest.param(declared, id=declared["operationId"]) for _, _, declared in operations()]


def test_it_is_openapi_3_1_and_valid(db: None) -> None:
    document = Api().get("openapi.json").data
    assert document["openapi"].startswith("3.1")
    validate_schema(document)


def test_names_are_unique_and_paths_plain() -> None:
    ids = [declared["operationId"] for _, _, declared in operations()]
    assert len(ids) == len(set(ids))
    assert not [path for path, _, _ in operations() if path.endswith("/")]


@pytest.mark.parametrize("declared", OPERATIONS)
def test_every_operation_is_described(declared: dict[str, Any]) -> None:
    assert declared["summary"]
    assert declared["description"].partition("\n")[0]
    assert set(declared["x-required-scope"]) <= set(Scope.values)
    codes = {
        example["value"]["code"]
        for response in declared["responses"].values()
        for example in response.get("content", {}).get("application/problem+json", {}).get("examples", {}).values()
    }
    assert {"not_authenticated", "rate_limited", "server_error"} <= codes <= set(KINDS)


@pytest.mark.parametrize("declared", OPERATIONS)
def test_every_example_is_what_the_schema_says(declared: dict[str, Any]) -> None:
    contents = [response["content"] for response in declared["responses"].values() if "content" in response]
    contents += [declared["requestBody"]["content"]] if "requestBody" in declared else []
    for content in contents:
        for media in content.values():
            assert media["examples"]
            for example in media["examples"].values():
                checker = Draft202012Validator({**media["schema"], "components": description()["components"]})
                checker.validate(example["value"])


def test_the_document_holds_no_secret() -> None:
    assert "slw_9" not in json.dumps(description())
