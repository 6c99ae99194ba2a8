from django.apps import AppConfig


class SessionsConfig(AppConfig):
    name = "sessions"
    # The label "sessions" is taken by django.contrib.sessions.
    label = "notebook_sessions"
    verbose_name = "Sessions"
    default_auto_field = "django.db.models.BigAutoField"
