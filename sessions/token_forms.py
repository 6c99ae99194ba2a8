"""What people choose for a new API token. ``compute.tokens`` decides; the form carries the answers there and the problems back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django import forms
from django.utils import timezone

from compute.models import Scope, Workspace
from storage.forms import ServiceForm

LIVES = {7: "7 days", 30: "30 days", 90: "90 days", 365: "1 year"}


class TokenForm(ServiceForm):
    name = forms.CharField(
        help_text="What it is for, such as ci or laptop.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices, widget=forms.CheckboxSelectMultiple, error_messages={"required": "Choose at least one scope."}
    )
    workspaces = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    days = forms.TypedChoiceField(label="Expires after", coerce=int, choices=list(LIVES.items()), initial=90)

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        mine = Workspace.objects.visible_to(user).values_list("name", "display_name")
        self.fields["workspaces"].choices = list(mine)  # type: ignore[attr-defined]

    @property
    def wanted(self) -> dict[str, Any]:
        """The arguments of ``compute.tokens.create_token``. No workspace ticked: all of the user's."""
        answers = self.cleaned_data
        expires_at = timezone.now() + timedelta(days=answers["days"])
        return {
            "name": answers["name"],
            "scopes": answers["scopes"],
            "workspaces": answers["workspaces"] or None,
            "expires_at": expires_at,
        }

    @property
    def scope_boxes(self) -> Iterator[tuple[Any, str, str]]:
        """Each scope's box with its name and what it is for."""
        for box in self["scopes"]:
            title, _, text = str(box.choice_label).partition(": ")
            yield box, title, f"{text[:1].upper()}{text[1:]}."
