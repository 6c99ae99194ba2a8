"""Slipway's API from Python. Begin with :class:`Slipway`.

>>> research = Slipway("https://slipway.example.com", token).workspace("research")
>>> session = research.sessions.launch(Launch(preset="jupyterlab"))
>>> session = research.sessions.wait(session.name)
"""

from slipway.client import Slipway, WorkspaceClient
from slipway.errors import ApiError, NotReached, Problem, SlipwayError, TimedOut, UnexpectedAnswer, Unreachable
from slipway.launching import DataVolume, Home, Launch
from slipway.price import Price
from slipway.shapes import as_json
from slipway.slurm import AttachedSlurm, SlurmJob, SlurmNodes, SlurmPartition
from slipway.things import (
    Activity,
    Cluster,
    ComputePool,
    Configuration,
    Delivery,
    Event,
    Events,
    Image,
    Log,
    Me,
    MyWorkspace,
    OpenedSession,
    PodSize,
    Preset,
    Quota,
    Secret,
    Session,
    SlurmCluster,
    Step,
    Token,
    TrashedVolume,
    Validation,
    Volume,
    Webhook,
    WebhookWithSecret,
    Workspace,
)

__version__ = "0.1.0"
__all__ = [
    "Activity",
    "ApiError",
    "AttachedSlurm",
    "Cluster",
    "ComputePool",
    "Configuration",
    "DataVolume",
    "Delivery",
    "Event",
    "Events",
    "Home",
    "Image",
    "Launch",
    "Log",
    "Me",
    "MyWorkspace",
    "NotReached",
    "OpenedSession",
    "PodSize",
    "Preset",
    "Price",
    "Problem",
    "Quota",
    "Secret",
    "Session",
    "Slipway",
    "SlipwayError",
    "SlurmCluster",
    "SlurmJob",
    "SlurmNodes",
    "SlurmPartition",
    "Step",
    "TimedOut",
    "Token",
    "TrashedVolume",
    "UnexpectedAnswer",
    "Unreachable",
    "Validation",
    "Volume",
    "Webhook",
    "WebhookWithSecret",
    "Workspace",
    "WorkspaceClient",
    "as_json",
]
