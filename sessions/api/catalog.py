"""What the wizard offers in a workspace: presets with their images and pod sizes, compute pools, Slurm clusters, configurations."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db.models import Model, Prefetch, QuerySet
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from compute.models import ComputePool, Scope, SlurmCluster
from presets import catalog, ides
from presets.models import Configuration, PodSize, Preset, PresetVariable
from sessions.api import catalog_examples as examples
from sessions.api.operations import operation
from sessions.api.serializers import Answer, Money, Query, Thing, absolute
from sessions.api.views import WorkspaceView
from sessions.spec.choices import default_of

# Who launches sessions has to see what there is to launch.
READING = (Scope.READ, Scope.SESSIONS, Scope.CATALOG)


class EntrySerializer(Answer):
    """What images and pod sizes share. Hidden entries are not shown: nobody can choose them."""

    name = serializers.CharField(source="slug")
    display_name = serializers.CharField(source="name")
    description = serializers.CharField()
    is_default = serializers.SerializerMethodField(help_text="Chosen when a session names none.")
    deprecated = serializers.BooleanField()
    deprecation_message = serializers.CharField()

    def get_is_default(self, entry: Model) -> bool:
        return entry == self.context["default"]


class ImageSerializer(EntrySerializer):
    reference = serializers.CharField(help_text="A container image, or local: and the name of a recipe.")
    port = serializers.IntegerField(allow_null=True, help_text="Where its IDE listens. Null: at the IDE’s usual one.")


class PodSizeSerializer(EntrySerializer):
    cpu = serializers.CharField(help_text="A Kubernetes quantity.")
    memory = serializers.CharField(help_text="A Kubernetes quantity.")
    gpus = serializers.IntegerField()
    price_per_hour = serializers.SerializerMethodField(help_text="On the workspace’s default pool; null where it has none.")

    @extend_schema_field(Money(allow_null=True))
    def get_price_per_hour(self, size: PodSize) -> dict[str, str] | None:
        pool = self.context["workspace"].default_pool
        return Money().to_representation(size.price_per_hour(pool)) if pool else None


class MountedVolumeSerializer(Answer):
    """Mounted in new sessions where the workspace has a data volume of that name."""

    claim = serializers.CharField(source="volume", help_text="A volume’s name.")
    mount_path = serializers.CharField()
    read_only: Any = serializers.BooleanField()  # the base class has an attribute of this name


class ProbeSerializer(Answer):
    """How it is seen that the IDE answers: a GET. In seconds, but for failures, which are counted in a row."""

    path = serializers.CharField()
    period = serializers.IntegerField()
    timeout = serializers.IntegerField()
    failures = serializers.IntegerField()
    delay = serializers.IntegerField(help_text="Before the first question.")


class PresetLinksSerializer(Answer):
    self = serializers.SerializerMethodField()
    page = serializers.SerializerMethodField()
    icon = serializers.SerializerMethodField(help_text="Its own picture for small places, for browsers that are signed in.")
    logo = serializers.SerializerMethodField(help_text="Its own picture for cards and titles.")

    def get_self(self, preset: Preset) -> str:
        return absolute("api:preset", self.context["workspace"].name, preset.slug)

    def get_page(self, preset: Preset) -> str:
        return absolute("presets:detail", self.context["workspace"].name, preset.slug)

    def get_icon(self, preset: Preset) -> str | None:
        return self._picture(preset, preset.icon_id)

    def get_logo(self, preset: Preset) -> str | None:
        return self._picture(preset, preset.logo_id)

    def _picture(self, preset: Preset, digest: str | None) -> str | None:
        return absolute("presets:picture", self.context["workspace"].name, preset.slug, digest) if digest else None


class PresetSerializer(Thing):
    """Its own variables by name only: a value may be a secret."""

    name = serializers.CharField(source="slug")
    display_name = serializers.CharField(source="name")
    description = serializers.CharField()
    ide = serializers.ChoiceField(ides.CHOICES)
    deprecated = serializers.BooleanField()
    deprecation_message = serializers.CharField()
    home_size = serializers.CharField(help_text="Of a new home volume.")
    home_claim = serializers.CharField(source="home_volume", help_text="Mounted as home by those who have a home volume of this name.")
    env = serializers.SerializerMethodField(help_text="Names of the variables that it sets in each session, unless yours replace them.")
    idle_pause_seconds = serializers.IntegerField(
        allow_null=True, help_text="Running sessions are paused that long after their last activity. Null: never."
    )
    probe = ProbeSerializer()
    data_volumes = MountedVolumeSerializer(source="volumes", many=True)
    images = serializers.SerializerMethodField(help_text="Those that the workspace’s cluster runs, in the curated order.")
    pod_sizes = serializers.SerializerMethodField(help_text="In the curated order.")
    links = PresetLinksSerializer(source="*")

    def get_env(self, preset: Preset) -> list[str]:
        return [variable.name for variable in preset.variables.all()]

    @extend_schema_field(ImageSerializer(many=True))
    def get_images(self, preset: Preset) -> list[dict[str, Any]]:
        images = catalog.images_of(self.context["runnable"][preset.pk])
        return list(ImageSerializer(images, many=True, context={**self.context, "default": default_of(images)}).data)

    @extend_schema_field(PodSizeSerializer(many=True))
    def get_pod_sizes(self, preset: Preset) -> list[dict[str, Any]]:
        sizes = catalog.pod_sizes_of(self.context["runnable"][preset.pk])
        return list(PodSizeSerializer(sizes, many=True, context={**self.context, "default": default_of(sizes)}).data)


class PricesSerializer(Answer):
    """Per hour."""

    cpu = Money(source="price_cpu", help_text="For a core.")
    memory = Money(source="price_memory", help_text="For a GiB.")
    gpu = Money(source="price_gpu", help_text="For a GPU.")


class ComputePoolSerializer(Thing):
    """Not its node selector and tolerations: they are the operators' business."""

    name = serializers.CharField()
    display_name = serializers.CharField()
    description = serializers.CharField()
    is_default = serializers.SerializerMethodField(help_text="Whether it is the workspace’s default.")
    gpu_resource = serializers.CharField(help_text="Such as nvidia.com/gpu; empty where it has no GPUs.")
    prices = PricesSerializer(source="*")

    def get_is_default(self, pool: ComputePool) -> bool:
        return bool(pool.pk == self.context["workspace"].default_pool_id)


