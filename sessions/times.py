"""Times in rows that hold work up: a lease until then, a task queued since then."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q


def outside(field: str, since: datetime, until: datetime) -> Q:
    """The time is not set, or not between these two. Give as ``until`` more than could have been set: a time beyond it is a clock
    that jumped, and must not hold anything up."""
    return Q(**{field: None}) | Q(**{f"{field}__lt": since}) | Q(**{f"{field}__gt": until})
