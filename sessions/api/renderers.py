"""Answers that are no JSON, where an operation declares them."""

from __future__ import annotations

from typing import Any

from rest_framework.renderers import BaseRenderer, JSONRenderer


class PlainTextRenderer(BaseRenderer):
    """``Accept: text/plain``. What is no text is a problem, which stays JSON and says so itself (``problems.CONTENT_TYPE``)."""

    media_type = "text/plain"
    format = "text"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        return data.encode() if isinstance(data, str) else JSONRenderer().render(data)
