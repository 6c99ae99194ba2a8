"""Sign-ins are locked by name and address; the address is the one that nginx saw."""

from __future__ import annotations

from django.test import Client, RequestFactory

from config.middleware import client_address
from tests.conftest import Cast


def test_the_address_is_the_one_that_nginx_wrote() -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="", headers={"X-Forwarded-For": "203.0.113.9"})
    assert client_address(request) == "203.0.113.9"
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="127.0.0.1")) == "127.0.0.1"


def test_guessing_from_one_address_does_not_lock_the_owner_out_of_another(cast: Cast) -> None:
    for _ in range(11):
        guess = Client(headers={"X-Forwarded-For": "203.0.113.9"}).post("/sign-in/", {"username": "owner", "password": "guess"})
    assert guess.status_code == 429
    good = {"username": "owner", "password": "correct-horse"}
    assert Client(headers={"X-Forwarded-For": "203.0.113.9"}).post("/sign-in/", good).status_code == 429
    assert Client(headers={"X-Forwarded-For": "203.0.113.10"}).post("/sign-in/", good).status_code == 302
