"""The client: what the API can do, by what it does it to."""

from __future__ import annotations

from collections.abc import Iterator

from slipway.resource import Resource, matching, once
from slipway.sessions import Sessions
from slipway.shapes import parse
from slipway.things import (
    ComputePool,
    Configuration,
    Me,
    Preset,
    Secret,
    SlurmCluster,
    Token,
    TrashedVolume,
    Volume,
    Workspace,
)
from slipway.transport import Patience, Transport
from slipway.webhooks import Webhooks


class Tokens(Resource):
    """Yours. Only people at a browser make and revoke tokens."""

    def list(self) -> Iterator[Token]:
        return self._pages(Token)


class Workspaces(Resource):
    def list(self) -> Iterator[Workspace]:
        """Those that you are a member of, as far as the token reaches."""
        return self._pages(Workspace)

    def get(self, name: str) -> Workspace:
        """With its quota."""
        return self._get(Workspace, name)


class Presets(Resource):
    def list(self) -> Iterator[Preset]:
        """Those that can be launched in the workspace, with their images and pod sizes."""
        return self._pages(Preset)

    def get(self, name: str) -> Preset:
        return self._get(Preset, name)


class ComputePools(Resource):
    def list(self) -> Iterator[ComputePool]:
        return self._pages(ComputePool)


class SlurmClusters(Resource):
    def list(self) -> Iterator[SlurmCluster]:
        return self._pages(SlurmCluster)


class Configurations(Resource):
    def list(self, preset: str = "") -> Iterator[Configuration]:
        """All that are published for the workspace, or those that sessions of one preset may switch on."""
        return self._pages(Configuration, preset=preset)


class Volumes(Resource):
    def list(self, search: str = "", kind: str = "") -> Iterator[Volume]:
        """``kind`` is home or data."""
        return self._pages(Volume, search=search, kind=kind)

    def get(self, name: str) -> Volume:
        return self._get(Volume, name)

    def create(self, name: str, *, kind: str = "", size: str = "", access_mode: str = "", storage_class: str = "") -> Volume:
        """An empty one of yours. What is empty is the server's default."""
        chosen = {"kind": kind, "size": size, "access_mode": access_mode, "storage_class": storage_class}
        body = {"name": name, **{field: value for field, value in chosen.items() if value}}
        answer = self._transport.send("POST", *self._path, body=body, headers=once())
        return parse(Volume, answer.data, answer.etag)

    def trash(self, name: str, if_match: str = "") -> TrashedVolume | None:
        """None when it went, but the answer that tells how got lost: look for it in the trash."""
        answer = self._transport.send("DELETE", *self._path, name, headers=matching(if_match))
        return parse(TrashedVolume, answer.data) if answer.data else None


class Trash(Resource):
    """Volumes whose data is still there. They are named by ``pvc``."""

    def list(self) -> Iterator[TrashedVolume]:
        return self._pages(TrashedVolume)

    def get(self, pvc: str) -> TrashedVolume:
        return self._get(TrashedVolume, pvc)

    def restore(self, pvc: str, if_match: str = "") -> Volume:
        """Under a name with a number, if its own was taken meanwhile."""
        answer = self._transport.send("POST", *self._path, pvc, "restore", headers=matching(if_match))
        return parse(Volume, answer.data, answer.etag)

    def purge(self, pvc: str) -> None:
        """The volume and its data, for good."""
        self._transport.send("DELETE", *self._path, pvc)


class Secrets(Resource):
    def list(self) -> Iterator[Secret]:
        return self._pages(Secret)

    def get(self, name: str) -> Secret:
        return self._get(Secret, name)

    def write(self, name: str, value: str, description: str | None = None, if_match: str = "") -> Secret:
        """Makes it or replaces it. Without ``description`` that stays as it is."""
        body = {"value": value, **({} if description is None else {"description": description})}
        answer = self._transport.send("PUT", *self._path, name, body=body, headers=matching(if_match))
        return parse(Secret, answer.data, answer.etag)

    def delete(self, name: str, if_match: str = "") -> None:
        self._transport.send("DELETE", *self._path, name, headers=matching(if_match))


class WorkspaceClient:
    """One workspace. Making this asks nothing; ``get`` does."""

    def __init__(self, transport: Transport, name: str) -> None:
        here = ("workspaces", name)
        self.name = name
        self._workspaces = Workspaces(transport, "workspaces")
        self.presets = Presets(transport, *here, "presets")
        self.compute_pools = ComputePools(transport, *here, "compute-pools")
        self.slurm_clusters = SlurmClusters(transport, *here, "slurm-clusters")
        self.configurations = Configurations(transport, *here, "configurations")
        self.volumes = Volumes(transport, *here, "volumes")
        self.trash = Trash(transport, *here, "trash")
        self.secrets = Secrets(transport, *here, "secrets")
        self.sessions = Sessions(transport, *here, "sessions")
        self.webhooks = Webhooks(transport, *here, "webhooks")

    def get(self) -> Workspace:
        """With its quota."""
        return self._workspaces.get(self.name)


class Slipway:
    """One installation of Slipway, as the token's user. A context manager, if you like connections closed.

    ``timeout`` is how many seconds an answer may take. Requests that got no answer, 429 and passing 5xx are sent again, up to
    ``patience.retries`` times; what is created is created once nevertheless. Not for several threads at once: one each.
    """

    def __init__(self, url: str, token: str, *, timeout: float = 30.0, patience: Patience | None = None) -> None:
        self._transport = Transport(url, token, timeout, patience or Patience())
        self.tokens = Tokens(self._transport, "tokens")
        self.workspaces = Workspaces(self._transport, "workspaces")

    def __repr__(self) -> str:
        return f"Slipway({self.url!r}, token=…)"

    def __enter__(self) -> Slipway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        self._transport.close()

    def me(self) -> Me:
        """Who the token's user is, and what the token may do."""
        return parse(Me, self._transport.send("GET", "me").data)

    def workspace(self, name: str) -> WorkspaceClient:
        return WorkspaceClient(self._transport, name)
