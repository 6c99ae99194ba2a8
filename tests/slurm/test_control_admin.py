"""A Slurm cluster in the admin: a key that goes in and never comes out, accounts, and the test of it all."""

from __future__ import annotations

import base64
import logging
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.urls import reverse

from compute.models import SlurmAccount, SlurmCluster, Workspace
from storage.models import SlurmKey
from storage.slurm_keys import key_of
from tests.admin_pages import Page, curator, errors
from tests.conftest import Cast
from tests.slurm.fake import ZERO, FakeSlurm
from tests.slurm_cast import KEY

MODEL = "compute_slurmcluster"
RAW = bytes(range(200, 248))  # no text at all
TEXT = base64.b64encode(RAW).decode()


@pytest.fixture
def admin(db: None) -> Client:
    return curator()


def me() -> Any:
    return get_user_model().objects.get(username="curator")


def shown(client: Client, slurm: SlurmCluster) -> str:
    return str(client.get(reverse(f"admin:{MODEL}_change", args=[slurm.pk])).content.decode())


def press_test(client: Client, slurm: SlurmCluster) -> Any:
    return client.post(reverse(f"admin:{MODEL}_test", args=[slurm.pk]), follow=True)


def test_the_key_may_be_uploaded_or_pasted_and_never_comes_out(admin: Client, hpc: SlurmCluster, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    assert "A key is set, replaced now." in shown(admin, hpc)
    assert errors(Page(admin, MODEL, hpc).send({"key_file": SimpleUploadedFile("jwt.key", RAW)})) == {}
    assert key_of(hpc) == RAW
    wrapped = f"{TEXT[:20]}\n{TEXT[20:]}\n"
    SlurmKey.objects.all().delete()
    answer = Page(admin, MODEL, hpc).send({"key_text": wrapped})
    assert errors(answer) == {}
    assert key_of(hpc) == RAW
    html = shown(admin, hpc)
    assert "A key is set, replaced now by curator." in html
    history = admin.get(reverse(f"admin:{MODEL}_history", args=[hpc.pk])).content.decode()
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM storage_slurmkey")
        stored = str(cursor.fetchall())
    told = " ".join(entry.get_change_message() for entry in LogEntry.objects.all())
    for text in (html, history, stored, told, caplog.text, answer.content.decode()):
        assert TEXT not in text and TEXT[:20] not in text and repr(RAW)[2:20] not in text
    assert "Signing key" in told  # that it was replaced is known


@pytest.mark.parametrize(
    ("sent", "field", "word"),
    [
        ({"key_text": "not base64!"}, "key_text", "Paste all of it"),
        ({"key_text": base64.b64encode(b"short").decode()}, "key_text", "at least 32 bytes; this has 5"),
        ({"key_file": SimpleUploadedFile("jwt.key", b"")}, "key_file", "at least 32 bytes; this has 0"),
        ({"key_file": SimpleUploadedFile("core", bytes(20_000))}, "key_file", "at most 16 KiB"),
        ({"key_file": SimpleUploadedFile("jwt.key", RAW), "key_text": TEXT}, "key_text", "not both"),
    ],
)
def test_what_is_no_key_is_refused_at_its_field_and_the_old_one_stays(
    admin: Client, hpc: SlurmCluster, sent: dict[str, Any], field: str, word: str
) -> None:
    for upload in sent.values():
        if hasattr(upload, "seek"):
            upload.seek(0)
    answer = Page(admin, MODEL, hpc).send(sent)
    found = errors(answer)
    assert found.keys() == {field} and word in found[field][0]
    assert "not base64!" not in answer.content.decode()
    assert key_of(hpc) == KEY


def test_without_a_key_it_can_be_saved_but_not_enabled(admin: Client, workspace: Workspace) -> None:
    whole = {"name": "new", "display_name": "New", "controllers": "slurm.example.com:6817", "workspaces": [str(workspace.pk)]}
    assert errors(Page(admin, MODEL).send({**whole, "enabled": "on"})).keys() == {"key_file"}
    assert errors(Page(admin, MODEL).send(whole)) == {}
    slurm = SlurmCluster.objects.get()
    assert "No key is set." in shown(admin, slurm)
    assert errors(Page(admin, MODEL, slurm).send({"enabled": "on"})).keys() == {"key_file"}
    assert errors(Page(admin, MODEL, slurm).send({"enabled": "on", "key_text": TEXT})) == {}
    assert SlurmCluster.objects.serving(workspace).get() == slurm


def test_a_token_lives_between_two_minutes_and_a_day(admin: Client, hpc: SlurmCluster) -> None:
    assert errors(Page(admin, MODEL, hpc).send({"token_minutes": "1"})).keys() == {"token_minutes"}
    assert errors(Page(admin, MODEL, hpc).send({"token_minutes": "1441"})).keys() == {"token_minutes"}


def test_the_key_is_written_again_when_encryption_keys_are_rotated(hpc: SlurmCluster, settings: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT value FROM storage_slurmkey")
        before = cursor.fetchone()
        settings.SLIPWAY_ENCRYPTION_KEYS = ["B" * 43 + "=", *settings.SLIPWAY_ENCRYPTION_KEYS]
        call_command("rotate_keys", verbosity=0)
        cursor.execute("SELECT value FROM storage_slurmkey")
        assert cursor.fetchone() != before
    settings.SLIPWAY_ENCRYPTION_KEYS = settings.SLIPWAY_ENCRYPTION_KEYS[:1]
    assert key_of(hpc) == KEY


def test_accounts_are_typed_on_the_clusters_page(admin: Client, hpc: SlurmCluster, cast: Cast) -> None:
    page = Page(admin, MODEL, hpc)
    page.add_row("accounts", user=str(cast.viewer.pk), slurm_user="vera", uid="2001", gid="2001")
    assert errors(page.send()) == {}
    assert SlurmAccount.objects.get(user=cast.viewer).slurm_user == "vera"


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"uid": "0"}, "uid"), ({"gid": "0"}, "gid"), ({"slurm_user": "root"}, "slurm_user"), ({"slurm_user": "a b"}, "slurm_user")],
)
def test_an_account_is_nobody_who_administers(admin: Client, hpc: SlurmCluster, cast: Cast, changed: dict[str, str], field: str) -> None:
    page = Page(admin, MODEL, hpc)
    number = page.add_row("accounts", **{"user": str(cast.viewer.pk), "slurm_user": "vera", "uid": "2001", "gid": "2001", **changed})
    assert errors(page.send()).keys() == {f"accounts-{number}-{field}"}


