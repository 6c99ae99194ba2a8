"""A session and the Slurm cluster that is attached to it."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from compute.access import may_own
from compute.models import SlurmCluster
from sessions.models import Session
from sessions.slurm_models import SlurmSight

# A controller that is down says nothing of jobs, which may well go on: what it said last counts for a while.
BELIEVED = timedelta(hours=1)


def has_running_job(session: Session) -> bool:
    """Whether the owner runs a job on the attached cluster, as far as is known: such a session is not idle. At most one query."""
    if session.slurm_cluster_id is None:
        return False
    sights = SlurmSight.objects.filter(slurm_cluster=session.slurm_cluster_id, user=session.owner_id)
    return sights.filter(running_jobs__gt=0, answered_at__gt=timezone.now() - BELIEVED).exists()


def is_attached(session: str = "") -> Q:
    """``why_detached`` as a condition, of sessions or of what leads to them (``"session__"``): they may use the attached cluster."""
    serving = SlurmCluster.workspaces.through.objects.filter(
        slurmcluster=OuterRef(f"{session}slurm_cluster"), workspace=OuterRef(f"{session}workspace")
    )
    member = may_own(OuterRef(f"{session}owner"), OuterRef(f"{session}workspace"))
    return Q(Exists(serving), Exists(member), **{f"{session}slurm_cluster__enabled": True})


def why_detached(session: Session) -> str:
    """Why the session gets no tokens for its attached cluster (any more), in a sentence; empty while it does. At most three queries."""
    cluster = session.slurm_cluster
    if cluster is None:
        return "No Slurm cluster is attached."
    if not cluster.enabled:
        return f"An admin has switched {cluster} off. This session gets no new token for it."
    if not SlurmCluster.objects.serving(session.workspace).filter(pk=cluster.pk).exists():
        return f"{cluster} does not serve {session.workspace} any more. This session gets no new token for it."
    if not may_own(session.owner_id, session.workspace_id).exists():
        return f"The owner is no longer a member who may run sessions in {session.workspace}. This session gets no new token."
    return ""
