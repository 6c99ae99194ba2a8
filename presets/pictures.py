"""Pictures of presets: SVG or PNG, small, and shown in ways that let nothing in them act.

They are stored by their content and never change, so that a browser may keep one for good and history can name it.
"""

from __future__ import annotations

import base64
import re
from hashlib import sha256
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from django.core.exceptions import ValidationError
from django.db import models

MAX_BYTES = 64 * 1024
SVG, PNG = "image/svg+xml", "image/png"
DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)(?P<parameters>(?:;[\w.=+-]+)*?)(?P<base64>;base64)?,(?P<content>.*)", re.DOTALL)
SVG_ROOT = "{http://www.w3.org/2000/svg}svg"
# Entities can unfold to very much; nothing that draws a picture writes any.
DECLARATIONS = re.compile(r"<!ENTITY|<!DOCTYPE[^>]*\[", re.IGNORECASE)


class Picture(models.Model):
    """``digest`` is of type and content. Rows are only ever added: the history of presets names them."""

    digest = models.CharField(max_length=32, primary_key=True)
    media_type = models.CharField(max_length=20, choices=[(SVG, "SVG"), (PNG, "PNG")])
    content = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.get_media_type_display()}, {len(self.content)} bytes"

    @property
    def data_url(self) -> str:
        return f"data:{self.media_type};base64,{base64.b64encode(bytes(self.content)).decode()}"


def picture_of(content: bytes) -> Picture:
    """The unsaved picture of a file's content. Raises ``ValidationError`` for what is none, or is too large."""
    if len(content) > MAX_BYTES:
        raise ValidationError(f"A picture may have at most {MAX_BYTES // 1024} KiB.", code="picture_large")
    media_type = PNG if _is_png(content) else SVG if _is_svg(content) else ""
    if not media_type:
        raise ValidationError("This is no SVG and no PNG.", code="picture_type")
    return Picture(digest=sha256(media_type.encode() + b"\n" + content).hexdigest()[:32], media_type=media_type, content=content)


def from_data_url(url: str) -> Picture:
    """The unsaved picture that the URL holds. Raises ``ValidationError``."""
    found = DATA_URL.fullmatch(url.strip())
    if found is None:
        raise ValidationError("This data: URL can't be read.", code="picture_url")
    content = unquote_to_bytes(found["content"])
    if found["base64"]:
        try:
            content = base64.b64decode(b"".join(content.split()), validate=True)
        except ValueError:
            raise ValidationError("This data: URL can't be read.", code="picture_url") from None
    return picture_of(content)


def _is_png(content: bytes) -> bool:
    return content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR"


def _is_svg(content: bytes) -> bool:
    try:
        text = content.decode("utf-8-sig")
        return not DECLARATIONS.search(text) and ElementTree.fromstring(text).tag == SVG_ROOT  # noqa: S314 (no entities, and short)
    except (ElementTree.ParseError, ValueError):
        return False
