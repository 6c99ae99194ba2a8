"""Addresses below ``/w/<workspace>/``."""

from django.urls import path

from storage import views

app_name = "storage"
urlpatterns = [
    path("volumes/", views.volumes, name="volumes"),
    path("volumes/new/", views.volume_new, name="volume_new"),
    path("volumes/trash/", views.trash, name="trash"),
    path("volumes/<int:pk>/delete/", views.volume_delete, name="volume_delete"),
    path("volumes/<int:pk>/restore/", views.volume_restore, name="volume_restore"),
    path("volumes/<int:pk>/purge/", views.volume_purge, name="volume_purge"),
    path("secrets/", views.secrets, name="secrets"),
    path("secrets/write/", views.secret_write, name="secret_write"),
    path("secrets/<int:pk>/delete/", views.secret_delete, name="secret_delete"),
]
