"""Image references: what a container runtime can pull, pinned by tag or digest, or a local recipe."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from presets.validators import validate_image_reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    "value",
    [
        "local:jupyterlab",
        "quay.io/jupyter/minimal-notebook:2026-09-07",
        "rocker/rstudio:4.5.2",
        "python:3.12",
        f"registry.example.com:5000/team/image@{DIGEST}",
        f"quay.io/x/y:1@{DIGEST}",
    ],
)
def test_pinned_references_and_recipes_are_accepted(value: str) -> None:
    validate_image_reference(value)


@pytest.mark.parametrize(
    "value",
    ["", "local:", "local:UP", "local:a/b", "python", "quay.io/x/y", "quay.io/X/y:1", "a b:1", "x:1\n", " x:1", "x:", "x@sha256:short"],
)
def test_others_are_refused_with_a_sentence(value: str) -> None:
    with pytest.raises(ValidationError):
        validate_image_reference(value)


@given(st.text(max_size=40) | st.text(alphabet="ab.:/@-_ \n", max_size=20))
def test_no_text_crashes_it(value: str) -> None:
    try:
        validate_image_reference(value)
    except ValidationError:
        return
    assert value.isascii()
    assert not any(character.isspace() for character in value)
