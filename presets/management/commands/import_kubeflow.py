"""Kubeflow's WorkspaceKinds and PodDefaults into the catalog."""

from presets.exchange import Format
from presets.management.import_command import ImportCommand


class Command(ImportCommand):
    help = (
        "Preview what WorkspaceKinds (kubeflow.org/v1beta1) and PodDefaults (v1alpha1) would create or change in the catalog, and "
        "what they have that can't be carried; with --apply, do it. Safe to repeat."
    )
    formats = Format.KUBEFLOW
