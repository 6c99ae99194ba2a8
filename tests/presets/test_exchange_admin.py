"""The admin's import page: upload, preview, apply."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from presets import admin_import
from presets.exchange import MAX_BYTES, PERMISSIONS
from presets.models import Preset
from tests.admin_pages import curator, said
from tests.presets.exchange import image, kind, pod_default, source

SECRET = "s3cr3t-hunter2"
URL = "/admin/presets/preset/import/"
pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    return curator()


def upload(client: Client, *documents: Any, text: str = "", **fields: str) -> Any:
    content = (text or source(*documents).text).encode()
    return client.post(URL, {"file": SimpleUploadedFile("catalog.yaml", content), **fields})


def press_apply(client: Client, page: Any) -> Any:
    return client.post(URL, {"sealed": page.context["sealed"]}, follow=True)


def test_upload_preview_apply(admin: Client) -> None:
    assert "Import a catalog" in admin.get(URL).content.decode()
    page = upload(admin, kind(extraEnv=[{"name": "API_TOKEN", "value": SECRET}]), pod_default())
    html = page.content.decode()
    assert "Preset “Lab”" in html and "Configuration “Use the proxy”" in html and "spec.spawner.icon" in html
    assert SECRET not in html
    assert not Preset.objects.exists()
    done = press_apply(admin, page)
    assert done.redirect_chain == [("/admin/presets/preset/", 302)]
    assert said(done) == ["Imported from catalog.yaml: 5 rows created or changed."]
    assert Preset.objects.get().variables.get().value == SECRET
    assert list(LogEntry.objects.values_list("change_message", flat=True)) == ["Imported from catalog.yaml."] * 2
    assert Preset.history.get().history_user.username == "curator"
    again = upload(admin, kind(extraEnv=[{"name": "API_TOKEN", "value": SECRET}]), pod_default())
    assert "there is nothing to do" in again.content.decode() and 'value="Apply"' not in again.content.decode()


def test_a_changed_field_is_shown_old_and_new(admin: Client) -> None:
    press_apply(admin, upload(admin, kind()))
    Preset.objects.update(name="Curated")
    html = upload(admin, kind()).content.decode()
    assert '<td class="import-old">Curated</td><td class="import-new">Lab</td>' in html


def test_mistakes_are_shown_with_their_place(admin: Client) -> None:
    page = upload(admin, kind(), {"kind": "Pod"}, kind("Not A Name!"))
    html = page.content.decode()
    assert page.status_code == 200
    assert "catalog.yaml, document 2, kind" in html
    assert 'name="file"' in html


@pytest.mark.parametrize("text", ["a: [", "x" * (MAX_BYTES + 1), "\ufeff", "<script>alert(1)</script>"])
def test_what_is_no_catalog_is_refused(admin: Client, text: str) -> None:
    page = upload(admin, text=text)
    assert page.status_code == 200
    assert "<script>alert" not in page.content.decode()
    assert page.context["form"].errors or page.context["problems"]


def test_bytes_that_are_no_text_are_refused(admin: Client) -> None:
    page = admin.post(URL, {"file": SimpleUploadedFile("x.yaml", b"\xff\xfe\x00")})
    assert page.context["form"].errors.keys() == {"file"}


def test_options_are_checked_and_used(admin: Client) -> None:
    assert upload(admin, kind(), slug_prefix="NO!").context["form"].errors.keys() == {"slug_prefix"}
    press_apply(admin, upload(admin, kind(images=[image("a", reference="x.io/y:1")]), ide="rstudio", slug_prefix="team-"))
    preset = Preset.objects.get()
    assert (preset.slug, preset.ide) == ("team-lab", "rstudio")


def test_a_catalog_that_changed_meanwhile_is_shown_again(admin: Client) -> None:
    page = upload(admin, kind())
    Preset.objects.create(slug="lab", name="Quicker", ide="jupyterlab")
    again = press_apply(admin, page)
    assert "a moment ago" in again.content.decode() and "Quicker" in again.content.decode()
    assert Preset.objects.get().name == "Quicker"
    assert press_apply(admin, again).redirect_chain
    assert Preset.objects.get().name == "Lab"


def test_a_preview_is_for_its_user_and_for_an_hour(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    page = upload(admin, kind())
    other = Client()
    other.force_login(get_user_model().objects.create_superuser("other", "other@example.com", "correct-horse"))
    for sealed in (page.context["sealed"], "garbage", ""):
        assert "too old" in other.post(URL, {"sealed": sealed}).content.decode()
    monkeypatch.setattr(admin_import, "LOOKED_AT_FOR", -1)
    assert "too old" in press_apply(admin, page).content.decode()
    assert not Preset.objects.exists()


def test_only_who_may_change_the_whole_catalog_sees_it() -> None:
    clerk = get_user_model().objects.create_user("clerk", password="correct-horse", is_staff=True)
    wanted = [Permission.objects.get(content_type__app_label="presets", codename=name.split(".")[1]) for name in PERMISSIONS]
    clerk.user_permissions.set([one for one in wanted if one.codename != "change_image"])
    client = Client()
    client.force_login(clerk)
    assert client.get(URL).status_code == 403 and upload(client, kind()).status_code == 403
    assert URL not in client.get(reverse("admin:presets_preset_changelist")).content.decode()
    clerk.user_permissions.set(wanted)
    assert client.get(URL).status_code == 200
    for model in ("preset", "configuration"):
        assert URL in client.get(reverse(f"admin:presets_{model}_changelist")).content.decode()


def test_a_form_without_its_token_is_refused(admin: Client) -> None:
    page = upload(admin, kind())
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(get_user_model().objects.get())
    assert upload(strict, kind()).status_code == 403
    assert strict.post(URL, {"sealed": page.context["sealed"]}).status_code == 403
    assert not Preset.objects.exists()


def test_a_preview_page_costs_the_same_for_any_number_of_entries(admin: Client, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(12):
        assert upload(admin, kind(images=[image(f"i{number}") for number in range(40)])).context["plan"].is_change
