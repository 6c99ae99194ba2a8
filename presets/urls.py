"""Addresses below ``/w/<workspace>/presets/``."""

from django.urls import path

from presets import views

app_name = "presets"
urlpatterns = [
    path("", views.preset_list, name="list"),
    path("<slug:slug>/", views.preset_detail, name="detail"),
    path("<slug:slug>/pictures/<slug:digest>/", views.preset_picture, name="picture"),
]
