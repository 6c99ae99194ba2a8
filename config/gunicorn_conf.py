"""gunicorn's own lines look like all others: ``--config python:config.gunicorn_conf``. It must not need Django's settings."""

from __future__ import annotations

import os

from config import logs

logconfig_dict = logs.configuration(os.environ.get("SLIPWAY_LOG_FORMAT") or "line", "INFO")
