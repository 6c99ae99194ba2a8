"""What the authorization tests share: a world in which everything is the owner's, and a ledger of what a request changes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compute import tokens
from compute.models import ApiToken, SlurmCluster, Workspace
from presets.models import Configuration, ConfigurationVariable, Preset
from presets.pictures import picture_of
from sessions import services
from sessions.models import Desired, Draft, Phase, Session
from sessions.slurm_models import SlurmSight
from sessions.spec import EnvInput, HomeInput, SpecInput
from sessions.webhooks.models import Webhook, WebhookDelivery
from sessions.wizard import Answers, VariableRow
from storage.models import Secret, SlurmKey, Volume
from tests.conftest import Cast
from tests.fakes import FakeDriver

APPS = ("compute", "presets", "storage", "notebook_sessions", "auth")
WATCHED = [model for label in APPS for model in apps.get_app_config(label).get_models(include_auto_created=True)]
WRITES = re.compile(rf'(INSERT INTO|UPDATE|DELETE FROM) "({"|".join(model._meta.db_table for model in WATCHED)})" (?!SET "last_login")')


@dataclass
class World:
    """A workspace in which everything that is secret contains ``canary-``."""

    cast: Cast
    staff: Any
    running: Session
    paused: Session
    scratch: Volume
    old: Volume
    secret: Secret
    draft: Draft
    token: ApiToken
    webhook: Webhook
    delivery: WebhookDelivery
    picture: str
    _signed_in: dict[str, str] = field(default_factory=dict)

    def client(self, person: str, **options: Any) -> Client:
        """A browser of that person. Each person signs in once."""
        client = Client(raise_request_exception=False, **options)
        if person != "anonymous" and person not in self._signed_in:
            user = self.staff if person == "staff" else getattr(self.cast, {"member": "colleague"}.get(person, person))
            client.force_login(user)
            self._signed_in[person] = client.cookies[settings.SESSION_COOKIE_NAME].value
        elif person != "anonymous":
            client.cookies[settings.SESSION_COOKIE_NAME] = self._signed_in[person]
        return client

    def objects(self, route: str) -> list[Any]:
        """What the route is about, as its address wants it after the workspace's name; all of it is the owner's."""
        known: dict[str, list[Any]] = {
            "presets:detail": ["jupyterlab"],
            "presets:picture": ["jupyterlab", self.picture],
            "sessions:draft": [self.draft.pk, "preset"],
            "sessions:resume": [self.paused.host],
            "storage:volume_delete": [self.scratch.pk],
            "storage:volume_restore": [self.old.pk],
            "storage:volume_purge": [self.old.pk],
            "storage:secret_delete": [self.secret.pk],
            "token_revoke": [self.token.public_id],
        }
        known |= {f"sessions:{page}": [self.running.host] for page in ("detail", "logs", "events", "slurm", "open", "pause", "delete")}
        known |= {f"webhooks:{page}": [self.webhook.name] for page in ("detail", "edit", "delete", "secret", "test")}
        known |= {f"webhooks:{page}": [self.webhook.name, self.delivery.event_id] for page in ("delivery", "replay")}
        return known.get(route, [])

    def url(self, route: str, workspace: str = "research") -> str:
        is_inside = route.partition(":")[0] in ("sessions", "presets", "storage", "webhooks")
        return reverse(route, args=[workspace, *self.objects(route)] if is_inside else self.objects(route))


def build(cast: Cast, workspace: Workspace, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> World:
    """Launched by the owner: one session that runs, one that is paused."""
    secret = Secret.objects.create(bundle=workspace.secrets_bundle, name="WAREHOUSE_PASSWORD", value="canary-secret")
    tracking = Configuration.objects.create(slug="tracking", name="Tracking")
    ConfigurationVariable.objects.create(configuration=tracking, name="TRACKING_TOKEN", value="canary-variable", is_secret=True)
    spec = SpecInput(
        name="lab",
        preset="jupyterlab",
        image="minimal",
        pod_size="small",
        home=HomeInput(create_size="5Gi"),
        configurations=("tracking",),
        env=(EnvInput("API_KEY", "canary-env"),),
    )
    picture = picture_of(b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    picture.save()
    Preset.objects.filter(slug="jupyterlab").update(icon=picture)
    running = services.launch(cast.owner, workspace, spec)
    paused = services.launch(cast.owner, workspace, replace(spec, name="rest"))
    log = "The server is at http://127.0.0.1/lab?token=canary-token\n"
    Session.objects.update(ide_token="canary-token", log_tail=log, applied_generation=1, status_generation=1)
    Session.objects.filter(pk=running.pk).update(phase=Phase.RUNNING, observed_revision=1, endpoint="unix:/run/lab.sock")
    attach_slurm(running)
    Session.objects.filter(pk=paused.pk).update(phase=Phase.PAUSED, desired=Desired.PAUSED)
    monkeypatch.setattr(driver, "logs", lambda *args, **kwargs: log)
    answers = Answers.from_spec(replace(spec, name="draft", env=()))
    answers.env = [VariableRow(name="API_KEY", value="canary-draft")]
    old = Volume(workspace=workspace, owner=cast.owner, name="old", kind=Volume.Kind.DATA)
    old.trash(cast.owner)
    old.save()
    webhook = Webhook.objects.create(workspace=workspace, name="ci", url="https://ci.example.com/hook", secret="canary-webhook")
    return World(
        cast=cast,
        staff=get_user_model().objects.create_superuser("staff", password="correct-horse"),
        running=Session.objects.get(pk=running.pk),
        paused=Session.objects.get(pk=paused.pk),
        scratch=Volume.objects.create(workspace=workspace, owner=cast.owner, name="scratch", kind=Volume.Kind.DATA),
        old=old,
        secret=secret,
        draft=Draft.objects.create(pk=uuid.uuid4(), owner=cast.owner, workspace=workspace, data=answers.to_data()),
        webhook=webhook,
        delivery=WebhookDelivery.objects.create(webhook=webhook, type="webhook.test", payload={}),
        picture=picture.digest,
        token=tokens.create_token(cast.owner, name="laptop", scopes=["read"]).row,
    )


def attach_slurm(session: Session) -> None:
    """A Slurm cluster that was asked a moment ago, so that a look at it changes nothing."""
    slurm = SlurmCluster.objects.create(name="hpc", display_name="HPC", controllers="slurm:6817", enabled=True)
    slurm.workspaces.set([session.workspace])
    SlurmKey.objects.create(slurm_cluster=slurm, value="canary-slurm-key")
    SlurmSight.objects.create(slurm_cluster=slurm, user=session.owner, asked_at=timezone.now())
    Session.objects.filter(pk=session.pk).update(slurm_cluster=slurm)


def everything() -> dict[str, list[Any]]:
    """All rows that a request could change, as values."""
    rows = {model._meta.label: list(model._default_manager.order_by("pk").values()) for model in WATCHED}
    for user in rows["auth.User"]:
        del user["last_login"]
    return rows


class Ledger:
    """Says what came of each request in the words of ``MATRIX``. Rows are read only where a statement may have changed them."""

    def __init__(self) -> None:
        self.before = everything()
        self.written = False

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.written = self.written or bool(WRITES.match(sql))
        return execute(sql, params, many, context)

    def outcome(self, response: HttpResponse) -> str:
        """No answer may hold a secret."""
        shown = response.content.decode(errors="replace") + repr(response.headers)
        assert "canary-" not in shown, shown[max(0, shown.index("canary-") - 200) :][:300]
        written, self.written = self.written, False
        if written and everything() != self.before:
            if response.status_code == 200 and "whsec_" in shown:
                return "shown"
            return "done" if response.status_code == 302 else f"{response.status_code}, and something has changed"
        if response.status_code == 302 and response["Location"].startswith(f"{reverse('login')}?next="):
            return "sign-in"
        return str(response.status_code)


@contextmanager
def ledger() -> Iterator[Ledger]:
    """From here on, rows should stay as they are."""
    book = Ledger()
    with connection.execute_wrapper(book):
        yield book


@contextmanager
def undone(book: Ledger) -> Iterator[None]:
    """What is done to the database inside is undone at the end."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
    book.written = False


def send(client: Client, method: str, url: str, form: Any = None) -> HttpResponse:
    return client.get(url) if method == "GET" else client.post(url, form or {})
