"""The demo's sample data: accounts in every role, workspaces, pools with prices, volumes, secrets, configurations."""

from __future__ import annotations

import secrets
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from compute.models import Cluster, ComputePool, Membership, Role, Workspace
from config.demo_accounts import DEMO_ACCOUNTS
from presets.models import Configuration, ConfigurationVariable, ConfigurationVolume
from storage.models import Secret, SecretsBundle, Volume

MEMBERS = {
    "research": {"admin": Role.ADMIN, "member": Role.MEMBER, "viewer": Role.VIEWER},
    "sales": {"admin": Role.ADMIN, "member": Role.MEMBER},
    "sandbox": {"outsider": Role.ADMIN},
}
SECRETS = {
    "research": {"WAREHOUSE_PASSWORD": "Read access to the data warehouse", "S3_SECRET_KEY": "Bucket research-raw"},
    "sales": {"CRM_API_KEY": "Customer records, read-only"},
}


class Command(BaseCommand):
    help = "Bring the demo's sample data. What is there already, changed or not, stays as it is."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SLIPWAY_DEMO:
            raise CommandError("The demo's accounts have public passwords. Set SLIPWAY_DEMO=1 if this is a demo.")
        users = {account.username: self._user(account) for account in DEMO_ACCOUNTS}
        cluster, _ = Cluster.objects.get_or_create(name="this-machine", defaults={"display_name": "This machine", "driver": "local"})
        pool = self._pools(cluster)
        workspaces = {
            "research": self._workspace("research", "Research", cluster, pool, quota_sessions=8, quota_cpu="16", quota_memory="64Gi"),
            "sales": self._workspace("sales", "Sales", cluster, pool, quota_sessions=4),
            "sandbox": self._workspace("sandbox", "Sandbox", cluster, pool),
        }
        for name, members in MEMBERS.items():
            for username, role in members.items():
                Membership.objects.get_or_create(workspace=workspaces[name], user=users[username], defaults={"role": role})
        for name, descriptions in SECRETS.items():
            self._secrets(workspaces[name], descriptions, users["admin"])
        self._volumes(workspaces)
        self._configurations(workspaces["research"])

    def _user(self, account: Any) -> Any:
        users = get_user_model()
        first, last = account.full_name.split()
        user, is_new = users.objects.get_or_create(
            username=account.username,
            defaults={
                "first_name": first,
                "last_name": last,
                "email": f"{account.username}@example.com",
                "is_staff": account.username == "admin",
                "is_superuser": account.username == "admin",
            },
        )
        if is_new:
            user.set_password(account.password)
            user.save(update_fields=["password"])
        return user

    def _pools(self, cluster: Cluster) -> ComputePool:
        standard, _ = ComputePool.objects.get_or_create(
            cluster=cluster,
            name="standard",
            defaults={
                "display_name": "Standard",
                "description": "Yours until you pause it.",
                "price_cpu": Decimal("0.04"),
                "price_memory": Decimal("0.005"),
            },
        )
        ComputePool.objects.get_or_create(
            cluster=cluster,
            name="spot",
            defaults={
                "display_name": "Spot",
                "description": "Spare capacity at a lower price; a session may be interrupted.",
                "price_cpu": Decimal("0.012"),
                "price_memory": Decimal("0.0015"),
            },
        )
        return standard

    def _workspace(self, name: str, display_name: str, cluster: Cluster, pool: ComputePool, **quotas: Any) -> Workspace:
        workspace, _ = Workspace.objects.get_or_create(
            name=name,
            defaults={"display_name": display_name, "cluster": cluster, "namespace": name, "default_pool": pool, **quotas},
        )
        SecretsBundle.objects.get_or_create(workspace=workspace)
        return workspace

    def _secrets(self, workspace: Workspace, descriptions: dict[str, str], author: Any) -> None:
        for name, description in descriptions.items():
            Secret.objects.get_or_create(
                bundle=workspace.secrets_bundle,
                name=name,
                defaults={"description": description, "value": secrets.token_urlsafe(24), "updated_by": author},
            )

    def _volumes(self, workspaces: dict[str, Workspace]) -> None:
        for workspace, name, size in (("research", "datasets", "20Gi"), ("research", "models", "50Gi"), ("sales", "orders", "10Gi")):
            if not Volume.objects.filter(workspace=workspaces[workspace], name=name).exists():
                Volume.objects.create(
                    workspace=workspaces[workspace], name=name, kind=Volume.Kind.DATA, size=size, access_mode=Volume.AccessMode.MANY
                )

    def _configurations(self, research: Workspace) -> None:
        tracking, is_new = Configuration.objects.get_or_create(
            slug="experiment-tracking",
            defaults={"name": "Experiment tracking", "description": "Sends runs to the team's MLflow server.", "position": 10},
        )
        if is_new:
            tracking.workspaces.add(research)
            for name, value, is_secret in (
                ("MLFLOW_TRACKING_URI", "http://mlflow.research.example.com", False),
                ("MLFLOW_TRACKING_TOKEN", secrets.token_urlsafe(24), True),
            ):
                ConfigurationVariable.objects.create(configuration=tracking, name=name, value=value, is_secret=is_secret)
        shared, is_new = Configuration.objects.get_or_create(
            slug="shared-datasets",
            defaults={"name": "Shared datasets", "description": "Mounts the team's datasets at /data/datasets, read-only.", "position": 20},
        )
        if is_new:
            shared.workspaces.add(research)
            ConfigurationVolume.objects.create(configuration=shared, volume="datasets", mount_path="/data/datasets", read_only=True)
