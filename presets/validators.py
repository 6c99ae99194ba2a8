"""Checks of catalog values that only the catalog needs."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError

from compute.validators import validate_container_image

LOCAL_PREFIX = "local:"


def validate_image_reference(value: str) -> None:
    """A container image reference such as ``quay.io/jupyter/minimal-notebook:2026-11-02``, or ``local:NAME``."""
    if value.startswith(LOCAL_PREFIX):
        if not re.fullmatch(r"local:[a-z0-9]+(-[a-z0-9]+)*", value):
            raise ValidationError("Write a local recipe as local:NAME, such as local:jupyterlab.", code="image_local")
        return
    validate_container_image(value)


def validate_probe_path(value: str) -> None:
    """The path of a URL, with a query if need be, as it goes over the wire."""
    if not re.fullmatch(r"/[!-~]*", value, re.ASCII):
        raise ValidationError("Write the path of a URL, such as /api: it begins with / and has no blanks.", code="probe_path")
