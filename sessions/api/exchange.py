"""Catalogs from elsewhere and to elsewhere: Kubeflow's WorkspaceKinds and PodDefaults, JupyterHub's profile_list."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Scope
from presets import exchange, ides
from presets.exchange.export import exported_configurations, exported_presets
from sessions.api.operations import operation
from sessions.api.serializers import Answer, Body, Flag, Query, Text
from sessions.api.views import View

SCOPES = (Scope.CATALOG,)


class ImportBody(Body):
    documents = Text(help_text="YAML, with one document or several: WorkspaceKinds, PodDefaults, or a JupyterHub profile_list.")
    file = Text(required=False, help_text="What messages call it; absent: the request.")
    ide = serializers.ChoiceField(ides.CHOICES, required=False, help_text="Which IDE the presets are of, where the documents do not tell.")
    prefix = Text(required=False, help_text="What the names of all imported rows begin with, such as team-.")
    apply = Flag(default=False, help_text="false: a preview, which changes nothing.")
    digest = Text(required=False, help_text="Of the preview that you have seen: refused when anything else would be done now.")


class ExportQuery(Query):
    names = serializers.CharField(required=False, max_length=2000, help_text="Of presets and configurations, with commas; absent: all.")


class FieldChangeSerializer(Answer):
    """In words for people; of a variable's value neither the old nor the new one."""

    field = serializers.CharField(source="label")
    old = serializers.CharField()
    new = serializers.CharField()


class RowChangeSerializer(Answer):
    kind = serializers.CharField(source="noun", help_text="preset, image, pod size, configuration …")
    name = serializers.CharField()
    is_new = serializers.BooleanField()
    changes = FieldChangeSerializer(source="fields", many=True)


class NoteSerializer(Answer):
    """A field that can't be carried."""

    path = serializers.CharField()
    value = serializers.CharField(help_text="A summary; never a secret.")
    why = serializers.CharField()


class ImportItemSerializer(Answer):
    kind = serializers.CharField(source="noun", help_text="preset or configuration.")
    name = serializers.CharField(source="draft.slug")
    display_name = serializers.CharField(source="name")
    place = serializers.CharField(source="draft.place", help_text="The document that it comes from.")
    is_new = serializers.BooleanField()
    rows = RowChangeSerializer(source="changes", many=True, help_text="Created or changed; empty: the catalog has it just so.")
    left = serializers.ListField(child=serializers.CharField(), help_text="In the catalog, not in the document: left as they are.")
    not_carried = NoteSerializer(source="notes", many=True)


class ImportSerializer(Answer):
    applied = serializers.BooleanField()
    is_change = serializers.BooleanField(help_text="false: there was nothing to do.")
    digest = serializers.CharField(help_text="Send it with apply, to do exactly this or nothing.")
    items = ImportItemSerializer(many=True)


class ExportedSerializer(Answer):
    file_name = serializers.CharField()
    document = serializers.JSONField(allow_null=True, help_text="A WorkspaceKind or a PodDefault; null where it can be none.")
    not_carried = NoteSerializer(source="notes", many=True)


class ExportSerializer(Answer):
    items = ExportedSerializer(many=True)


IMPORT_BODY_EXAMPLE = {
    "documents": "apiVersion: kubeflow.org/v1alpha1\nkind: PodDefault\nmetadata:\n  name: proxy\nspec:\n  desc: Proxy\n  selector: {}\n",
    "file": "proxy.yaml",
    "apply": False,
}
NOTE_EXAMPLE = {"path": "spec.labels", "value": "1 set: team", "why": "Slipway sets the labels of a session itself."}
IMPORT_EXAMPLE: dict[str, Any] = {
    "applied": False,
    "is_change": True,
    "digest": "3f0c6c9d0d6b4b1f",
    "items": [
        {
            "kind": "configuration",
            "name": "proxy",
            "display_name": "Proxy",
            "place": "proxy.yaml, document 1",
            "is_new": True,
            "rows": [{"kind": "configuration", "name": "Proxy", "is_new": True, "changes": [{"field": "Name", "old": "", "new": "Proxy"}]}],
            "left": [],
            "not_carried": [NOTE_EXAMPLE],
        }
    ],
}
EXPORT_EXAMPLE: dict[str, Any] = {
    "items": [
        {
            "file_name": "poddefault-proxy.yaml",
            "document": {"apiVersion": "kubeflow.org/v1alpha1", "kind": "PodDefault", "metadata": {"name": "proxy"}},
            "not_carried": [],
        }
    ]
}


class CatalogImport(View):
    @operation(
        id="catalog_import",
        summary="Import a catalog",
        scopes=SCOPES,
        body=ImportBody,
        body_example=IMPORT_BODY_EXAMPLE,
        answer=ImportSerializer,
        example=IMPORT_EXAMPLE,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request) -> Response:
        """A preview, unless apply says to do it: all or nothing, and the same again changes nothing. For curators (staff)."""
        exchange.require_importer(request.user)
        wanted = self.body
        sources = [exchange.Source(wanted.get("file") or "the request", wanted["documents"])]
        options = exchange.Options(ide=wanted.get("ide", ""), prefix=wanted.get("prefix", ""))
        digest, done = wanted.get("digest", ""), wanted["apply"]
        plan = exchange.apply(request.user, sources, options, digest) if done else exchange.preview(sources, options)
        told = {"applied": done, "is_change": plan.is_change, "digest": plan.digest, "items": plan.items}
        return self.answer(told)


class CatalogExport(View):
    @operation(
        id="catalog_export",
        summary="Export the catalog",
        scopes=SCOPES,
        query=ExportQuery,
        answer=ExportSerializer,
        example=EXPORT_EXAMPLE,
        refusals=("forbidden",),
    )
    def get(self, request: Request) -> Response:
        """Presets as Kubeflow’s WorkspaceKinds and configurations as its PodDefaults, without secret values. For curators (staff)."""
        exchange.require_importer(request.user)
        presets, configurations = exported_presets(), exported_configurations()
        if names := set(filter(None, self.query.get("names", "").split(","))):
            presets, configurations = presets.filter(slug__in=names), configurations.filter(slug__in=names)
        return self.answer({"items": exchange.export(presets, configurations)})
