"""Every address of Slipway. ``tests/config/test_authorization.py`` fails on a route that it does not list."""

from django.contrib import admin
from django.urls import include, path

from config import views
from sessions import token_views
from sessions.api import docs

urlpatterns = [
    path("", views.home, name="home"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
    path("sign-in/", views.SignIn.as_view(), name="login"),
    path("sign-out/", views.SignOut.as_view(), name="logout"),
    path("account/tokens/", token_views.token_list, name="tokens"),
    path("account/tokens/new/", token_views.token_new, name="token_new"),
    path("account/tokens/<slug:token>/revoke/", token_views.token_revoke, name="token_revoke"),
    path("admin/", admin.site.urls),
    path("w/<slug:workspace>/presets/", include("presets.urls")),
    path("w/<slug:workspace>/", include("storage.urls")),
    path("w/<slug:workspace>/sessions/", include("sessions.urls")),
    path("w/<slug:workspace>/webhooks/", include("sessions.webhooks.urls")),
    path("gateway/", include("sessions.gateway_urls")),
    path("api/", docs.page, name="api-docs"),
    path("api/errors", docs.errors, name="api-errors"),
    path("api/v1/", include("sessions.api.urls")),
]
handler400 = "config.views.bad_request"
handler404 = "config.views.not_found"
handler500 = "config.views.server_error"
