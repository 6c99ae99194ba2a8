"""Values of a preset's variables, which may name the place where a session is served, as a WorkspaceKind's do."""

from __future__ import annotations

import re

# Go's template action, with its trim markers: {{ httpPathPrefix "jupyterlab" }}, and {{ .PathPrefix }} of alpha.3.
PATH_PREFIX = re.compile(r"""\{\{(-\s)?\s*(?:httpPathPrefix\s+(?:"[^"{}]*"|`[^`{}]*`)|\.PathPrefix)\s*?(\s-)?\}\}""")
ROOT = "/"  # each session has an origin of its own


def render(value: str) -> str:
    """What a session gets: the path prefix is the root of its origin. A trim marker takes the blanks at its side."""
    rendered, end, trims = "", 0, False
    for action in PATH_PREFIX.finditer(value):
        before = value[end : action.start()]
        before = before.lstrip() if trims else before
        rendered += (before.rstrip() if action[1] else before) + ROOT
        end, trims = action.end(), bool(action[2])
    rest = value[end:]
    return rendered + (rest.lstrip() if trims else rest)


def is_understood(value: str) -> bool:
    """Whether nothing of a Go template is left once the value is rendered."""
    return "{{" not in PATH_PREFIX.sub("", value)
