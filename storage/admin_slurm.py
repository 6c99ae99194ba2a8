"""A Slurm cluster's page in the admin, with its signing key (to write, never to read) and the test of all its settings."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.contrib.humanize.templatetags.humanize import naturaltime
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.forms.utils import ErrorDict
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from compute.admin_slurm import SlurmClusterAdmin, SlurmClusterForm
from compute.errors import Refused
from compute.models import SlurmCluster
from storage import slurm_keys
from storage.models import SlurmKey
from storage.slurm_trial import try_out

TRIED = "slurm_trial"  # the key of the sign-in's session that carries a test's outcome to the next page
AT = {"controllers": "controllers", "key": "key_file", "accounts": "user_mapping"}


class SlurmClusterWithKeyForm(SlurmClusterForm):
    """The key goes in and never comes out again; the stored one is not even read."""

    key_file = forms.FileField(
        label="Signing key",
        required=False,
        max_length=None,
        allow_empty_file=True,
        widget=forms.FileInput,
        help_text="The file that the controller’s AuthAltParameters=jwt_key=… names. Leave empty to keep the stored one.",
    )
    key_text = forms.CharField(
        label="or as base64",
        required=False,
        max_length=4 * slurm_keys.LONGEST,
        widget=forms.PasswordInput(
            render_value=False, attrs={"autocomplete": "new-password", "spellcheck": "false", "class": "vTextField"}
        ),
        help_text=mark_safe("What <code>base64 -w0 jwt_hs256.key</code> prints."),
    )
    new_key: bytes | None = None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        upload, text = cleaned.get("key_file"), cleaned.get("key_text")
        if upload and text:
            self.add_error("key_text", "Give the file or its base64, not both.")
        elif upload or text:
            self._take(upload, text)
        elif cleaned.get("enabled") and not slurm_keys.has_key(self.instance):
            self.add_error("key_file", "It can be enabled once its signing key is set: without one, no session gets a token.")
        return cleaned

    def _take(self, upload: UploadedFile | None, text: str | None) -> None:
        where = "key_file" if upload else "key_text"
        try:
            key = upload.read(slurm_keys.LONGEST + 1) if upload else slurm_keys.from_base64(text or "")
            slurm_keys.check_key(key)
        except Refused as refused:
            self.add_error(where, str(refused))
        else:
            self.new_key = key


@admin.register(SlurmCluster)
class SlurmClusterWithKeyAdmin(SlurmClusterAdmin):
    form = SlurmClusterWithKeyForm
    change_form_template = "admin/compute/slurmcluster/change_form.html"
    fieldsets = (
        (None, {"fields": (("display_name", "name"), "controllers", "enabled", "used_by_names")}),
        ("Signing key", {"fields": ("key_state", "key_file", "key_text")}),
        ("Tokens and users", {"fields": ("token_minutes", "user_mapping", "accounts_link", "client_image")}),
        ("Who may use it", {"fields": ("workspaces",)}),
    )
    readonly_fields = ("key_state", "accounts_link")

    @admin.display(description="Stored key")
    def key_state(self, cluster: SlurmCluster | None) -> str | SafeString:
        keys = SlurmKey.objects.select_related("replaced_by").defer("value")
        key = keys.filter(pk=cluster.pk).first() if cluster is not None and cluster.pk else None
        if key is None:
            return "No key is set."
        by = f" by {key.replaced_by.get_username()}" if key.replaced_by else ""
        return format_html("A key is set, replaced {}{}.", naturaltime(key.replaced_at), by)

    @method_decorator(sensitive_post_parameters())
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: SlurmCluster, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if form.new_key is not None:
            slurm_keys.replace_key(obj, form.new_key, request.user)

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.test_view)
        return [path("<path:object_id>/test/", view, name="compute_slurmcluster_test"), *super().get_urls()]

    @method_decorator(require_POST)
    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Try what is saved, as whoever presses the button; the cluster's page shows what came of it, once."""
        cluster = self.get_object(request, unquote(object_id))
        if cluster is None:
            raise Http404("No such Slurm cluster.")
        if not self.has_change_permission(request, cluster):
            raise PermissionDenied
        request.session[TRIED] = {"cluster": cluster.pk, **try_out(cluster, request.user).as_data()}
        return HttpResponseRedirect(reverse("admin:compute_slurmcluster_change", args=[cluster.pk]))

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        obj = context.get("original")
        trial = request.session.get(TRIED)
        if request.method == "GET" and obj is not None and trial and trial["cluster"] == obj.pk:
            context["trial"] = request.session.pop(TRIED)
            if at := AT.get(trial["field"]):
                # The form was not sent, so that it has no errors of its own: the test's cause stands at the field that mends it.
                form = context["adminform"].form
                form._errors = ErrorDict({at: form.error_class([trial["cause"]])})
        return super().render_change_form(request, context, *args, **kwargs)
