"""Many sessions, with what belongs to them, made in bulk. Most are in the workspace that is looked at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.utils import timezone

from compute.models import Cluster, ComputePool, Membership, Role, Workspace
from presets.models import Configuration, Image, PodSize, Preset
from sessions import services
from sessions.models import Activity, Desired, Phase, Session, SessionVolume
from sessions.spec import HomeInput, SpecInput
from storage.models import Secret, SecretsBundle, Volume

BATCH = 500
PEOPLE = 200
WORKSPACES = ("research", "finance", "marketing", "sandbox")
PHASES = [Phase.RUNNING] * 4 + [Phase.PAUSED] * 4 + [Phase.FAILED, Phase.PENDING]


class Population:
    """The catalog and the people are there from the start; :meth:`grow` brings the sessions."""

    def __init__(self) -> None:
        cluster = Cluster.objects.create(name="here", display_name="This machine", driver="local")
        pool = ComputePool.objects.create(cluster=cluster, name="standard", display_name="Standard", price_cpu="0.04", price_memory="0.005")
        self.pool = pool
        self.users = get_user_model().objects.bulk_create(
            get_user_model()(username=f"user-{number:03}", first_name=f"First{number}", last_name=f"Last{number}", password="!")
            for number in range(PEOPLE)
        )
        self.workspaces = [
            Workspace.objects.create(name=name, display_name=name.capitalize(), cluster=cluster, namespace=name, default_pool=pool)
            for name in WORKSPACES
        ]
        self.user, self.workspace = self.users[0], self.workspaces[0]
        Membership.objects.bulk_create(
            Membership(workspace=workspace, user=user, role=Role.ADMIN) for workspace in self.workspaces for user in self.users
        )
        self.presets = [self._preset(number) for number in range(12)]
        for number in range(6):
            Configuration.objects.create(slug=f"configuration-{number}", name=f"Configuration {number}")
        bundle = SecretsBundle.objects.create(workspace=self.workspace)
        Secret.objects.bulk_create(Secret(bundle=bundle, name=f"SECRET_{number}", value="value") for number in range(40))
        spec = SpecInput(name="first", preset="preset-0", image="image-0", pod_size="size-0", home=HomeInput(create_size="5Gi"))
        self.snapshot = services.launch(self.user, self.workspace, spec).snapshot  # a true one, for all
        self.size = 0

    def _preset(self, number: int) -> tuple[Preset, Image, PodSize]:
        preset = Preset.objects.create(slug=f"preset-{number}", name=f"Preset {number}", ide="jupyterlab", position=number)
        images = [
            Image.objects.create(preset=preset, slug=f"image-{n}", name=f"Image {n}", reference="local:jupyterlab", is_default=n == 0)
            for n in range(3)
        ]
        sizes = [
            PodSize.objects.create(preset=preset, slug=f"size-{n}", name=f"Size {n}", cpu=str(n + 1), memory="2Gi", is_default=n == 0)
            for n in range(4)
        ]
        return preset, images[0], sizes[0]

    def grow(self, size: int) -> None:
        """Up to ``size`` sessions in all, seven of ten in ``workspace``; each with a home volume and four lines of activity."""
        for start in range(self.size, size, BATCH):
            numbers = range(start, min(size, start + BATCH))
            homes = Volume.objects.bulk_create(self._home(number) for number in numbers)
            sessions = Session.objects.bulk_create(self._session(number) for number in numbers)
            now = timezone.now()
            # bulk_create stamps them all alike; in life they differ.
            for number, session in zip(numbers, sessions, strict=True):
                session.created_at = now - timedelta(seconds=number * 7 % 1_000_003)
            Session.objects.bulk_update(sessions, ["created_at"])
            SessionVolume.objects.bulk_create(
                SessionVolume(session=session, volume=home, mount_path="/home/jovyan", is_home=True)
                for session, home in zip(sessions, homes, strict=True)
            )
            Activity.objects.bulk_create(
                Activity(workspace_id=session.workspace_id, session=session, host=session.host, verb=verb, actor_id=session.owner_id)
                for session in sessions
                for verb in ("launch", "phase", "pause", "resume")
            )
        self.size = size

    def _place(self, number: int) -> Workspace:
        return self.workspaces[0 if number % 10 < 7 else number % 10 - 6]

    def _home(self, number: int) -> Volume:
        name = f"home-work-{number:05}"
        owner = self.users[number % PEOPLE]
        return Volume(workspace=self._place(number), owner=owner, name=name, claim=f"{name}-claim", kind=Volume.Kind.HOME)

    def _session(self, number: int) -> Session:
        preset, image, size = self.presets[number // 10 % len(self.presets)]
        phase = PHASES[number // 10 % len(PHASES)]
        values: dict[str, Any] = {"steps": [], "message": "Something happened." if phase == Phase.FAILED else ""}
        return Session(
            workspace=self._place(number),
            owner=self.users[number % PEOPLE],
            name=f"work-{number:05}",
            host=f"work-{number:05}-bcdfgh",
            preset=preset,
            image=image,
            pod_size=size,
            compute_pool=self.pool,
            env={"API_KEY": "value"},
            snapshot=self.snapshot,
            price_per_hour="0.05",
            desired=Desired.PAUSED if phase == Phase.PAUSED else Desired.RUNNING,
            phase=phase,
            applied_generation=1,
            status_generation=1,
            observed_revision=1,
            **values,
        )
