"""Trying a Slurm cluster's settings, all of them, as one user: what the admin's Test button does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from compute.models import SlurmCluster
from compute.slurm import NoIdentity, identity_of, mint
from compute.slurm_causes import SlurmError
from compute.slurm_client import Client, Overview, answering
from storage.slurm_keys import signing_key

LIFETIME = timedelta(minutes=2)


@dataclass(frozen=True)
class Trial:
    """What came of it. ``answering``: the controllers that took a connection. ``code``, ``cause`` and ``field``: what is wrong,
    and which of the settings mends it (controllers, key, accounts; empty: none of them); all empty when all is well."""

    answering: tuple[str, ...] = ()
    slurm_user: str = ""
    overview: Overview | None = None
    code: str = ""
    cause: str = ""
    field: str = ""

    def as_data(self) -> dict[str, Any]:
        skew = self.overview.skew if self.overview is not None else ""
        return {**asdict(self), "skew": skew}


@sensitive_variables()
def try_out(slurm_cluster: SlurmCluster, user: Any) -> Trial:
    """Reach the controllers, mint a token for who the user is there, and ask for the partitions. Seconds; never raises."""
    reached: list[str] = []
    name = ""
    try:
        reached = answering(slurm_cluster.controllers)
        key = signing_key(slurm_cluster)
        identity = identity_of(slurm_cluster, user)
        name = identity.user
        token, _ = mint(key, name, LIFETIME, timezone.now())
        overview = Client(reached, token).overview()
    except SlurmError as error:
        return Trial(tuple(reached), name, None, error.code, str(error), error.field)
    except NoIdentity as nobody:
        return Trial(tuple(reached), name, None, nobody.code, str(nobody), "accounts")
    return Trial(tuple(reached), name, overview)
