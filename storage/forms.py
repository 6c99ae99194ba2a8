"""What people type about volumes and secrets. Services decide; a form only carries the answers there and the problems back."""

from __future__ import annotations

from typing import Any

from django import forms

from compute.errors import Refused
from storage.models import Volume


class ServiceForm(forms.Form):
    """A form whose rules are a service's: :meth:`refuse` shows what the service said, at its field."""

    def refuse(self, refused: Refused) -> None:
        for problem in refused.problems:
            name = problem.field.partition(".")[0]  # the form shows the items of a list as one field
            field = name if name in self.fields else None
            self.add_error(field, forms.ValidationError(problem.message, code=problem.code))


class VolumeForm(ServiceForm):
    # A volume starts empty: one that nobody may write to (ReadOnlyMany) is of no use to its maker, so it is not offered.
    ACCESS = [(mode.value, mode.label) for mode in (Volume.AccessMode.ONCE, Volume.AccessMode.MANY)]

    name = forms.CharField(
        help_text="Lower-case letters, digits and hyphens, starting with a letter, such as sales-2026.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )
    kind = forms.ChoiceField(choices=Volume.Kind.choices, initial=Volume.Kind.DATA, widget=forms.RadioSelect)
    size = forms.CharField(
        initial="5Gi",
        help_text="How much it can hold, such as 500Mi, 5Gi or 1Ti.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    access_mode = forms.ChoiceField(label="Access", choices=ACCESS, initial=Volume.AccessMode.ONCE, widget=forms.RadioSelect)


class SecretTextarea(forms.Textarea):
    """Several lines, hidden while typed, and never sent back to the browser."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, None, attrs)


class SecretForm(ServiceForm):
    name = forms.CharField(
        help_text="The environment variable that sessions see, such as WAREHOUSE_PASSWORD.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "class": "input-mono"}),
    )
    value = forms.CharField(
        strip=False,
        max_length=65536,
        help_text="Write-only: nobody can read it here again.",
        widget=SecretTextarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false", "class": "input-secret"}),
    )
    description = forms.CharField(required=False, max_length=200, help_text="What it is for, and who to ask about it.")

    def clean_value(self) -> str:
        # Browsers send line ends of a textarea as CRLF; keys and certificates are meant with LF.
        value: str = self.cleaned_data["value"].replace("\r\n", "\n")
        return value


class ConfirmForm(forms.Form):
    """Deleting asks for the thing's name, typed."""

    confirm = forms.CharField(widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}))

    def __init__(self, name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.name = name
        self.fields["confirm"].label = f"Type {name} to confirm"

    def clean_confirm(self) -> str:
        typed: str = self.cleaned_data["confirm"].strip()
        if typed != self.name:
            raise forms.ValidationError(f"This is not the name. Type {self.name}.", code="confirm")
        return typed
