"""The Slurm cluster that is attached to a session, as it was last heard of."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from sessions.api.operations import operation
from sessions.api.serializers import Answer, Time
from sessions.api.sessions import READING, SessionsView
from sessions.slurm_panel import Panel, panel_of

SLURM_EXAMPLE = {
    "cluster": "hpc",
    "status": "well",
    "cause": "",
    "token_problem": "",
    "reachable": True,
    "since": "2026-11-23T08:00:00Z",
    "answered_at": "2026-11-23T09:30:05Z",
    "version": "23.11.4",
    "skew": "",
    "nodes": {"idle": 12, "in_use": 30, "other": 1},
    "partitions": [{"name": "debug", "state": "up", "time_limit": "1:00:00", "nodes": {"idle": 2, "in_use": 0, "other": 0}}],
    "jobs": [
        {"id": "4711", "name": "train", "state": "RUNNING", "elapsed": "12:30", "reason": "", "partition": "gpu"},
    ],
    "jobs_total": 1,
}


class NodesSerializer(Answer):
    idle = serializers.IntegerField()
    in_use = serializers.IntegerField(help_text="Wholly or in part.")
    other = serializers.IntegerField(help_text="Down, drained, reserved …")


class PartitionSerializer(Answer):
    name = serializers.CharField()
    state = serializers.CharField(help_text="up, down, drain or inact.")
    time_limit = serializers.CharField(help_text="As Slurm writes it.")
    nodes = NodesSerializer()


class JobSerializer(Answer):
    id = serializers.CharField(help_text="As Slurm writes it: 12, 12_3, 12_[4-9].")
    name = serializers.CharField()
    state = serializers.CharField(help_text="Slurm’s word: RUNNING, PENDING …")
    elapsed = serializers.CharField(help_text="As Slurm writes it.")
    reason = serializers.CharField(help_text="Why it waits; empty when there is no reason.")
    partition = serializers.CharField()


class SlurmSerializer(Answer):
    """Jobs are the owner's alone: null for anybody else."""

    cluster = serializers.CharField(source="cluster.name")
    status = serializers.ChoiceField(
        ["well", "unwell", "away", "waiting", "detached"],
        help_text="away: the controller does not answer. unwell: it answers, but not as it should. waiting: not asked yet. "
        "detached: the session gets no tokens for it any more.",
    )
    cause = serializers.CharField(help_text="Why it is not well, in words.")
    token_problem = serializers.CharField(help_text="Why the session holds no fresh token; empty while it does.")
    reachable = serializers.BooleanField(allow_null=True)
    since = Time(allow_null=True, help_text="Since when it is, or is not, reachable.")
    answered_at = Time(allow_null=True, help_text="When it said what is below.")
    version = serializers.CharField(help_text="The controller’s.")
    skew = serializers.CharField(help_text="What a difference between the versions of client and controller may break.")
    nodes = NodesSerializer(allow_null=True, help_text="Null: not known, or hidden from users by the cluster.")
    partitions = PartitionSerializer(many=True)
    jobs = serializers.SerializerMethodField()
    jobs_total = serializers.IntegerField(allow_null=True, help_text="With those that are too many to be listed.")

    @extend_schema_field(JobSerializer(many=True, allow_null=True))
    def get_jobs(self, panel: Panel) -> list[dict[str, Any]] | None:
        return panel.jobs


class SessionSlurm(SessionsView):
    @operation(
        id="sessions_slurm",
        summary="Show a session’s Slurm cluster",
        scopes=READING,
        answer=SlurmSerializer,
        example=SLURM_EXAMPLE,
    )
    def get(self, request: Request, workspace: str, name: str) -> Response:
        """As its owner was told when it was last asked: once a minute while the session runs, and soon after each look.
        404 when none is attached."""
        panel = panel_of(self.membership, self.one(self.named(name)))
        if panel is None:
            raise Http404("No Slurm cluster is attached.")
        return self.answer(panel)
