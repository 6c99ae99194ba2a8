"""Catalogs in and out over the API: what the admin's pages and the commands do, for curators with a token."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from django.contrib.auth import get_user_model

from compute import tokens
from compute.models import Scope
from presets.models import Configuration, Preset
from tests.api.conftest import Api
from tests.presets.exchange import kind, pod_default


@pytest.fixture
def curator(db: None) -> Api:
    user = get_user_model().objects.create_superuser("curator", password="correct-horse")
    plain = tokens.create_token(user, name="catalog", scopes=[Scope.CATALOG]).plain
    return Api({"Authorization": f"Bearer {plain}"})


def documents(*parts: Any) -> str:
    return yaml.safe_dump_all(parts)


def test_a_preview_changes_nothing_and_its_digest_does_just_that(curator: Api) -> None:
    body = {"documents": documents(kind(), pod_default()), "ide": "jupyterlab"}
    seen = curator.post("catalog/import", body)
    assert seen.status == 200, seen.data
    assert (seen.data["applied"], seen.data["is_change"]) == (False, True)
    assert [item["name"] for item in seen.data["items"]] == ["lab", "proxy"]
    assert not Preset.objects.exists()
    done = curator.post("catalog/import", {**body, "apply": True, "digest": seen.data["digest"]})
    assert done.data["applied"] is True
    assert Preset.objects.filter(slug="lab").exists()
    assert Configuration.objects.filter(slug="proxy").exists()
    again = curator.post("catalog/import", {**body, "apply": True})
    assert again.data["is_change"] is False


def test_what_was_not_looked_at_is_not_done(curator: Api) -> None:
    answer = curator.post("catalog/import", {"documents": documents(pod_default()), "apply": True, "digest": "of another plan"})
    assert (answer.status, answer.fields) == (422, [("", "changed")])
    assert not Configuration.objects.exists()


@pytest.mark.parametrize("text", ["", "a: [", "kind: Pod", "kind: WorkspaceKind\napiVersion: kubeflow.org/v9", "\0"])
def test_a_mistake_is_told_with_its_place(curator: Api, text: str) -> None:
    answer = curator.post("catalog/import", {"documents": text, "file": "mine.yaml"})
    assert (answer.status, answer.code) in ((422, "refused"), (400, "invalid"))
    assert answer.data["errors"]


def test_a_prefix_begins_every_name(curator: Api) -> None:
    answer = curator.post("catalog/import", {"documents": documents(pod_default()), "prefix": "team-"})
    assert [item["name"] for item in answer.data["items"]] == ["team-proxy"]


def test_an_export_imports_again_without_a_change(curator: Api) -> None:
    curator.post("catalog/import", {"documents": documents(kind(), pod_default()), "ide": "jupyterlab", "apply": True})
    exported = curator.get("catalog/export").data["items"]
    assert [item["file_name"] for item in exported] == ["workspacekind-lab.yaml", "poddefault-proxy.yaml"]
    back = curator.post("catalog/import", {"documents": documents(*(item["document"] for item in exported))})
    assert back.data["is_change"] is False
    assert len(curator.get("catalog/export", names="proxy").data["items"]) == 1
