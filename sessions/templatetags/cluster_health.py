"""The health panel, for pages of the admin whose view is Django's own."""

from __future__ import annotations

from typing import Any

from django import template

from sessions.cluster_health import look

register = template.Library()


@register.inclusion_tag("admin/compute/cluster/health_panel.html", takes_context=True)
def cluster_health(context: dict[str, Any]) -> dict[str, Any]:
    """Every cluster's row. One query."""
    return {"rows": look(), "perms": context["perms"]}
