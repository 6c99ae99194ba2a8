"""What admins type about webhooks. Services decide; a form only carries the answers there and the problems back."""

from __future__ import annotations

from typing import Any

from django import forms

from sessions.webhooks.models import Webhook
from sessions.webhooks.services import PHASES
from storage.forms import ServiceForm


class EditForm(ServiceForm):
    url = forms.CharField(
        label="URL",
        strip=True,
        help_text="Where events are sent, such as https://ci.example.com/hooks/slipway. It is stored encrypted.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "inputmode": "url"}),
    )
    phases = forms.MultipleChoiceField(
        label="Send when a session becomes",
        required=False,
        choices=[(phase, phase) for phase in PHASES],
        widget=forms.CheckboxSelectMultiple,
    )
    enabled = forms.BooleanField(label="Switched on", required=False, initial=True)

    @classmethod
    def of(cls, webhook: Webhook, data: Any) -> EditForm:
        return cls(data, initial={"url": webhook.url, "phases": webhook.phases, "enabled": webhook.enabled})


class NewForm(EditForm):
    name = forms.CharField(
        help_text="Lower-case letters, digits and hyphens, starting with a letter, such as ci.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}),
    )
