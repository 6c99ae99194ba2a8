from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notebook_sessions", "0003_controller_lease")]

    operations = [
        migrations.AddField("clusterreport", "asked_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField("clusterreport", "version", models.CharField(blank=True, max_length=100)),
        migrations.AddField("clusterreport", "health_problems", models.JSONField(blank=True, default=list)),
        migrations.AddField("clusterreport", "health_notes", models.JSONField(blank=True, default=list)),
    ]
