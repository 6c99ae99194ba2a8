"""Bring the starter catalog, without touching what is there."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction
from django.db.models import Max, QuerySet

from presets.models import Configuration, ConfigurationVariable, Image, PodSize, Preset
from presets.seed import CONFIGURATIONS, POD_SIZES, PRESETS, Fields


class Command(BaseCommand):
    help = (
        "Creates the starter presets, images, pod sizes and configurations that never were in this database. Safe to repeat: "
        "what admins edited, renamed or deleted stays so."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.created = self.kept = 0
        with transaction.atomic():
            for fields, images in PRESETS:
                self._preset(fields, images)
            for fields, variables in CONFIGURATIONS:
                self._configuration(fields, variables)
        self.stdout.write(f"Catalog: {self.created} created, {self.kept} kept as they are.")

    def _preset(self, fields: Fields, images: list[Fields]) -> None:
        preset, is_new = self._once(Preset.objects.all(), fields)
        if preset is None:
            return
        for number, entry in enumerate(images):
            self._once(Image.objects.filter(preset=preset), entry, preset=preset, is_default=is_new and number == 0)
        for number, entry in enumerate(POD_SIZES):
            self._once(PodSize.objects.filter(preset=preset), entry, preset=preset, is_default=is_new and number == 0)

    def _configuration(self, fields: Fields, variables: dict[str, str]) -> None:
        configuration, is_new = self._once(Configuration.objects.all(), fields)
        if configuration is not None and is_new:
            ConfigurationVariable.objects.bulk_create(
                ConfigurationVariable(configuration=configuration, name=name, value=value) for name, value in variables.items()
            )

    def _once(self, siblings: QuerySet[Any], fields: Fields, **parent: Any) -> tuple[Any, bool]:
        """The row with this slug among its siblings, and whether it was made now. None if an admin renamed or deleted it."""
        row = siblings.filter(slug=fields["slug"]).first()
        scope = {"preset_id": parent["preset"].pk} if "preset" in parent else {}
        if row is not None or siblings.model.history.filter(slug=fields["slug"], **scope).exists():
            self.kept += 1
            return row, False
        last = siblings.aggregate(last=Max("position"))["last"] or 0
        row = siblings.model(position=last + 1, **fields, **parent)
        row.full_clean()
        row.save()
        self.created += 1
        self.stdout.write(f"created {row._meta.verbose_name} {row}" + (f" of {parent['preset']}" if parent else ""))
        return row, True
