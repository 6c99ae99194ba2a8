"""The admin's page of how every cluster is; a panel of its start page, too. Only this layer knows what the controller said."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_safe

from compute.admin import ClusterAdmin
from compute.models import Cluster

admin.site.unregister(Cluster)


@admin.register(Cluster)
class ClusterWithHealthAdmin(ClusterAdmin):
    change_list_template = "admin/compute/cluster/change_list.html"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.health_view)
        return [path("health/", view, name="compute_cluster_health"), *super().get_urls()]

    @method_decorator(require_safe)
    def health_view(self, request: Any) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": "Cluster health"}
        return TemplateResponse(request, "admin/compute/cluster/health.html", context)
