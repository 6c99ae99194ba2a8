"""Settings for tests and type checks. `DATABASE_URL` chooses SQLite (unset) or PostgreSQL."""

import os

os.environ.setdefault("SLIPWAY_SECRET_KEY", "tests-" + "k" * 60)
os.environ.setdefault("SLIPWAY_ENCRYPTION_KEYS", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
os.environ.setdefault("SLIPWAY_URL", "http://localhost:8000")
os.environ.setdefault("SLIPWAY_APPS_URL", "http://apps.localhost:8000")
os.environ.setdefault("SLIPWAY_ALLOWED_HOSTS", "testserver")

from config.settings import *  # noqa: F403
