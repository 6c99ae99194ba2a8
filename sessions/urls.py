"""Addresses below ``/w/<workspace>/sessions/``. A host ends in six random characters, so ``new`` is never one."""

from django.urls import path

from sessions import views, wizard_views

app_name = "sessions"
urlpatterns = [
    path("", views.session_list, name="list"),
    path("new/", wizard_views.new, name="new"),
    path("new/<uuid:draft_id>/<slug:step>/", wizard_views.draft, name="draft"),
    path("<slug:host>/", views.session_detail, name="detail"),
    path("<slug:host>/logs/", views.session_logs, name="logs"),
    path("<slug:host>/events/", views.session_events, name="events"),
    path("<slug:host>/slurm/", views.session_slurm, name="slurm"),
    path("<slug:host>/open/", views.session_open, name="open"),
    path("<slug:host>/pause/", views.session_pause, name="pause"),
    path("<slug:host>/resume/", views.session_resume, name="resume"),
    path("<slug:host>/delete/", views.session_delete, name="delete"),
]
