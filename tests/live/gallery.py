"""Every page of Slipway in every state that it is seen in: for the tests of accessibility and looks.

One workspace whose sessions are really Running, Paused, Pending and Failed, with drafts, volumes, a trash, secrets, a webhook.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from django.conf import settings
from django.contrib.auth import get_user_model
from django.template.loader import render_to_string
from django.utils import timezone
from playwright.sync_api import Page

from compute import tokens
from compute.models import Scope, SlurmCluster, Workspace
from compute.slurm_client import version_skew
from presets.models import Configuration, Preset, PresetVariable
from sessions import gateway, services
from sessions.models import Draft, Phase, Session
from sessions.slurm_models import SlurmSight
from sessions.spec import SpecInput, defaults
from sessions.webhooks.models import Webhook, WebhookDelivery
from sessions.wizard import STEPS, Answers, VariableRow, VolumeRow
from storage import services as storage
from storage.models import Secret, Volume
from storage.slurm_keys import replace_key
from tests.live.pages import START_SECONDS
from tests.stack import Stack

NEWCOMER_PASSWORD = "of no workspace"
FAILS = "echo 'Loading the team settings' && echo 'settings.toml: no such file' >&2 && exit 1"
WAITS = "echo 'Loading the team settings' && sleep 600"


@dataclass(frozen=True)
class View:
    """``path``: where it is, below the control plane or a full address. ``main``: among the pages to look at.
    ``drawn``: what is there once a script has drawn the page."""

    username: str
    path: Callable[[Gallery], str]
    status: int = 200
    main: bool = False
    drawn: str = ""


class Gallery:
    """Made once per run; what it launches is removed by :meth:`close`."""

    def __init__(self, stack: Stack, workspace: Workspace, empty: Workspace) -> None:
        self.stack, self.workspace, self.empty = stack, workspace, empty
        self.member = get_user_model().objects.get(username="member")
        self.login_key = ""  # of the member's sign-in, once there is one
        self.sessions: dict[str, Session] = {}
        self.configurations: list[Configuration] = []

    def make(self) -> None:
        workspace = self.workspace
        get_user_model().objects.create_user("newcomer", password=NEWCOMER_PASSWORD)
        for name, size in (("churn-features", "20Gi"), ("survey-2026", "100Gi")):
            Volume.objects.create(workspace=workspace, name=name, kind="data", size=size, access_mode="ReadWriteMany")
        for name in ("WAREHOUSE_PASSWORD", "S3_SECRET_KEY"):
            Secret.objects.create(bundle=workspace.secrets_bundle, name=name, value="x", description="Read access", updated_by=self.member)
        self.old = Volume.objects.create(workspace=workspace, owner=self.member, name="home-old", kind="home", size="5Gi")
        storage.trash_volume(self.member, self.old)
        for name in ("JUPYTER_CONFIG_DIR_EXTRA", "TEAM_MIRROR"):
            PresetVariable.objects.get_or_create(preset=Preset.objects.get(slug="jupyterlab"), name=name, defaults={"value": "x"})
        self._webhook()
        tokens.create_token(self.member, name="laptop", scopes=[Scope.READ, Scope.SESSIONS], workspaces=[workspace.name])
        fails, waits = self._configuration("team-settings", FAILS), self._configuration("slow-settings", WAITS)
        self._launch("churn-model", "Running")
        self._launch("weekly-report", "Paused")
        self._launch("survey-cleaning", "Pending", waits)
        self._launch("embeddings", "Failed", fails)
        self._wait_for("weekly-report", Phase.RUNNING)
        services.pause(self.member, self.sessions["Paused"])
        for phase, session in self.sessions.items():
            self._wait_for(session.name, phase)
        self._slurm(self.sessions["Paused"])

    def close(self) -> None:
        for session in Session.objects.filter(workspace=self.workspace):
            services.delete(self.member, session)
        deadline = time.monotonic() + 30
        while Session.objects.filter(workspace=self.workspace).exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        for configuration in self.configurations:
            configuration.delete()

    def _webhook(self) -> None:
        """Told of what no session here is, so that nothing is sent; one delivery came, one did not."""
        self.webhook = Webhook.objects.create(
            workspace=self.workspace,
            name="team-chat",
            url="https://chat.example.com/hooks/7f2c",
            phases=["Unknown"],
            created_by=self.member,
        )
        told = {"workspace": self.workspace.name, "session": {"name": "churn-model", "phase": "Running"}}
        done = {"type": "session.phase_changed", "payload": told, "tried_at": timezone.now(), "duration": 0.042}
        status = WebhookDelivery.Status
        self.webhook.deliveries.create(status=status.DELIVERED, attempts=1, response_code=200, response_text="ok", **done)
        self.lost = self.webhook.deliveries.create(status=status.FAILED, attempts=8, response_code=502, error="It answered 502.", **done)

    def _slurm(self, session: Session) -> None:
        """A cluster whose controller has gone away after it was heard of: so the page has all that it can have."""
        nodes = {"idle": 12, "in_use": 30, "other": 1}
        job = {"id": "4711", "name": "train-resnet", "state": "RUNNING", "elapsed": "12:30", "reason": "", "partition": "gpu"}
        seen = {
            "version": "21.08.1",
            "client_version": "22.05.8",
            "nodes": nodes,
            "skew": version_skew("22.05.8", "21.08.1"),
            "partitions": [{"name": name, "state": "up", "time_limit": "1-00:00:00", "nodes": nodes} for name in ("debug", "gpu")],
            "jobs": [job, {**job, "id": "4712", "state": "PENDING", "elapsed": "0:00", "reason": "Resources"}],
            "jobs_total": 120,
        }
        self.slurm = SlurmCluster.objects.create(
            name=f"hpc-{self.workspace.name}", display_name="HPC West", controllers="127.0.0.1:1", enabled=True
        )
        self.slurm.workspaces.set([self.workspace])
        replace_key(self.slurm, bytes(32), self.member)
        SlurmSight.objects.create(slurm_cluster=self.slurm, user=self.member, seen=seen, answered_at=timezone.now())
        Session.objects.filter(pk=session.pk).update(slurm_cluster=self.slurm)

    def _configuration(self, name: str, script: str) -> str:
        slug = f"{name}-{self.workspace.name}"
        row = Configuration.objects.create(slug=slug, name=name.replace("-", " ").capitalize(), init_script=script)
        row.workspaces.add(self.workspace)
        self.configurations.append(row)
        return slug

    def _spec(self, name: str, *configurations: str) -> SpecInput:
        preset = Preset.objects.get(slug="jupyterlab")
        return replace(defaults(self.member, self.workspace, preset), name=name, configurations=configurations)

    def _launch(self, name: str, phase: str, *configurations: str) -> None:
        self.sessions[phase] = services.launch(self.member, self.workspace, self._spec(name, *configurations))

    def _wait_for(self, name: str, phase: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not Session.objects.filter(workspace=self.workspace, name=name, phase=phase).exists():
            assert time.monotonic() < deadline, f"{name} is not {phase}."
            time.sleep(0.1)

    @cached_property
    def draft(self) -> str:
        return self._draft(Answers.from_spec(self._spec("forecast")))

    @cached_property
    def wrong_draft(self) -> str:
        """With something to mend in every step."""
        answers = Answers.from_spec(self._spec("Not a name"))
        answers.compute_pool, answers.home_size, answers.pod_size = "nowhere", "a lot", "enormous"
        answers.data_volumes = [VolumeRow(volume="survey-2026", mount_path="/etc"), VolumeRow(volume="survey-2026", mount_path="/data/b")]
        answers.env = [VariableRow(name="NOT-A-NAME"), VariableRow(name="WAREHOUSE_PASSWORD", value="mine")]
        answers.touched = {"name", "data_volumes"}
        return self._draft(answers)

    def _draft(self, answers: Answers) -> str:
        answers.visited = answers.tried = {step.identifier for step in STEPS}
        return str(Draft.objects.create(pk=uuid.uuid4(), owner=self.member, workspace=self.workspace, data=answers.to_data()).pk)

    def inside(self, path: str = "") -> str:
        return f"/w/{self.workspace.name}/{path}"

    def session(self, phase: str, path: str = "") -> str:
        return self.sessions[phase].get_absolute_url() + path

    def volume(self, name: str, verb: str) -> str:
        return self.inside(f"volumes/{Volume.objects.get(workspace=self.workspace, name=name).pk}/{verb}/")

    def secret(self) -> int:
        return int(Secret.objects.get(bundle__workspace=self.workspace, name="S3_SECRET_KEY").pk)

    def ticket(self, phase: str) -> str:
        """An address that enters the session, whatever its phase."""
        return gateway.issue_ticket(self.sessions[phase], self.member, self.login_key).replace(
            gateway.origin_of(self.sessions[phase].host), self.stack.session_url(self.sessions[phase].host)
        )

    def show(self, page: Page, view: View) -> None:
        if view.username == "member":
            cookies = {cookie.get("name"): cookie.get("value") for cookie in page.context.cookies(self.stack.url)}
            self.login_key = str(cookies[settings.SESSION_COOKIE_NAME])
        answer = page.goto(view.path(self))
        assert answer is not None and answer.status == view.status, f"{page.url} answered {answer and answer.status}"
        if view.drawn:
            page.locator(view.drawn).first.wait_for()


VIEWS: dict[str, View] = {
    "sign-in": View("", lambda g: "/sign-in/", main=True),
    "sessions": View("member", lambda g: g.inside("sessions/"), main=True),
    "sessions-no-match": View("member", lambda g: g.inside("sessions/?search=nothing-like-it")),
    "sessions-empty": View("member", lambda g: f"/w/{g.empty.name}/sessions/", main=True),
    "wizard-new": View("member", lambda g: g.inside("sessions/new/")),
    **{
        f"wizard-{step.identifier}": View("member", lambda g, step=step: g.inside(f"sessions/new/{g.draft}/{step.identifier}/"), main=True)
        for step in STEPS
    },
    **{
        f"wizard-{step.identifier}-errors": View(
            "member", lambda g, step=step: g.inside(f"sessions/new/{g.wrong_draft}/{step.identifier}/"), main=True
        )
        for step in STEPS
    },
    **{
        f"session-{phase.lower()}": View("member", lambda g, phase=phase: g.session(phase), main=True)
        for phase in ("Pending", "Running", "Paused", "Failed")
    },
    "session-log": View("member", lambda g: g.session("Running", "logs/")),
    "session-log-hidden": View("viewer", lambda g: g.session("Running", "logs/")),
    "session-slurm": View("member", lambda g: g.session("Paused", "slurm/"), main=True, drawn=".slurm-away"),
    "session-events": View("member", lambda g: g.session("Failed", "events/"), main=True),
    "session-viewer": View("viewer", lambda g: g.session("Failed")),
    "session-delete": View("member", lambda g: g.session("Paused", "delete/"), main=True),
    "presets": View("member", lambda g: g.inside("presets/"), main=True),
    "preset": View("member", lambda g: g.inside("presets/jupyterlab/"), main=True),
    "volumes": View("member", lambda g: g.inside("volumes/"), main=True),
    "volume-new": View("member", lambda g: g.inside("volumes/new/")),
    "volume-delete": View("admin", lambda g: g.volume("survey-2026", "delete")),
    "volume-delete-used": View("member", lambda g: g.volume("home-weekly-report", "delete")),
    "volume-purge": View("member", lambda g: g.inside(f"volumes/{g.old.pk}/purge/")),
    "trash": View("member", lambda g: g.inside("volumes/trash/"), main=True),
    "trash-empty": View("member", lambda g: f"/w/{g.empty.name}/volumes/trash/"),
    "secrets": View("member", lambda g: g.inside("secrets/"), main=True),
    "secrets-admin": View("admin", lambda g: g.inside("secrets/")),
    "secret-write": View("admin", lambda g: g.inside("secrets/write/")),
    "secret-delete": View("admin", lambda g: g.inside(f"secrets/{g.secret()}/delete/")),
    "webhooks": View("admin", lambda g: g.inside("webhooks/"), main=True),
    "webhook": View("admin", lambda g: g.inside(f"webhooks/{g.webhook}/"), main=True),
    "webhook-new": View("admin", lambda g: g.inside("webhooks/new/")),
    "webhook-delivery": View("admin", lambda g: g.inside(f"webhooks/{g.webhook}/deliveries/{g.lost.event_id}/")),
    "tokens": View("member", lambda g: "/account/tokens/", main=True),
    "token-new": View("member", lambda g: "/account/tokens/new/"),
    "api": View("", lambda g: "/api/", drawn=".opblock"),
    "api-errors": View("", lambda g: "/api/errors"),
    "admin": View("admin", lambda g: "/admin/", main=True),
    "admin-cluster-health": View("admin", lambda g: "/admin/compute/cluster/health/", main=True),
    "admin-cluster": View("admin", lambda g: f"/admin/compute/cluster/{g.workspace.cluster_id}/change/"),
    "admin-slurm": View("admin", lambda g: f"/admin/compute/slurmcluster/{g.slurm.pk}/change/"),
    "admin-tokens": View("admin", lambda g: "/admin/compute/apitoken/"),
    "admin-presets": View("admin", lambda g: "/admin/presets/preset/"),
    "admin-preset": View("admin", lambda g: f"/admin/presets/preset/{Preset.objects.get(slug='jupyterlab').pk}/change/"),
    "admin-preview": View(
        "admin", lambda g: f"/admin/presets/preset/{Preset.objects.get(slug='jupyterlab').pk}/preview/?workspace={g.workspace.pk}"
    ),
    "no-workspace": View("newcomer", lambda g: "/", main=True),
    "forbidden": View("viewer", lambda g: g.inside("sessions/new/"), status=403),
    "not-found": View("member", lambda g: "/w/nowhere/sessions/", status=404),
    "gateway-paused": View("member", lambda g: g.ticket("Paused"), status=503, main=True),
    "gateway-starting": View("member", lambda g: g.ticket("Pending"), status=503),
    "gateway-failed": View("member", lambda g: g.ticket("Failed"), status=503),
    "gateway-not-found": View("", lambda g: g.stack.session_url(g.sessions["Running"].host), status=404),
}


def nginx_pages(stack: Stack) -> dict[str, str]:
    """The pages that nginx answers by itself when nobody else does, as HTML."""
    return {
        name: render_to_string(f"gateway/{name}.html", {"slipway_url": stack.url, "refresh": 5})
        for name in ("session_unavailable", "web_unavailable")
    }
