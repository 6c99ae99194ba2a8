"""A browser without JavaScript, as far as forms go: what it shows is what it sends."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from django.test import Client

Values = dict[str, list[str]]


class _Forms(HTMLParser):
    """The successful controls of the form ``wizard-form``, its action, and everything that was written as text."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.values: Values = {}
        self.buttons: list[str] = []
        self.selects: dict[str, list[str]] = {}
        self.text: list[str] = []
        self._inside = False
        self._select = ""
        self._first_option: str | None = None

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        if tag == "form":
            self._inside = given.get("id") == "wizard-form"
            self.action = given["action"] if self._inside else self.action
        if not self._inside or "disabled" in given:
            return
        name, value = given.get("name", ""), given.get("value", "")
        if tag == "button" and name == "intent":
            self.buttons.append(value)
        elif tag == "select":
            self._select, self._first_option = name, None
            self.selects[name] = []
        elif tag == "option":
            self.selects[self._select].append(value)
            if self._first_option is None:
                self._first_option = value
            if "selected" in given:
                self.values[self._select] = [value]
        elif tag == "input" and name and (given.get("type") not in ("radio", "checkbox") or "checked" in given):
            self.values.setdefault(name, []).append(value if given.get("type") != "checkbox" or value else "on")

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._inside = False
        elif tag == "select" and self._inside:
            self.values.setdefault(self._select, [self._first_option or ""])
            self._select = ""

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@dataclass
class Browser:
    """Follows links and sends forms. ``page`` is the newest response; ``values`` what its form holds."""

    client: Client
    url: str = ""
    page: Any = None
    forms: _Forms = field(default_factory=_Forms)

    def get(self, url: str) -> Browser:
        return self._load(self.client.get(url, follow=True), url)

    def press(self, intent: str, **typed: str | list[str]) -> Browser:
        """Type into the form (``__`` stands for a dot), press the button and follow the redirects."""
        assert intent in self.forms.buttons, f"{intent} is none of the buttons {self.forms.buttons}"
        return self.send(intent, **typed)

    def send(self, intent: str, **typed: str | list[str]) -> Browser:
        return self._load(self.client.post(self.forms.action, self.data(intent, **typed), follow=True), self.forms.action)

    def htmx(self, intent: str, **typed: str | list[str]) -> Any:
        """What htmx's request for the same form gets; the page stays as it is."""
        return self.client.post(self.forms.action, self.data(intent, **typed), headers={"HX-Request": "true"})

    def data(self, intent: str, **typed: str | list[str]) -> dict[str, Any]:
        given = {name.replace("__", "."): value for name, value in typed.items()}
        return {**self.forms.values, **given, "intent": intent}

    def row(self, kind: str, number: int = 0) -> str:
        """The id of a row, as in the names of its controls."""
        return self.forms.values["env_row" if kind == "env" else "volume_row"][number]

    @property
    def values(self) -> Values:
        return self.forms.values

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.forms.text).split())

    @property
    def html(self) -> str:
        return str(self.page.content.decode())

    def _load(self, response: Any, url: str) -> Browser:
        self.page = response
        self.url = response.redirect_chain[-1][0] if response.redirect_chain else url
        self.forms = _Forms()
        self.forms.feed(response.content.decode())
        return self
