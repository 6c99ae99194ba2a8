"""Webhooks: who is told of sessions, and what became of what was sent. For admins of a workspace, with the scope ``admin``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slipway.resource import Resource, matching, once
from slipway.shapes import parse
from slipway.things import Delivery, Webhook, WebhookWithSecret


class Webhooks(Resource):
    def list(self) -> Iterator[Webhook]:
        return self._pages(Webhook)

    def get(self, name: str) -> Webhook:
        return self._get(Webhook, name)

    def create(self, name: str, url: str, phases: Sequence[str] = ()) -> WebhookWithSecret:
        """Told of these phases, or of all. Keep its secret: nobody can read it again."""
        body = {"name": name, "url": url, "phases": [*phases]}
        answer = self._transport.send("POST", *self._path, body=body, headers=once())
        return parse(WebhookWithSecret, answer.data, answer.etag)

    def change(
        self, name: str, *, url: str = "", phases: Sequence[str] | None = None, enabled: bool | None = None, if_match: str = ""
    ) -> Webhook:
        """What isn't given stays as it is."""
        given = {"url": url or None, "phases": None if phases is None else [*phases], "enabled": enabled}
        body = {field: value for field, value in given.items() if value is not None}
        answer = self._transport.send("PATCH", *self._path, name, body=body, headers=matching(if_match))
        return parse(Webhook, answer.data, answer.etag)

    def delete(self, name: str, if_match: str = "") -> None:
        """With its deliveries; what waits is not sent any more."""
        self._transport.send("DELETE", *self._path, name, headers=matching(if_match))

    def renew_secret(self, name: str) -> WebhookWithSecret:
        """The old one signs nothing any more."""
        return parse(WebhookWithSecret, self._transport.send("POST", *self._path, name, "secret", headers=once()).data)

    def test(self, name: str) -> Delivery:
        """Send it a test event. Read the delivery again to see what became of it."""
        return parse(Delivery, self._transport.send("POST", *self._path, name, "test", headers=once()).data)

    def deliveries(self, name: str, status: str = "") -> Iterator[Delivery]:
        """The latest first; ``status`` as in the API, such as ``failed``. They are forgotten after some days."""
        return self._pages(Delivery, name, "deliveries", status=status)

    def delivery(self, name: str, delivery: str) -> Delivery:
        return self._get(Delivery, name, "deliveries", delivery)

    def replay(self, name: str, delivery: str) -> Delivery:
        """Send it again with the same id, whatever became of it. Done twice when the first answer got lost."""
        return parse(Delivery, self._transport.send("POST", *self._path, name, "deliveries", delivery, "replay").data)