def test_a_user_has_one_account_on_a_cluster(admin: Client, hpc: SlurmCluster, cast: Cast) -> None:
    page = Page(admin, MODEL, hpc)
    number = page.add_row("accounts", user=str(cast.owner.pk), slurm_user="again", uid="2001", gid="2001")
    assert errors(page.send()).keys() == {f"accounts-{number}-user"}


def test_many_accounts_have_a_page_of_their_own_to_search(admin: Client, hpc: SlurmCluster, django_assert_max_num_queries: Any) -> None:
    users = get_user_model().objects.bulk_create(get_user_model()(username=f"u-{number}") for number in range(60))
    SlurmAccount.objects.bulk_create(SlurmAccount(slurm_cluster=hpc, user=user, slurm_user="x", uid=9, gid=9) for user in users)
    html = shown(admin, hpc)
    assert "62 accounts</a>" in html and "accounts-TOTAL_FORMS" not in html
    address = reverse("admin:compute_slurmaccount_changelist")
    with django_assert_max_num_queries(10):
        assert "u-31" in admin.get(f"{address}?slurm_cluster__id__exact={hpc.pk}&q=u-31").content.decode()


def test_the_button_shows_partitions_as_the_admin_sees_them(admin: Client, hpc: SlurmCluster, fake: FakeSlurm) -> None:
    SlurmAccount.objects.create(slurm_cluster=hpc, user=me(), slurm_user="curie", uid=2009, gid=2009)
    html = press_test(admin, hpc).content.decode()
    for words in ("It works", "curie", "debug", "3 idle, 1 in use, 0 other", "22.05.8"):
        assert words in html
    assert "It works" not in shown(admin, hpc)  # said once


@pytest.mark.parametrize(
    ("broken", "field", "words"),
    [
        ("controller", "controllers", "The controller is down"),
        ("no key", "key_file", "No signing key is set"),
        ("another key", "key_file", "The controller refused the token"),
        ("no account", "user_mapping", "curator has no account on HPC yet"),
    ],
)
def test_a_test_that_fails_says_why_at_the_field_that_mends_it(
    admin: Client, hpc: SlurmCluster, fake: FakeSlurm, broken: str, field: str, words: str
) -> None:
    if broken != "no account":
        SlurmAccount.objects.create(slurm_cluster=hpc, user=me(), slurm_user="curie", uid=2009, gid=2009)
    if broken == "controller":
        SlurmCluster.objects.update(controllers="127.0.0.1:1")
    if broken == "no key":
        SlurmKey.objects.all().delete()
    if broken == "another key":
        fake.says(error=ZERO)
    answer = press_test(admin, hpc)
    assert "The test failed" in answer.content.decode()
    found = errors(answer)
    assert found.keys() == {field} and words in found[field][0]


def test_only_who_may_change_it_may_test_it_and_only_by_pressing_the_button(admin: Client, hpc: SlurmCluster, fake: FakeSlurm) -> None:
    address = reverse(f"admin:{MODEL}_test", args=[hpc.pk])
    assert admin.get(address).status_code == 405
    looker = get_user_model().objects.create_user("looker", is_staff=True)
    looker.user_permissions.add(Permission.objects.get(codename="view_slurmcluster"))
    client = Client()
    client.force_login(looker)
    assert client.post(address).status_code == 403
    assert "/test/" not in shown(client, hpc)
    assert not (Path(fake.folder) / "asked").exists()
