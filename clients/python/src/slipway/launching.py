"""What is asked for: a session to launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Home:
    """Where home is: ``Home.create("5Gi")``, ``Home.create()`` for the preset's size, ``Home.claim("home-lab")``."""

    body: dict[str, Any]

    @classmethod
    def create(cls, size: str = "") -> Home:
        """A new volume."""
        return cls({"create": {"size": size} if size else {}})

    @classmethod
    def claim(cls, name: str) -> Home:
        """A home volume that you have."""
        return cls({"claim": name})


@dataclass(frozen=True)
class DataVolume:
    """Without ``mount_path`` it is at ``/data/`` and its name."""

    claim: str
    mount_path: str = ""
    read_only: bool = False

    def body(self) -> dict[str, Any]:
        path = {"mount_path": self.mount_path} if self.mount_path else {}
        return {"claim": self.claim, **path, "read_only": self.read_only}


@dataclass(frozen=True)
class Launch:
    """A session as it is wanted. What is None is what the wizard would choose; an empty sequence is none at all."""

    preset: str
    name: str | None = None
    image: str | None = None
    pod_size: str | None = None
    compute_pool: str | None = None
    slurm_cluster: str | None = None
    home: Home | None = None
    data_volumes: Sequence[DataVolume] | None = None
    configurations: Sequence[str] | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # a value may be a secret

    def body(self) -> dict[str, Any]:
        """As the API takes it."""
        named = ("name", "image", "pod_size", "compute_pool", "slurm_cluster")
        body: dict[str, Any] = {"preset": self.preset, **{name: getattr(self, name) for name in named if getattr(self, name) is not None}}
        if self.home is not None:
            body["home"] = self.home.body
        if self.data_volumes is not None:
            body["data_volumes"] = [volume.body() for volume in self.data_volumes]
        if self.configurations is not None:
            body["configurations"] = list(self.configurations)
        if self.env:
            body["env"] = dict(self.env)
        return body
