"""Volumes and their trash. Each verb is the service that the pages call; nothing but a purge deletes data."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import Scope
from sessions.api.operations import operation
from sessions.api.scopes import require_own_scope
from sessions.api.serializers import Answer, Body, Query, Text, Thing, Time, absolute
from sessions.api.views import WorkspaceView
from sessions.models import Phase, SessionVolume
from storage import listing, services
from storage.models import Volume

# Who launches sessions has to see what there is to mount.
READING = (Scope.READ, Scope.VOLUMES, Scope.SESSIONS)
# One's own volumes want the one, other people's and the workspace's the other.
WRITING = (Scope.VOLUMES, Scope.ADMIN)


class UseSerializer(Answer):
    """A session that the volume is attached to, running or not."""

    session = serializers.CharField(source="session.name")
    phase = serializers.ChoiceField(Phase.choices, source="session.phase")
    mount_path = serializers.CharField()
    read_only: Any = serializers.BooleanField()  # the base class has an attribute of this name


class VolumeActionsSerializer(Answer):
    """What you may do with it now."""

    delete = serializers.BooleanField()


class VolumeLinksSerializer(Answer):
    self = serializers.SerializerMethodField()
    page = serializers.SerializerMethodField()

    def get_self(self, volume: Volume) -> str:
        return absolute("api:volume", self.context["workspace"].name, volume.name)

    def get_page(self, volume: Volume) -> str:
        return absolute("storage:volumes", self.context["workspace"].name)


class VolumeSerializer(Thing):
    name = serializers.CharField(help_text="What a session’s home and data_volumes call its claim.")
    pvc = serializers.CharField(source="claim", help_text="Its PersistentVolumeClaim’s name on the cluster; never used again.")
    kind = serializers.ChoiceField(Volume.Kind.choices)
    size = serializers.CharField(help_text="A Kubernetes quantity.")
    access_mode = serializers.ChoiceField(Volume.AccessMode.choices)
    storage_class = serializers.CharField(help_text="Empty: the cluster’s default.")
    owner = serializers.CharField(source="owner.username", allow_null=True, help_text="null: the workspace’s own.")
    created_at = Time()
    used_by = UseSerializer(source="mounts", many=True)
    actions = serializers.SerializerMethodField()
    links = VolumeLinksSerializer(source="*")

    @extend_schema_field(VolumeActionsSerializer)
    def get_actions(self, volume: Volume) -> dict[str, bool]:
        return {"delete": listing.may_manage(self.context["membership"], volume) and not volume.mounts.all()}


class TrashLinksSerializer(Answer):
    self = serializers.SerializerMethodField()
    restore = serializers.SerializerMethodField(help_text="POST here to have it back.")

    def get_self(self, volume: Volume) -> str:
        return absolute("api:trashed-volume", self.context["workspace"].name, volume.claim)

    def get_restore(self, volume: Volume) -> str:
        return absolute("api:trashed-volume-restore", self.context["workspace"].name, volume.claim)


class TrashedVolumeSerializer(Thing):
    pvc = serializers.CharField(source="claim", help_text="What names it in the trash, where several may have had the same name.")
    name = serializers.CharField()
    kind = serializers.ChoiceField(Volume.Kind.choices)
    size = serializers.CharField()
    owner = serializers.CharField(source="owner.username", allow_null=True)
    trashed_at = Time()
    trashed_by = serializers.CharField(source="trashed_by.username", allow_null=True)
    purge_after = Time(help_text="When its data is deleted for good.")
    links = TrashLinksSerializer(source="*")


class VolumeBody(Body):
    name = Text()
    kind = Text(required=False, help_text="home or data; absent: data.")
    size = Text(required=False, help_text="Such as 20Gi; absent: 5Gi.")
    access_mode = Text(required=False, help_text=f"{', '.join(Volume.AccessMode.values)}; absent: the first.")
    storage_class = Text(required=False, help_text="Absent: the cluster’s default.")


class VolumeQuery(Query):
    search = serializers.CharField(required=False, max_length=100, help_text="Part of the volume’s or its owner’s name.")
    kind = serializers.ChoiceField(Volume.Kind.choices, required=False)


VOLUME_EXAMPLE: dict[str, Any] = {
    "name": "sales",
    "pvc": "sales-x7k2mp",
    "kind": "data",
    "size": "20Gi",
    "access_mode": "ReadWriteMany",
    "storage_class": "",
    "owner": "ada",
    "created_at": "2026-11-02T08:00:00Z",
    "used_by": [{"session": "forecast", "phase": "Running", "mount_path": "/data/sales", "read_only": True}],
    "actions": {"delete": False},
    "links": {
        "self": "https://slipway.example.com/api/v1/workspaces/research/volumes/sales",
        "page": "https://slipway.example.com/w/research/volumes/",
    },
}
NEW_VOLUME_EXAMPLE = {**VOLUME_EXAMPLE, "used_by": [], "actions": {"delete": True}}
VOLUME_BODY_EXAMPLE = {"name": "sales", "kind": "data", "size": "20Gi", "access_mode": "ReadWriteMany"}
TRASHED_EXAMPLE: dict[str, Any] = {
    "pvc": "sales-x7k2mp",
    "name": "sales",
    "kind": "data",
    "size": "20Gi",
    "owner": "ada",
    "trashed_at": "2026-11-23T09:30:00Z",
    "trashed_by": "ada",
    "purge_after": "2026-12-07T09:30:00Z",
    "links": {
        "self": "https://slipway.example.com/api/v1/workspaces/research/trash/sales-x7k2mp",
        "restore": "https://slipway.example.com/api/v1/workspaces/research/trash/sales-x7k2mp/restore",
    },
}


class VolumesView(WorkspaceView):
    represented_by: type[Answer] | None = VolumeSerializer

    def volumes(self) -> QuerySet[Volume]:
        """The live volumes with what is shown of them; two queries."""
        found = listing.search(self.workspace, self.query.get("search", ""), self.query.get("kind", ""))
        shown = SessionVolume.objects.select_related("session").only("volume", "mount_path", "read_only", "session__name", "session__phase")
        return found.select_related("owner").prefetch_related(Prefetch("mounts", shown.order_by("session__name")))


class Volumes(VolumesView):
    @operation(
        id="volumes_list",
        summary="List volumes",
        scopes=READING,
        query=VolumeQuery,
        answer=VolumeSerializer,
        example=VOLUME_EXAMPLE,
        orders=("name", "-name", "created_at", "-created_at"),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """Everybody’s in the workspace, without those in the trash."""
        return self.page(self.volumes())

    @operation(
        id="volumes_create",
        summary="Create a volume",
        scopes=(Scope.VOLUMES,),
        body=VolumeBody,
        body_example=VOLUME_BODY_EXAMPLE,
        answer=VolumeSerializer,
        example=NEW_VOLUME_EXAMPLE,
        status=201,
        creates=True,
        tagged=True,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str) -> Response:
        """An empty volume that belongs to you. Its claim is made when a session first mounts it."""
        wanted = {"kind": Volume.Kind.DATA, "size": Volume._meta.get_field("size").default, **self.body}
        volume = services.create_volume(request.user, self.workspace, **wanted)
        return self.answer(volume, location=absolute("api:volume", workspace, volume.name))


class OneVolume(VolumesView):
    @operation(id="volumes_get", summary="Show a volume", scopes=READING, answer=VolumeSerializer, example=VOLUME_EXAMPLE, tagged=True)
    def get(self, request: Request, workspace: str, volume: str) -> Response:
        """With the sessions that it is attached to."""
        return self.answer(self.one(self.volumes().filter(name=volume)))

    @operation(
        id="volumes_trash",
        summary="Put a volume into the trash",
        scopes=WRITING,
        answer=TrashedVolumeSerializer,
        example=TRASHED_EXAMPLE,
        conditional=True,
        refusals=("refused", "forbidden"),
    )
    def delete(self, request: Request, workspace: str, volume: str) -> Response:
        """Its data stays until purge_after. Refused while a session mounts it. The answer tells how to have it back."""
        with self.unchanged(self.volumes().filter(name=volume)) as row:
            require_own_scope(self.request, row.owner_id, Scope.VOLUMES)
            services.trash_volume(request.user, row)
            row.refresh_from_db(fields=["trashed_at", "trashed_by", "purge_after"])
            return self.answer(row)


class TrashView(VolumesView):
    represented_by = TrashedVolumeSerializer

    def trashed(self) -> QuerySet[Volume]:
        return Volume.objects.trashed().filter(workspace=self.workspace).select_related("owner", "trashed_by", "workspace__cluster")


class Trash(TrashView):
    @operation(
        id="trash_list",
        summary="List the trash",
        scopes=READING,
        answer=TrashedVolumeSerializer,
        example=TRASHED_EXAMPLE,
        orders=("-trashed_at", "trashed_at", "name", "-name"),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """Volumes that were deleted, and whose data is still there."""
        return self.page(self.trashed())


class TrashedVolume(TrashView):
    @operation(
        id="trash_get",
        summary="Show a volume in the trash",
        scopes=READING,
        answer=TrashedVolumeSerializer,
        example=TRASHED_EXAMPLE,
        tagged=True,
    )
    def get(self, request: Request, workspace: str, pvc: str) -> Response:
        """With the time at which it goes for good."""
        return self.answer(self.one(self.trashed().filter(claim=pvc)))

    @operation(id="trash_purge", summary="Delete a volume for good", scopes=WRITING, refusals=("refused", "forbidden"))
    def delete(self, request: Request, workspace: str, pvc: str) -> Response:
        """The volume and its data, which nothing brings back."""
        volume = self.one(self.trashed().filter(claim=pvc))
        require_own_scope(self.request, volume.owner_id, Scope.VOLUMES)
        services.purge_volume(request.user, volume)
        return self.done()


class RestoreVolume(TrashView):
    @operation(
        id="trash_restore",
        summary="Restore a volume",
        scopes=WRITING,
        answer=VolumeSerializer,
        example=NEW_VOLUME_EXAMPLE,
        conditional=True,
        refusals=("refused", "forbidden"),
    )
    def post(self, request: Request, workspace: str, pvc: str) -> Response:
        """Back from the trash; under a name with a number, if its own was taken meanwhile."""
        with self.unchanged(self.trashed().filter(claim=pvc)) as row:
            require_own_scope(self.request, row.owner_id, Scope.VOLUMES)
            return self.answer(services.restore_volume(request.user, row))
