"""How log lines look: one line of text, or one JSON object per line (``SLIPWAY_LOG_FORMAT``).

gunicorn's main process reads this module too (``config.gunicorn_conf``): it must not need Django's settings.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from compute import log_context

FORMATS = ("line", "json")
ACCESS = "slipway.access"


class JsonFormatter(logging.Formatter):
    """One object per line: at, level, logger, message, what is bound (``compute.log_context``), and a record's ``fields``.

    Other extras of a record are left out: Django puts whole requests there.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **log_context.current(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class LineFormatter(logging.Formatter):
    """For people: the time, the level, the logger, the message, and in brackets what is bound."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {**log_context.current(), **getattr(record, "fields", {})}
        told = " ".join(f"{name}={value}" for name, value in fields.items() if name not in ("method", "path", "status"))
        # What users chose to type must not look like a line of its own.
        message = super().formatMessage(record).replace("\n", "\\n")
        return f"{message} [{told}]" if told else message


def configuration(form: str, level: str) -> dict[str, Any]:
    """For ``logging.config.dictConfig``: everything goes to stderr, in this form."""
    quiet = {"level": "WARNING", "handlers": ["stderr"], "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": LineFormatter}, "json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "stream": sys.stderr, "formatter": form}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "axes": {"level": "WARNING"},
            "django.request": {"level": "ERROR"},
            "django-q": quiet,
            # It has its own handler and words for these.
            "gunicorn.error": {"level": "INFO", "handlers": ["stderr"], "propagate": False},
            "gunicorn.access": quiet,
        },
    }
