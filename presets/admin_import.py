"""Import pages of the admin: upload a file, look at what it would do, apply."""

from __future__ import annotations

import json
from typing import Any

from cryptography.fernet import InvalidToken
from django import forms
from django.contrib import admin, messages
from django.core.files.uploadedfile import UploadedFile
from django.core.validators import RegexValidator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from compute.errors import Problem, Refused
from presets import ides
from presets.exchange import MAX_BYTES, Options, Plan, Source, apply, preview, require_importer
from presets.models import Preset
from storage.encryption import fernet

LOOKED_AT_FOR = 3600  # seconds that a preview can be applied


class UploadForm(forms.Form):
    file = forms.FileField(help_text=f"YAML with one document or several, at most {MAX_BYTES // 1024} KiB.")
    ide = forms.ChoiceField(label="IDE", required=False, choices=[("", "As the file tells"), *ides.CHOICES])
    slug_prefix = forms.CharField(
        label="Prefix",
        required=False,
        max_length=20,
        validators=[RegexValidator("^[a-z0-9][a-z0-9-]*$", "Use lower-case letters, digits and hyphens, such as team-.")],
        help_text="What the slugs of all imported rows begin with, such as “team-”. Empty: the names in the file.",
    )

    def clean_file(self) -> Source:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MAX_BYTES:
            raise forms.ValidationError(f"The file is larger than {MAX_BYTES // 1024} KiB.", code="too_large")
        try:
            return Source((file.name or "file")[:100], file.read().decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise forms.ValidationError("This is not UTF-8 text.", code="encoding") from None


def seal(user: Any, source: Source, options: Options, plan: Plan) -> str:
    """What was looked at, for the page to send back: unreadable, because a file may hold secrets, and only for this user."""
    looked_at = {"user": user.pk, "name": source.name, "text": source.text, "ide": options.ide, "prefix": options.prefix}
    return fernet().encrypt(json.dumps({**looked_at, "digest": plan.digest, "for": "import"}).encode()).decode()


def unseal(user: Any, sealed: str) -> tuple[Source, Options, str] | None:
    """None when it is too old, another user's, or not ours."""
    try:
        told = json.loads(fernet().decrypt(sealed.encode(), ttl=LOOKED_AT_FOR))
    except (InvalidToken, ValueError):
        return None
    if not isinstance(told, dict) or told.get("for") != "import" or told["user"] != user.pk:
        return None
    return Source(told["name"], told["text"]), Options(ide=told["ide"], prefix=told["prefix"]), told["digest"]


class ImportMixin(admin.ModelAdmin):
    """Adds ``import/`` to an admin of the catalog."""

    @method_decorator((sensitive_post_parameters(), sensitive_variables()))
    def import_view(self, request: HttpRequest) -> HttpResponse:
        """GET: the upload form. POST with a file: its preview. POST with a sealed preview: apply it, after all checks again."""
        require_importer(request.user)
        if request.method == "POST" and "sealed" in request.POST:
            return self._apply(request, request.POST["sealed"])
        form = UploadForm(request.POST, request.FILES) if request.method == "POST" else UploadForm()
        if form.is_valid():
            options = Options(ide=form.cleaned_data["ide"], prefix=form.cleaned_data["slug_prefix"])
            return self._preview(request, form, form.cleaned_data["file"], options)
        return self._page(request, form)

    def _page(self, request: HttpRequest, form: UploadForm, problems: tuple[Problem, ...] = (), **context: Any) -> HttpResponse:
        context = {"form": form, "problems": problems, "opts": Preset._meta, "title": "Import a catalog", **context}
        return TemplateResponse(request, "admin/presets/preset/import.html", {**self.admin_site.each_context(request), **context})

    def _preview(
        self, request: HttpRequest, form: UploadForm, source: Source, options: Options, said: tuple[Problem, ...] = ()
    ) -> HttpResponse:
        try:
            plan = preview([source], options)
        except Refused as refused:
            return self._page(request, form, refused.problems, source=source)
        return self._page(request, form, said, source=source, plan=plan, sealed=seal(request.user, source, options, plan))

    def _apply(self, request: HttpRequest, sealed: str) -> HttpResponse:
        looked_at = unseal(request.user, sealed)
        if looked_at is None:
            return self._page(request, UploadForm(), (Problem("", "expired", "This preview is too old. Upload the file again."),))
        source, options, digest = looked_at
        try:
            plan = apply(request.user, [source], options, digest)
        except Refused as refused:
            return self._preview(request, UploadForm(), source, options, refused.problems)
        for item in plan.items:
            if item.changes:
                self._log(request, item.rows[0].row, item.is_new, source)
        rows = sum(len(item.changes) for item in plan.items)
        messages.success(request, f"Imported from {source.name}: {rows} row{'' if rows == 1 else 's'} created or changed.")
        return HttpResponseRedirect(reverse("admin:presets_preset_changelist"))

    def _log(self, request: HttpRequest, row: Any, is_new: bool, source: Source) -> None:
        message = f"Imported from {source.name}."
        if is_new:
            self.log_addition(request, row, message)
        else:
            self.log_change(request, row, message)
