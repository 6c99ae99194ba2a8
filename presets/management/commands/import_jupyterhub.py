"""JupyterHub's profile_list into the catalog."""

from presets.exchange import Format
from presets.management.import_command import ImportCommand


class Command(ImportCommand):
    help = (
        "Preview what a JupyterHub profile_list (a list by itself, or in the Helm chart's values) would create or change in the "
        "catalog, and what it has that can't be carried; with --apply, do it. Safe to repeat."
    )
    formats = Format.JUPYTERHUB
