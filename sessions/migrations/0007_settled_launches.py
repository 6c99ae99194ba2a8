from django.db import migrations
from django.db.models import F


def settle(apps, schema_editor):
    """Launches of before are not counted afterwards: when they came to their end is not known."""
    apps.get_model("notebook_sessions", "Session").objects.update(settled_revision=F("revision"))


class Migration(migrations.Migration):
    dependencies = [("notebook_sessions", "0006_tallies")]

    operations = [migrations.RunPython(settle, migrations.RunPython.noop)]
