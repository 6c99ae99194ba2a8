"""What Slurm clusters said when they were last asked, which only ``sessions.slurm_state`` writes; and the tokens that sessions
were given, which only ``sessions.slurm_tickets`` writes."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from compute.models import SlurmCluster


class SlurmState(models.Model):
    """Whether a Slurm cluster's controller answers. ``queued_at`` and ``lease_until`` keep it to one task at a time."""

    slurm_cluster = models.OneToOneField(SlurmCluster, on_delete=models.CASCADE, primary_key=True, related_name="state")
    reachable = models.BooleanField(null=True)
    since = models.DateTimeField(null=True, blank=True, help_text="When it was first, or no longer, reachable.")
    asked_at = models.DateTimeField(null=True, blank=True)
    queued_at = models.DateTimeField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"State of {self.slurm_cluster}"


class SlurmSight(models.Model):
    """What one user sees of a Slurm cluster, their own jobs included: asked with a token of theirs, and shown as theirs alone.

    ``seen`` and ``running_jobs`` are of ``answered_at``; ``problem`` says why the newest question (``asked_at``) had no answer.
    ``wanted_at``: when somebody last looked at a page that shows it.
    """

    slurm_cluster = models.ForeignKey(SlurmCluster, on_delete=models.CASCADE, related_name="sights")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    wanted_at = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    problem_code = models.CharField(max_length=40, blank=True)
    problem = models.TextField(blank=True)
    seen = models.JSONField(default=dict, blank=True)
    running_jobs = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("slurm_cluster", "user"), name="slurmsight_unique")]

    def __str__(self) -> str:
        return f"{self.slurm_cluster} as {self.user} sees it"


class SlurmTicket(models.Model):
    """The token that a session's files hold for its attached cluster. The token itself is stored nowhere else.

    ``expires_at`` is empty while the files hold none. ``look_at`` is when it is to be renewed (80 % of its life) or, after
    a failure, tried again; empty: at once, if it is due one. ``problem`` says since when, and why, there is none or no fresh one.
    """

    session = models.OneToOneField("notebook_sessions.Session", on_delete=models.CASCADE, primary_key=True, related_name="slurm_ticket")
    issued_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    look_at = models.DateTimeField(null=True, blank=True, db_index=True)
    queued_at = models.DateTimeField(null=True, blank=True)
    failures = models.PositiveIntegerField(default=0)
    problem = models.TextField(blank=True)
    since = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"Ticket of {self.session}"
