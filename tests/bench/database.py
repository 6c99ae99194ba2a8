"""``python -m tests.bench.database``: measures pages and controller on the database of ``DATABASE_URL``; prints JSON."""

from __future__ import annotations

import json
import logging
import os
import sys

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    logging.disable(logging.INFO)
    from django.core.management import call_command
    from django.test.utils import override_settings

    from compute import clusters
    from tests.bench import controller, pages
    from tests.bench.data import Population

    driver = controller.QuietDriver()
    clusters._build = lambda *_: driver  # type: ignore[assignment]
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    files = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    call_command("migrate", verbosity=0)
    with override_settings(STORAGES={"default": files, "staticfiles": plain}):
        population = Population()
        found = {"pages": pages.measure(population), "controller": controller.measure(population, driver)}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
