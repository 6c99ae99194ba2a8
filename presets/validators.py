"""Checks of catalog values that only the catalog needs."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from docker_image.reference import InvalidReference, Reference

LOCAL_PREFIX = "local:"


def validate_image_reference(value: str) -> None:
    """A container image reference such as ``quay.io/jupyter/minimal-notebook:2026-11-02``, or ``local:NAME``."""
    if value.startswith(LOCAL_PREFIX):
        if not re.fullmatch(r"local:[a-z0-9]+(-[a-z0-9]+)*", value):
            raise ValidationError("Write a local recipe as local:NAME, such as local:jupyterlab.", code="image_local")
        return
    if any(character.isspace() for character in value):
        raise ValidationError("Write the reference without spaces.", code="image_reference")
    try:
        reference = Reference.parse_normalized_named(value)
    except InvalidReference as error:
        raise ValidationError(f"This is not an image reference: {error}.", code="image_reference") from None
    if not (reference.get("tag") or reference.get("digest")):
        raise ValidationError("Name a tag or a digest, so that everyone gets the same image.", code="image_tag")
