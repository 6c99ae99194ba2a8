"""The signing keys of Slurm clusters: kept encrypted, replaced by admins, read by nothing but what mints tokens."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from compute.errors import Problem, Refused
from compute.models import SlurmCluster
from compute.slurm_causes import no_key, unreadable_key
from storage.encryption import UndecryptableValue
from storage.models import SlurmKey

SHORTEST = 32  # bytes, which is what HS256 asks for
LONGEST = 16 * 1024


@sensitive_variables()
def key_of(slurm_cluster: SlurmCluster) -> bytes | None:
    """The key file's bytes; None while none is set. One query. Raises ``UndecryptableValue``.

    For minting alone: what it returns goes into no log, answer, task or pod.
    """
    value = SlurmKey.objects.filter(pk=slurm_cluster.pk).values_list("value", flat=True).first()
    return base64.b64decode(value) if value else None


@sensitive_variables()
def signing_key(slurm_cluster: SlurmCluster) -> bytes:
    """As :func:`key_of`, with a :class:`SlurmError` where there is none, or none that can be read."""
    try:
        key = key_of(slurm_cluster)
    except UndecryptableValue:
        raise unreadable_key() from None
    if key is None:
        raise no_key()
    return key


def has_key(slurm_cluster: SlurmCluster) -> bool:
    return SlurmKey.objects.filter(pk=slurm_cluster.pk).exists()


def replace_key(slurm_cluster: SlurmCluster, key: bytes, by: Any) -> None:
    """Set the key, encrypted. Raises :class:`Refused` (field ``key``) when it can be none."""
    check_key(key)
    value = base64.b64encode(key).decode()
    SlurmKey.objects.update_or_create(
        slurm_cluster=slurm_cluster, defaults={"value": value, "replaced_at": timezone.now(), "replaced_by": by}
    )


def check_key(key: bytes) -> None:
    """Raises :class:`Refused` (field ``key``) when these bytes can't be a signing key, in words that hold nothing of them."""
    if len(key) < SHORTEST:
        raise Refused(Problem("key", "slurm_key_short", f"A signing key has at least {SHORTEST} bytes; this has {len(key)}."))
    if len(key) > LONGEST:
        raise Refused(Problem("key", "slurm_key_long", f"A signing key has at most {LONGEST // 1024} KiB; this is another file."))


def from_base64(text: str) -> bytes:
    """What ``base64 jwt_hs256.key`` printed, as the file's bytes. Raises :class:`Refused` (field ``key``)."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(Problem("key", "slurm_key_base64", "This is not what `base64 jwt_hs256.key` prints. Paste all of it.")) from None
