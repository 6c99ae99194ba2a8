"""Admin pages as a browser without JavaScript uses them: read the form, change some fields, send all of it back."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse


def curator() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("curator", "curator@example.com", "correct-horse"))
    return client


class _Fields(HTMLParser):
    """What a browser would send for the page's forms: name → value, or a list of values."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[str, Any] = {}
        self._select: tuple[str, bool] | None = None
        self._textarea = ""
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        have = dict(attrs)
        name = have.get("name") or ""
        if tag == "input" and name and have.get("type") not in ("submit", "button"):
            if have.get("type") not in ("checkbox", "radio") or "checked" in have:
                self.sent[name] = have.get("value") or ("on" if have.get("type") == "checkbox" else "")
        elif tag == "select":
            self._select = (name, "multiple" in have)
            if "multiple" in have:
                self.sent[name] = []
        elif tag == "option" and self._select:
            name, multiple = self._select
            value = have.get("value") or ""
            if multiple and "selected" in have:
                self.sent[name].append(value)
            elif not multiple and ("selected" in have or name not in self.sent):
                self.sent[name] = value
        elif tag == "textarea":
            self._textarea, self._text = name, ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
        elif tag == "textarea":
            self.sent[self._textarea] = self._text.strip("\r\n")
            self._textarea = ""


class Page:
    """One add or change page. ``send`` posts its form with some fields changed (``None`` unticks a box)."""

    def __init__(self, client: Client, model: str, row: Any = None) -> None:
        self.client = client
        name = f"admin:{model}_change" if row is not None else f"admin:{model}_add"
        self.url = reverse(name, args=[row.pk] if row is not None else [])
        response = client.get(self.url)
        assert response.status_code == 200, response.status_code
        self.html = response.content.decode()
        fields = _Fields()
        fields.feed(self.html)
        self.fields = {name: value for name, value in fields.sent.items() if "__prefix__" not in name and name != "csrfmiddlewaretoken"}

    def add_row(self, prefix: str, **values: str) -> int:
        """Fill one more inline row; returns its number."""
        number = int(self.fields[f"{prefix}-TOTAL_FORMS"])
        self.fields[f"{prefix}-TOTAL_FORMS"] = str(number + 1)
        self.fields.update({f"{prefix}-{number}-{name}": value for name, value in values.items()})
        return number

    def send(self, changes: dict[str, Any] | None = None) -> Any:
        data = {**self.fields, "_continue": "1", **(changes or {})}
        return self.client.post(self.url, {name: value for name, value in data.items() if value is not None}, follow=True)


def errors(response: Any) -> dict[str, list[str]]:
    """Every error on the answered page, by the name of its field; "" for those of a whole form or formset."""
    found: dict[str, list[str]] = {}
    if "adminform" not in response.context:
        return found
    forms = [response.context["adminform"].form]
    for inline in response.context["inline_admin_formsets"]:
        found.setdefault("", []).extend(inline.formset.non_form_errors())
        forms += inline.formset.forms
    for form in forms:
        for name, messages in form.errors.items():
            found.setdefault("" if name == "__all__" else form.add_prefix(name), []).extend(messages)
    return {name: messages for name, messages in found.items() if messages}


def said(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]
