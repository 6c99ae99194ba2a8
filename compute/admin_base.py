"""What the admin pages of all catalog models share: errors at fields, refusals instead of crashes, history."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.db import IntegrityError
from django.db.models import Model, ProtectedError
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.text import Truncator
from simple_history.admin import SimpleHistoryAdmin
from simple_history.utils import get_history_model_for_model

from compute.admin_usage import Use, UsedByMixin, usage

logger = logging.getLogger(__name__)


class ReadOnlyMixin:
    """An admin page that only shows."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class CatalogForm(forms.ModelForm):
    """A model form that reports a violated database constraint at the field that mends it."""

    def _update_errors(self, errors: ValidationError) -> None:
        # The one place where a form learns what its model found; Django puts constraints of several fields above the form.
        if hasattr(errors, "error_dict"):
            for error in errors.error_dict.pop(NON_FIELD_ERRORS, []):
                errors.error_dict.setdefault(self._field_of(error), []).append(error)
        super()._update_errors(errors)  # type: ignore[misc]

    def _field_of(self, error: ValidationError) -> str:
        visible = {field.name for field in self.visible_fields()}
        for constraint in self.instance._meta.constraints:
            if constraint.violation_error_message == error.message:
                return next((name for name in reversed(getattr(constraint, "fields", ())) if name in visible), NON_FIELD_ERRORS)
        return NON_FIELD_ERRORS


class CatalogFormSet(BaseInlineFormSet):
    """Inline rows that are checked against each other as well as against the database."""

    unique_in_page: Sequence[tuple[str, str]] = ()
    """Fields that no two rows may share, each with what to say."""
    uses: Sequence[Use] = ()

    def add_fields(self, form: Any, index: int | None) -> None:
        """Each input says what it is: rows of a table show their labels as its head only."""
        super().add_fields(form, index)
        for name, field in form.fields.items():
            field.widget.attrs.setdefault("aria-label", form[name].label)

    def rows(self) -> list[Any]:
        """The valid forms that will be rows once this is saved, in their order on the page."""
        return [
            form
            for form in self.forms
            if hasattr(form, "cleaned_data") and (form.instance.pk or form.has_changed()) and not self._should_delete_form(form)  # type: ignore[attr-defined]
        ]

    def clean(self) -> None:
        # Not super().clean(): its duplicates end up above the table, ours at their field.
        for name, message in self.unique_in_page:
            seen: set[Any] = set()
            for form in self.rows():
                value = form.cleaned_data.get(name)
                if value in seen:
                    form.add_error(name, message)
                elif value not in (None, ""):
                    seen.add(value)
        self._refuse_used_deletions()

    def _refuse_used_deletions(self) -> None:
        refused = []
        # Not self.deleted_forms: it is empty as soon as any other row has an error.
        deleted = [form for form in self.forms if hasattr(form, "cleaned_data") and self._should_delete_form(form)]  # type: ignore[attr-defined]
        for form in deleted:
            if form.instance.pk and (lines := usage(form.instance, self.uses)):
                form.add_error(NON_FIELD_ERRORS, f"It can't be deleted, only hidden: used by {', '.join(lines)}.")
                refused.append(str(form.instance))
        if refused:
            # Errors of a row that is to go don't stop a save, those of the whole formset do.
            names = ", ".join(f"“{name}”" for name in refused)
            raise ValidationError(f"{names} can't be deleted while in use. Untick Delete; hide it instead.", code="used")


class CatalogAdmin(UsedByMixin, SimpleHistoryAdmin):
    """An admin page with history, "used by", and a sentence where someone else was quicker."""

    form = CatalogForm
    # The package's own has inline styles, which the content security policy refuses.
    object_history_list_template = "admin/catalog_history_list.html"

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._or_say_why(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._or_say_why(request, super().delete_view, *args, **kwargs)

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return self._or_say_why(request, super().changelist_view, *args, **kwargs)

    def _or_say_why(self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **kwargs: Any) -> HttpResponse:
        """Forms check everything first; what the database still refuses was changed by someone else in between."""
        try:
            return view(request, *args, **kwargs)
        except ProtectedError:
            messages.error(request, "Nothing was deleted: something began to use it a moment ago. Hide it instead.")
        except IntegrityError:
            logger.exception("The database refused a change of %s that its form had let through", self.opts.label)
            messages.error(request, "Nothing was saved: someone else changed this a moment ago. Look at it and try again.")
        return HttpResponseRedirect(request.get_full_path())

    # Reverting a row without its inlines, or to what no longer exists, is a way to break the catalog: history is to read.
    def revert_disabled(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return True

    def history_form_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "GET":
            raise PermissionDenied
        response: HttpResponse = super().history_form_view(request, *args, **kwargs)
        return response

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Also tells the history what changed in inlines and lists, which the row itself does not show."""
        entry = super().log_change(request, obj, message)
        history = get_history_model_for_model(obj)
        newest = history.objects.filter(**{obj._meta.pk.attname: obj.pk}).order_by("-history_id").first()
        if newest is not None:
            history.objects.filter(pk=newest.pk).update(history_change_reason=Truncator(entry.get_change_message()).chars(100))
        return entry
