"""Who a user is on a Slurm cluster, and the token that says so to its controller."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import pwd
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from compute.slurm_models import UserMapping
from compute.validators import SLURM_ADMINS

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from compute.models import SlurmCluster

FIRST_UID = 1000  # below are the system's own accounts, Slurm's administrator among them
NOBODY = 65534


@dataclass(frozen=True)
class Identity:
    """A user of a Slurm cluster: the name a token is for, and the ids that the controller demands of its client's process."""

    user: str
    uid: int
    gid: int


class NoIdentity(Exception):
    """The user is nobody on that Slurm cluster. ``code`` is stable; the message is a sentence that says who mends it."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(message)


def identity_of(slurm_cluster: SlurmCluster, user: User) -> Identity:
    """Who the user is there. Raises :class:`NoIdentity`. One query if accounts are mapped, else a look at the control plane's accounts."""
    if slurm_cluster.user_mapping == UserMapping.ACCOUNT:
        account = slurm_cluster.accounts.filter(user=user.pk).first()
        if account is None:
            raise NoIdentity("slurm_no_account", f"{user.get_username()} has no account on {slurm_cluster} yet. An admin can add one.")
        return Identity(account.slurm_user, account.uid, account.gid)
    return _system_identity(slurm_cluster, user.get_username())


def _system_identity(slurm_cluster: SlurmCluster, name: str) -> Identity:
    try:
        found = pwd.getpwnam(name)
    except (KeyError, ValueError):  # ValueError: a name that no system could have
        raise NoIdentity(
            "slurm_unknown_user",
            f"{name} can’t be told who they are on {slurm_cluster}: Slipway’s machine knows no such account. An admin can add or map it.",
        ) from None
    # Names are chosen at sign-in, and a token of Slurm's own account could do anything there.
    if found.pw_uid < FIRST_UID or found.pw_uid == NOBODY or found.pw_gid == 0 or found.pw_name in SLURM_ADMINS:
        raise NoIdentity("slurm_system_account", f"“{name}” is a system account, which can’t use {slurm_cluster} from a session.")
    return Identity(found.pw_name, found.pw_uid, found.pw_gid)


def mint(key: bytes, user: str, lifetime: timedelta, now: datetime) -> tuple[str, datetime]:
    """A token for the user (a JWT with HS256, as Slurm's auth/jwt takes it), and when it expires.

    Made by hand: JWT libraries refuse keys that look like PEM, which Slurm's own documentation had people make for years.
    """
    issued = int(now.timestamp())
    expires = issued + int(lifetime.total_seconds())
    claims = {"sun": user, "iat": issued, "exp": expires}
    signed = ".".join(_b64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signature = _b64(hmac.digest(key, signed.encode(), hashlib.sha256))
    return f"{signed}.{signature}", datetime.fromtimestamp(expires, tz=now.tzinfo)


def has_expired(token: str, now: float) -> bool:
    """Whether a token's time (in seconds since 1970) is over; so it is for what is no token. Its signature is not looked at."""
    try:
        body = token.split(".")[1]
        return bool(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["exp"] <= now)
    except (IndexError, KeyError, TypeError, ValueError):
        return True


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
