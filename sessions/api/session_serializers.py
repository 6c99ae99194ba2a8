"""How a session is shown, and what is asked for to get one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from sessions.actions import actions_for
from sessions.api.serializers import Amount, Answer, Body, Flag, Money, ProblemField, Text, Thing, Time, absolute
from sessions.api.workspaces import QuotaSerializer
from sessions.idle import idleness_of
from sessions.listing import sentence
from sessions.models import Desired, Phase, Session, SessionVolume
from sessions.spec.check import Checked
from sessions.wizard import MAX_VOLUMES


class PodSizeOfSessionSerializer(Answer):
    name = serializers.CharField(source="slug")
    cpu = serializers.CharField()
    memory = serializers.CharField()
    gpus = serializers.IntegerField()


class MountSerializer(Answer):
    claim = serializers.CharField(source="volume.name", help_text="The volume’s name.")
    mount_path = serializers.CharField()
    read_only: Any = serializers.BooleanField()


class ClaimSerializer(Answer):
    claim = serializers.CharField(source="volume.name", help_text="The volume’s name.")


class StepSerializer(Answer):
    """Of the start: compute, image, storage, server."""

    step = serializers.CharField()
    label: Any = serializers.CharField()
    state = serializers.CharField()
    message = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class ActionsSerializer(Answer):
    """What you may do with it now."""

    open = serializers.BooleanField()
    pause = serializers.BooleanField()
    resume = serializers.BooleanField()
    delete = serializers.BooleanField()


class SessionLinksSerializer(Answer):
    self = serializers.SerializerMethodField()
    page = serializers.SerializerMethodField()
    open = serializers.SerializerMethodField(help_text="POST here for a one-time address.")

    def get_self(self, session: Session) -> str:
        return absolute("api:session", session.workspace.name, session.name)

    def get_page(self, session: Session) -> str:
        return absolute("sessions:detail", session.workspace.name, session.host)

    def get_open(self, session: Session) -> str:
        return absolute("api:session-open", session.workspace.name, session.name)


class SessionSerializer(Thing):
    """Of its variables only the names: a value may be a secret. Neither the IDE's token, nor where the session runs
    (endpoint): the gateway alone knows. Not its log: that has an address and rules of its own.
    """

    name = serializers.CharField()
    host = serializers.CharField(help_text="The first part of its own origin; never used again.")
    workspace = serializers.CharField(source="workspace.name")
    owner = serializers.CharField(source="owner.get_username")
    preset = serializers.CharField(source="preset.slug")
    image = serializers.CharField(source="image.slug")
    pod_size = PodSizeOfSessionSerializer()
    compute_pool = serializers.CharField(source="compute_pool.name", allow_null=True)
    slurm_cluster = serializers.CharField(source="slurm_cluster.name", allow_null=True)
    home = serializers.SerializerMethodField()
    data_volumes = serializers.SerializerMethodField()
    configurations = serializers.SerializerMethodField()
    env = serializers.SerializerMethodField(help_text="Names only.")
    desired = serializers.ChoiceField(Desired.choices, help_text="What was asked for last.")
    phase = serializers.ChoiceField(Phase.choices)
    is_settled = serializers.SerializerMethodField(help_text="Whether phase speaks of what was asked for last.")
    reason = serializers.CharField()
    message = serializers.SerializerMethodField(help_text="The sentence that its page shows.")
    steps = serializers.SerializerMethodField()
    warnings = serializers.ListField(child=serializers.CharField())
    price_per_hour = Money()
    created_at = Time()
    phase_since = Time()
    running_since = Time(allow_null=True)
    last_activity = Time(allow_null=True, help_text="As its IDE said last. Null: not asked, its preset pauses no idle sessions.")
    pauses_at = serializers.SerializerMethodField(help_text="Unless it is used by then. Null: as far as is known, it is not paused.")
    node = serializers.CharField()
    restarts = serializers.IntegerField()
    actions = serializers.SerializerMethodField()
    links = SessionLinksSerializer(source="*")

    @extend_schema_field(Time(allow_null=True))
    def get_pauses_at(self, session: Session) -> str | None:
        idle = idleness_of(session)
        return Time().to_representation(idle.pauses_at) if idle and idle.pauses_at else None

    @extend_schema_field(ClaimSerializer(allow_null=True))
    def get_home(self, session: Session) -> dict[str, Any] | None:
        return next((dict(ClaimSerializer(mount).data) for mount in session.mounts.all() if mount.is_home), None)

    @extend_schema_field(MountSerializer(many=True))
    def get_data_volumes(self, session: Session) -> list[Any]:
        mounts: list[SessionVolume] = [mount for mount in session.mounts.all() if not mount.is_home]
        return list(MountSerializer(mounts, many=True).data)

    def get_configurations(self, session: Session) -> list[str]:
        return [configuration.slug for configuration in session.configurations.all()]

    def get_env(self, session: Session) -> list[str]:
        return sorted(session.env)

    def get_is_settled(self, session: Session) -> bool:
        return session.status_generation >= session.generation

    def get_message(self, session: Session) -> str:
        return sentence(session)

    @extend_schema_field(StepSerializer(many=True))
    def get_steps(self, session: Session) -> list[dict[str, Any]]:
        times = ("started_at", "finished_at")
        return [{**step, **{name: (step.get(name) or "").replace("+00:00", "Z") or None for name in times}} for step in session.steps]

    @extend_schema_field(ActionsSerializer)
    def get_actions(self, session: Session) -> dict[str, Any]:
        return dict(ActionsSerializer(actions_for(self.context["membership"], session)).data)


# What comes in


class NewHomeBody(Body):
    size = Text(required=False, help_text="Such as 5Gi; absent: the preset’s.")


class HomeBody(Body):
    """A new home volume, or one that you have."""

    create: Any = NewHomeBody(required=False, allow_null=True)
    claim = Text(required=False, allow_null=True, help_text="The name of a home volume of yours.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("create") is not None and attrs.get("claim") is not None:
            raise serializers.ValidationError("Use either create or claim.", "home_both")
        return attrs


class DataVolumeBody(Body):
    claim = Text(help_text="The volume’s name.")
    mount_path = Text(required=False, help_text="Absent: /data/ and the volume’s name.")
    read_only: Any = Flag(default=False)


@extend_schema_field({"type": "string"})
class Value(serializers.Field[str, Any, str, Any]):
    """Any text at all: the spec judges what a variable may hold."""

    default_error_messages = {"invalid": "Not a valid string."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return data

    def to_representation(self, value: str) -> str:
        return value


class SessionBody(Body):
    """Absent: as the wizard would choose. Null or empty: none, where there can be none."""

    name = Text(required=False, help_text="Absent: made of the preset and a number.")
    preset = Text(error_messages={"required": "Choose a preset.", "null": "Choose a preset."})
    image = Text(required=False, allow_null=True, help_text="Absent: the preset’s default.")
    pod_size = Text(required=False, allow_null=True, help_text="Absent: the preset’s default.")
    compute_pool = Text(required=False, allow_null=True, help_text="Absent or null: the workspace’s default.")
    slurm_cluster = Text(required=False, allow_null=True, help_text="Absent or null: none.")
    home = HomeBody(required=False, allow_null=True, help_text="Absent: the preset’s choice, mostly a new volume.")
    data_volumes = serializers.ListField(
        child=DataVolumeBody(), required=False, allow_null=True, max_length=MAX_VOLUMES, help_text="Absent: those that the preset mounts."
    )
    configurations = serializers.ListField(
        child=Text(), required=False, allow_null=True, max_length=100, help_text="Absent: those that are on by default."
    )
    env = serializers.DictField(child=Value(), required=False, allow_null=True, help_text="Name to value; values can’t be read again.")


# What a dry run tells


class QuotaLineSerializer(QuotaSerializer):
    """A limit of the workspace, and what the session would make of it."""

    would_be = Amount()
    exceeded = serializers.BooleanField()


class ResolvedMountSerializer(Answer):
    claim = serializers.CharField(source="volume.name")
    mount_path = serializers.CharField()
    read_only: Any = serializers.BooleanField()
    source: Any = serializers.CharField(help_text="The configuration that mounts it; empty for your own.")


class ResolvedSerializer(Answer):
    """What would run. Null is what has not been found, or was not asked for; env has names only, as a value may be a secret."""

    name = serializers.CharField()
    preset = serializers.CharField(allow_null=True)
    image = serializers.CharField(allow_null=True, help_text="At the end of its redirects.")
    pod_size = PodSizeOfSessionSerializer(allow_null=True)
    compute_pool = serializers.CharField(allow_null=True)
    slurm_cluster = serializers.CharField(allow_null=True)
    home = serializers.DictField(allow_null=True, help_text='{"claim": …} or {"create": {"size": …}}.')
    data_volumes = ResolvedMountSerializer(many=True)
    configurations = serializers.ListField(child=serializers.CharField())
    env = serializers.ListField(child=serializers.CharField())


class ValidationSerializer(Answer):
    """Launchable when ``errors`` is empty."""

    errors: Any = ProblemField(many=True)
    warnings = ProblemField(many=True)
    spec = ResolvedSerializer()
    price_per_hour = Money()
    quota = QuotaLineSerializer(many=True)


def resolved(name: str, checked: Checked) -> dict[str, Any]:
    """What :class:`ResolvedSerializer` shows of a check's outcome."""
    home: dict[str, Any] | None = {"create": {"size": checked.new_home_size}} if checked.new_home_size else None
    return {
        "name": name,
        "preset": checked.preset and checked.preset.slug,
        "image": checked.image and checked.image.slug,
        "pod_size": checked.pod_size,
        "compute_pool": checked.pool and checked.pool.name,
        "slurm_cluster": checked.slurm_cluster and checked.slurm_cluster.name,
        "home": {"claim": checked.home.name} if checked.home else home,
        "data_volumes": checked.data_volumes,
        "configurations": [configuration.slug for configuration in checked.configurations],
        "env": sorted(checked.env),
    }
