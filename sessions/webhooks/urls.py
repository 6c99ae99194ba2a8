"""Addresses below ``/w/<workspace>/webhooks/``. No webhook is named ``new``."""

from django.urls import path

from sessions.webhooks import views

app_name = "webhooks"
urlpatterns = [
    path("", views.webhook_list, name="list"),
    path("new/", views.new, name="new"),
    path("<slug:name>/", views.detail, name="detail"),
    path("<slug:name>/edit/", views.edit, name="edit"),
    path("<slug:name>/delete/", views.delete, name="delete"),
    path("<slug:name>/secret/", views.secret, name="secret"),
    path("<slug:name>/test/", views.test, name="test"),
    path("<slug:name>/deliveries/<uuid:event>/", views.delivery, name="delivery"),
    path("<slug:name>/deliveries/<uuid:event>/replay/", views.replay, name="replay"),
]
