"""The first admin, and something for them to stand on."""

from __future__ import annotations

import os
import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser
from django.db import transaction

from compute.models import Cluster, ComputePool, Membership, Role, Workspace
from storage.models import SecretsBundle

CLUSTERS = {"local": ("this-machine", "This machine"), "kubernetes": ("kubernetes", "Kubernetes")}  # driver → name, label


class Command(BaseCommand):
    help = (
        "Make the first admin, and a cluster and a workspace where there are none. The password is read from "
        "SLIPWAY_ADMIN_PASSWORD; without it one is made and printed once. Safe to repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", default="admin")
        parser.add_argument("--email", default="")
        parser.add_argument("--workspace", default="team", help="A DNS label; made only where there is no workspace.")
        parser.add_argument("--driver", choices=sorted(CLUSTERS), default="local", help="Where sessions run (default: %(default)s).")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        admin = self._admin(options["username"], options["email"])
        if Workspace.objects.exists():
            return
        cluster_name, label = CLUSTERS[options["driver"]]
        cluster, _ = Cluster.objects.get_or_create(name=cluster_name, defaults={"display_name": label, "driver": options["driver"]})
        pool, _ = ComputePool.objects.get_or_create(cluster=cluster, name="standard", defaults={"display_name": "Standard"})
        name = options["workspace"]
        workspace = Workspace(name=name, display_name=name.capitalize(), cluster=cluster, namespace=name, default_pool=pool)
        workspace.full_clean()
        workspace.save()
        SecretsBundle.objects.create(workspace=workspace)
        Membership.objects.create(workspace=workspace, user=admin, role=Role.ADMIN)
        self.stdout.write(f"Made the workspace “{workspace}” on the cluster “{cluster}”.")

    def _admin(self, username: str, email: str) -> Any:
        users = get_user_model().objects
        existing = users.filter(is_superuser=True, is_active=True).order_by("pk").first()
        if existing is not None:
            self.stdout.write(f"There is an admin already: {existing.get_username()}.")
            return existing
        given = os.environ.get("SLIPWAY_ADMIN_PASSWORD", "")
        password = given or secrets.token_urlsafe(15)
        admin = users.create_superuser(username=username, email=email, password=password)
        self.stdout.write(f"Made the admin {username}" + ("." if given else f" with the password {password} (shown once; change it)."))
        return admin
