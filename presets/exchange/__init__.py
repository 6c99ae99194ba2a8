"""Catalogs from elsewhere and to elsewhere: Kubeflow's WorkspaceKinds and PodDefaults, JupyterHub's profile_list.

``preview`` tells what an import would do, field by field, and what it can't carry; ``apply`` does it. ``export`` writes
Kubeflow's documents. Reading (``sources``) is free of rows, comparing (``plan``) writes nothing.
"""

from presets.exchange.export import Export, export
from presets.exchange.plan import Plan
from presets.exchange.reading import MAX_BYTES, Source
from presets.exchange.services import PERMISSIONS, apply, preview, require_importer
from presets.exchange.sources import Format, Options

__all__ = ["MAX_BYTES", "PERMISSIONS", "Export", "Format", "Options", "Plan", "Source", "apply", "export", "preview", "require_importer"]
