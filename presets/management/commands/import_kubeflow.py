"""Kubeflow's WorkspaceKinds and PodDefaults into the catalog."""

from argparse import ArgumentParser

from presets.exchange import Format
from presets.management.import_command import ImportCommand


class Command(ImportCommand):
    help = (
        "Preview what WorkspaceKinds (kubeflow.org/v1beta1) and PodDefaults (v1alpha1) would create or change in the catalog, and "
        "what they have that can't be carried; with --apply, do it. Safe to repeat."
    )
    formats = Format.KUBEFLOW

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--fetch-pictures", action="store_true", help="get icons and logos that the files name by a web address")