class SlurmClusterSerializer(Thing):
    """Not its controllers' addresses: sessions that attach it get them."""

    name = serializers.CharField()
    display_name = serializers.CharField()


class ConfigurationSerializer(Thing):
    """Of its variables only the names, as a value may be a secret; not its init script, which may hold some as well."""

    name = serializers.CharField(source="slug")
    display_name = serializers.CharField(source="name")
    description = serializers.CharField()
    on_by_default = serializers.BooleanField()
    deprecated = serializers.BooleanField()
    deprecation_message = serializers.CharField()
    env = serializers.SerializerMethodField(help_text="Names only.")
    has_init_script = serializers.SerializerMethodField()
    data_volumes = MountedVolumeSerializer(source="volumes", many=True)

    def get_env(self, configuration: Configuration) -> list[str]:
        return [variable.name for variable in configuration.variables.all()]

    def get_has_init_script(self, configuration: Configuration) -> bool:
        return bool(configuration.init_script.strip())


class ConfigurationQuery(Query):
    preset = serializers.CharField(required=False, max_length=63, help_text="Those that sessions of this preset may switch on.")


class Presets(WorkspaceView):
    @operation(
        id="presets_list",
        summary="List presets",
        scopes=READING,
        answer=PresetSerializer,
        example=examples.PRESET,
        orders=("position", "-position", "name", "-name"),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """Those that can be launched in the workspace: visible to it, and with an image that its cluster runs."""
        return self.page(self.presets())

    @cached_property
    def runnable(self) -> dict[int, Preset]:
        """The gallery's presets with what of each can be launched."""
        return {preset.pk: preset for preset in catalog.runnable_presets(self.workspace, self.kwargs.get("preset", ""))}

    def presets(self) -> QuerySet[Preset]:
        names = PresetVariable.objects.defer("value")
        return Preset.objects.filter(pk__in=self.runnable).prefetch_related(Prefetch("variables", names), "volumes")

    def context(self) -> dict[str, Any]:
        return {**super().context(), "runnable": self.runnable}


class OnePreset(Presets):
    @operation(id="presets_get", summary="Show a preset", scopes=READING, answer=PresetSerializer, example=examples.PRESET, tagged=True)
    def get(self, request: Request, workspace: str, preset: str) -> Response:
        """With the images, pod sizes and volumes that the wizard would offer."""
        return self.answer(self.one(self.presets()))


class ComputePools(WorkspaceView):
    @operation(
        id="compute_pools_list",
        summary="List compute pools",
        scopes=READING,
        answer=ComputePoolSerializer,
        example=examples.COMPUTE_POOL,
        orders=("name", "-name"),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """Those that new sessions of the workspace may use, with their prices."""
        return self.page(ComputePool.objects.offered_to(self.workspace))


class SlurmClusters(WorkspaceView):
    @operation(
        id="slurm_clusters_list",
        summary="List Slurm clusters",
        scopes=READING,
        answer=SlurmClusterSerializer,
        example=examples.SLURM_CLUSTER,
        orders=("name", "-name"),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """Those that sessions of the workspace may attach; none where the integration is off."""
        return self.page(SlurmCluster.objects.serving(self.workspace))


class Configurations(WorkspaceView):
    @operation(
        id="configurations_list",
        summary="List configurations",
        scopes=READING,
        query=ConfigurationQuery,
        answer=ConfigurationSerializer,
        example=examples.CONFIGURATION,
        orders=("position", "-position", "name", "-name"),
    )
    def get(self, request: Request, workspace: str) -> Response:
        """What admins have published for the workspace; with ?preset=, for that preset."""
        found = Configuration.objects.published_in(self.workspace)
        if slug := self.query.get("preset"):
            preset = self.one(Preset.objects.offered_to(self.workspace).filter(slug=slug))
            found = Configuration.objects.offered_to(self.workspace, preset)
        return self.page(found.defer("kubeflow").prefetch_related("variables", "volumes"))
