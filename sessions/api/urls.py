"""The addresses of the API, below ``/api/v1/``. None ends with a slash."""

from django.urls import path, re_path

from sessions.api import docs, me, tokens, views, workspaces

app_name = "api"
inside = "workspaces/<slug:workspace>"
urlpatterns = [
    path("openapi.json", docs.openapi, name="openapi"),
    path("me", me.Me.as_view(), name="me"),
    path("tokens", tokens.Tokens.as_view(), name="tokens"),
    path("tokens/<slug:token>", tokens.Token.as_view(), name="token"),
    path("workspaces", workspaces.Workspaces.as_view(), name="workspaces"),
    path(inside, workspaces.OneWorkspace.as_view(), name="workspace"),
    re_path("", views.unknown, name="unknown"),
]
