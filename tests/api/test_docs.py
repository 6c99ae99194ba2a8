"""The pages about the API: for everybody, offline, and complete. That they keep to the policy is seen in a browser."""

from __future__ import annotations

import re

import pytest
from django.contrib.staticfiles import finders
from django.test import Client

from sessions.api.problems import KINDS, type_of


@pytest.mark.django_db
def test_the_operations_page_needs_nothing_from_elsewhere() -> None:
    page = Client().get("/api/")
    assert page.status_code == 200
    assert "unsafe" not in page["Content-Security-Policy"]
    html = page.content.decode()
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)
    for path in re.findall(r'(?:src|href)="/static/([^"]+)"', html):
        assert finders.find(path), path
    assert 'data-description="/api/v1/openapi.json"' in html


@pytest.mark.django_db
def test_every_error_has_its_row_where_its_type_leads() -> None:
    html = Client().get("/api/errors").content.decode()
    for code in KINDS:
        assert type_of(code) == f"http://localhost:8000/api/errors#{code}"
        assert f'id="{code}"' in html
