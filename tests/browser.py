"""A browser without JavaScript: keeps cookies, follows redirects, and fills the forms that pages really have."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3.util.connection
import websocket

TIMEOUT = 30
_create_connection = urllib3.util.connection.create_connection


def _to_loopback(address: tuple[str, int], *args: Any, **kwargs: Any) -> socket.socket:
    """Browsers take ``*.localhost`` for this machine without asking DNS; the system's resolver may not."""
    host, port = address
    return _create_connection(("127.0.0.1" if host.endswith("localhost") else host, port), *args, **kwargs)


urllib3.util.connection.create_connection = _to_loopback


@dataclass
class Form:
    """``fields`` are the successful controls as a browser would send them, without buttons."""

    action: str
    method: str
    id: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)
    options: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def offered(self, name: str) -> list[str]:
        """Every value that the user could choose for a radio, checkbox or select."""
        return [value for key, value in self.options if key == name]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in [*self.fields, *self.options]}

    def filled(self, changes: dict[str, str | Iterable[str]], button: str = "") -> list[tuple[str, str]]:
        """The data to send with some fields changed, sent with the button whose name, value or label is ``button``."""
        data = [(name, value) for name, value in self.fields if name not in changes]
        for name, value in changes.items():
            if name not in self.names:
                raise AssertionError(f"The form {self.action} has no field {name}; it has {sorted(self.names)}")
            data += [(name, one) for one in ([value] if isinstance(value, str) else value)]
        if button:
            data += [self._button(button)]
        return [(name, value) for name, value in data if name]

    def _button(self, wanted: str) -> tuple[str, str]:
        for name, value, label in self.buttons:
            if wanted in (name, value) or wanted.lower() in label.lower():
                return name, value
        raise AssertionError(f"The form {self.action} has no button {wanted}; it has {self.buttons}")


class _Parser(HTMLParser):
    """Forms with their controls, those outside that point to them by ``form=`` included, and links."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self.outside: list[tuple[str, str, dict[str, str]]] = []
        self.open: Form | None = None
        self.text: list[str] | None = None
        self.select: dict[str, str] | None = None
        self.select_options: list[tuple[str, bool]] = []
        self.pending: dict[str, str] = {}
        self.pending_tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.open = Form(given.get("action", ""), given.get("method", "get").lower(), given.get("id", ""))
            self.forms.append(self.open)
        elif tag == "input":
            self._control(given, given.get("type", "text"), given.get("value", ""))
        elif tag in ("textarea", "button", "a"):
            self.pending, self.pending_tag, self.text = given, tag, []
        elif tag == "select":
            self.select, self.select_options = given, []
        elif tag == "option" and self.select is not None and "disabled" not in given:
            self.select_options.append((given.get("value", ""), "selected" in given))

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.open = None
        elif tag == "select" and self.select is not None:
            self._end_select()
        elif tag == self.pending_tag and self.text is not None:
            text = "".join(self.text)
            if tag == "textarea":
                self._control(self.pending, "textarea", text.removeprefix("\n"))
            elif tag == "button":
                self._control(self.pending, "button", self.pending.get("value", ""), " ".join(text.split()))
            else:
                self.links.append((self.pending.get("href", ""), " ".join(text.split())))
            self.text, self.pending_tag = None, ""

    def _end_select(self) -> None:
        assert self.select is not None
        form = self._form(self.select)
        name = self.select.get("name", "")
        if form is not None and name:
            form.options += [(name, value) for value, _ in self.select_options]
            chosen = [value for value, selected in self.select_options if selected]
            if not chosen and self.select_options and "multiple" not in self.select:
                chosen = [self.select_options[0][0]]
            if "disabled" not in self.select:
                form.fields += [(name, value) for value in chosen]
        self.select = None

    def _form(self, given: dict[str, str]) -> Form | None:
        if "form" in given:
            return next((form for form in self.forms if form.id == given["form"]), None)
        return self.open

    def _control(self, given: dict[str, str], kind: str, value: str, label: str = "") -> None:
        form, name = self._form(given), given.get("name", "")
        if form is None or "disabled" in given:
            return
        if kind in ("button", "submit"):
            form.buttons.append((name, value, label or value))
        elif kind in ("radio", "checkbox"):
            value = given.get("value", "on")
            form.options.append((name, value))
            if "checked" in given:
                form.fields.append((name, value))
        elif kind not in ("reset", "image", "file") and name:
            form.fields.append((name, value))


class Page:
    def __init__(self, response: requests.Response) -> None:
        self.response = response
        self.url = response.url
        self.text = response.text
        parser = _Parser()
        parser.feed(self.text)
        self.forms, self.links = parser.forms, parser.links

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    def errors(self) -> list[str]:
        """What the page says at its fields."""
        found = re.findall(r'class="[^"]*field-error[^"]*"[^>]*>(.*?)</', self.text, re.DOTALL)
        return [" ".join(re.sub(r"<[^>]*>", " ", text).split()) for text in found]

    def form(self, action: str = "", *, field: str = "") -> Form:
        """The first form whose address ends in ``action`` (or that has the field)."""
        for form in self.forms:
            ends = urlsplit(form.action).path.endswith(action) if form.action else urlsplit(self.url).path.endswith(action)
            if (not action or ends) and (not field or field in form.names):
                return form
        raise AssertionError(f"{self.url} has no form {action} {field}; it has {[(form.action, form.names) for form in self.forms]}")


class Browser:
    """One person's browser at one address. Every answer that is an error is an AssertionError, unless allowed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False

    def get(self, path: str, allow: tuple[int, ...] = (200,)) -> Page:
        return self._page(self.http.get(urljoin(self.url, path), timeout=TIMEOUT), allow)

    def submit(
        self, page: Page, form: Form, changes: dict[str, Any] | None = None, button: str = "", allow: tuple[int, ...] = (200,)
    ) -> Page:
        address = urljoin(page.url, form.action)
        data = form.filled(changes or {}, button)
        if form.method == "get":
            return self._page(self.http.get(address, params=data, timeout=TIMEOUT), allow)
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(page.url))
        headers = {"Origin": origin, "Referer": page.url}
        return self._page(self.http.post(address, data=data, headers=headers, timeout=TIMEOUT), allow)

    def sign_in(self, username: str, password: str) -> Page:
        page = self.get("/sign-in/")
        page = self.submit(page, page.form(field="password"), {"username": username, "password": password})
        if page.path == "/sign-in/":
            raise AssertionError(f"{username} could not sign in.")
        return page

    def websocket(self, url: str, timeout: float = TIMEOUT) -> websocket.WebSocket:
        """A WebSocket with this browser's cookies for that origin, and the Origin header of a page of it."""
        parts = urlsplit(url)
        request = requests.Request("GET", url.replace("ws", "http", 1))
        cookies = self.http.prepare_request(request).headers.get("Cookie", "")
        connection = websocket.WebSocket()
        connection.settimeout(timeout)
        raw = socket.create_connection(("127.0.0.1", parts.port or 80), timeout)
        connection.connect(url, socket=raw, origin=f"http://{parts.netloc}", cookie=cookies, host=parts.netloc)
        return connection

    def _page(self, response: requests.Response, allow: tuple[int, ...]) -> Page:
        if response.status_code not in allow:
            raise AssertionError(f"{response.request.method} {response.url} answered {response.status_code}:\n{response.text[:2000]}")
        return Page(response)
