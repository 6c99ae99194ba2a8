"""Writes every encrypted value again with the newest key."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db import models, transaction

from storage.encryption import EncryptedJSONField, EncryptedTextField

BATCH = 200


class Command(BaseCommand):
    help = (
        "Write every encrypted value again with the first of SLIPWAY_ENCRYPTION_KEYS. Put the new key first, restart, "
        "run this, then drop the old key. Safe to repeat and to interrupt."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        for model in apps.get_models():
            fields = [f.name for f in model._meta.concrete_fields if isinstance(f, (EncryptedTextField, EncryptedJSONField))]
            if fields:
                rows = rotate(model, fields)
                self.stdout.write(f"{model._meta.label}: {rows} rows")


def rotate(model: type[models.Model], fields: list[str]) -> int:
    """Returns how many rows were written. A batch's rows are locked while they are read and written."""
    last: Any = None
    total = 0
    while True:
        with transaction.atomic():
            rows = model._default_manager.select_for_update().only("pk", *fields).order_by("pk")
            batch = list((rows.filter(pk__gt=last) if last is not None else rows)[:BATCH])
            # bulk_update leaves `auto_now` fields alone: nobody changed these rows.
            model._default_manager.bulk_update(batch, fields)
        total += len(batch)
        if len(batch) < BATCH:
            return total
        last = batch[-1].pk
