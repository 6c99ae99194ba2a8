"""The addresses of the API, below ``/api/v1/``. None ends with a slash."""

from django.urls import path, re_path

from sessions.api import (
    catalog,
    deliveries,
    docs,
    exchange,
    me,
    secrets,
    session_output,
    sessions,
    slurm,
    tokens,
    views,
    volumes,
    webhooks,
    workspaces,
)

app_name = "api"
inside = "workspaces/<slug:workspace>"
session = f"{inside}/sessions/<slug:name>"
webhook = f"{inside}/webhooks/<slug:webhook>"
urlpatterns = [
    path("openapi.json", docs.openapi, name="openapi"),
    path("me", me.Me.as_view(), name="me"),
    path("tokens", tokens.Tokens.as_view(), name="tokens"),
    path("tokens/<slug:token>", tokens.Token.as_view(), name="token"),
    path("catalog/import", exchange.CatalogImport.as_view(), name="catalog-import"),
    path("catalog/export", exchange.CatalogExport.as_view(), name="catalog-export"),
    path("workspaces", workspaces.Workspaces.as_view(), name="workspaces"),
    path(inside, workspaces.OneWorkspace.as_view(), name="workspace"),
    path(f"{inside}/presets", catalog.Presets.as_view(), name="presets"),
    path(f"{inside}/presets/<slug:preset>", catalog.OnePreset.as_view(), name="preset"),
    path(f"{inside}/compute-pools", catalog.ComputePools.as_view(), name="compute-pools"),
    path(f"{inside}/slurm-clusters", catalog.SlurmClusters.as_view(), name="slurm-clusters"),
    path(f"{inside}/configurations", catalog.Configurations.as_view(), name="configurations"),
    path(f"{inside}/volumes", volumes.Volumes.as_view(), name="volumes"),
    path(f"{inside}/volumes/<slug:volume>", volumes.OneVolume.as_view(), name="volume"),
    path(f"{inside}/trash", volumes.Trash.as_view(), name="trash"),
    path(f"{inside}/trash/<slug:pvc>", volumes.TrashedVolume.as_view(), name="trashed-volume"),
    path(f"{inside}/trash/<slug:pvc>/restore", volumes.RestoreVolume.as_view(), name="trashed-volume-restore"),
    path(f"{inside}/secrets", secrets.Secrets.as_view(), name="secrets"),
    path(f"{inside}/secrets/<slug:secret>", secrets.OneSecret.as_view(), name="secret"),
    path(f"{inside}/sessions", sessions.Sessions.as_view(), name="sessions"),
    path(f"{inside}/sessions/validate", sessions.Validate.as_view(), name="sessions-validate"),
    path(session, sessions.OneSession.as_view(), name="session"),
    path(f"{session}/slurm", slurm.SessionSlurm.as_view(), name="session-slurm"),
    path(f"{session}/pause", sessions.Pause.as_view(), name="session-pause"),
    path(f"{session}/resume", sessions.Resume.as_view(), name="session-resume"),
    path(f"{session}/open", sessions.Open.as_view(), name="session-open"),
    path(f"{session}/logs", session_output.Logs.as_view(), name="session-logs"),
    path(f"{session}/events", session_output.Events.as_view(), name="session-events"),
    path(f"{session}/activity", session_output.History.as_view(), name="session-activity"),
    path(f"{inside}/webhooks", webhooks.Webhooks.as_view(), name="webhooks"),
    path(webhook, webhooks.OneWebhook.as_view(), name="webhook"),
    path(f"{webhook}/secret", webhooks.NewSecret.as_view(), name="webhook-secret"),
    path(f"{webhook}/test", deliveries.TestEvent.as_view(), name="webhook-test"),
    path(f"{webhook}/deliveries", deliveries.Deliveries.as_view(), name="deliveries"),
    path(f"{webhook}/deliveries/<uuid:delivery>", deliveries.OneDelivery.as_view(), name="delivery"),
    path(f"{webhook}/deliveries/<uuid:delivery>/replay", deliveries.Replay.as_view(), name="delivery-replay"),
    re_path("", views.unknown, name="unknown"),
]
