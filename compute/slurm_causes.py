"""Why a Slurm cluster did not answer as it should, in words for who can mend it."""

from __future__ import annotations

import re
from collections.abc import Sequence

LONGEST = 200


class SlurmError(Exception):
    """A Slurm cluster could not be asked. ``code`` is stable, the message a sentence or two.

    ``field`` names what of the cluster's settings mends it (controllers, key, accounts; empty: none of them). ``for_all``:
    it is the same for every user, so that there is no point in asking for another.
    """

    def __init__(self, code: str, message: str, field: str = "", *, for_all: bool = False) -> None:
        self.code, self.field, self.for_all = code, field, for_all
        super().__init__(message)


def no_client(command: str) -> SlurmError:
    words = f"Slipway’s own machine has no Slurm client (no command {command}), so it can’t ask. Sessions are not affected."
    return SlurmError("slurm_no_client", words, for_all=True)


def unknown_host(host: str) -> SlurmError:
    return SlurmError("slurm_unknown_host", f"The controller’s name {host} is unknown to the network.", "controllers", for_all=True)


def nothing_answers(address: str, how: str) -> SlurmError:
    if how == "refused":
        words = f"The controller is down: nothing listens at {address}."
    else:
        words = f"The controller can’t be reached: {address} took no connection in time. Is it down, or is there a firewall?"
    return SlurmError("slurm_unreachable", words, "controllers", for_all=True)


def silent(controllers: Sequence[str]) -> SlurmError:
    words = f"The controller at {', '.join(controllers)} takes connections, but gave no answer in time. It is busy or hangs."
    return SlurmError("slurm_silent", words, "controllers", for_all=True)


def no_key() -> SlurmError:
    words = "No signing key is set, so that Slipway can’t make tokens. An admin has to set the controller’s."
    return SlurmError("slurm_no_key", words, "key", for_all=True)


def unreadable_key() -> SlurmError:
    words = "The signing key can’t be read: it was stored with an encryption key that Slipway no longer has. An admin has to set it again."
    return SlurmError("slurm_key_unreadable", words, "key", for_all=True)


REFUSED = (
    "The controller refused the token. Its signing key is another one (was it replaced there?), it does not accept tokens "
    "(auth/jwt is off), or its clock is wrong. An admin has to look."
)
# What the commands print (the first match counts), the code, what it means, and where it is mended.
TOLD = (
    ("ConfigLess mode is disabled", "slurm_not_configless", "The controller hands out no configuration: it needs enable_configless.", ""),
    (
        r"[Ii]ncompatible versions|[Pp]rotocol version|Header lengths are longer",
        "slurm_version",
        "The Slurm client of Slipway’s machine and the controller are of releases that don’t understand each other.",
        "",
    ),
    (
        "Invalid user id",
        "slurm_invalid_user",
        "“Invalid user id”: the user’s id here is not the one that the controller knows for that name. An admin has to mend the mapping.",
        "accounts",
    ),
    (
        "Access/permission denied",
        "slurm_denied",
        "The controller shows this user nothing of itself (its PrivateData says so). Submitting jobs may work all the same.",
        "",
    ),
    ("Unable to contact|Connection refused|connect failure", "slurm_unreachable", "The controller went away while it was asked.", ""),
    ("auth plugin|auth/jwt", "slurm_no_jwt", "The Slurm client of Slipway’s machine can’t use tokens: it lacks the auth/jwt plugin.", ""),
)
FOR_ALL = frozenset({"slurm_not_configless", "slurm_version", "slurm_unreachable", "slurm_no_jwt"})
AWAY = frozenset({"slurm_unknown_host", "slurm_unreachable", "slurm_silent"})  # the controller itself does not answer


def cause_of(printed: str, *, expired: bool, own_conf: str = "") -> SlurmError:
    """What a command that failed printed, in words. A refused token shows only as an empty answer, whatever is wrong with it."""
    hint = f" (Slipway’s machine has its own {own_conf}, which its commands use instead of the address given here.)" if own_conf else ""
    if "Zero Bytes were transmitted or received" in printed:
        if expired:
            return SlurmError("slurm_expired", "The token has expired.")
        return SlurmError("slurm_refused", REFUSED + hint, "key")
    for pattern, code, words, field in TOLD:
        if re.search(pattern, printed):
            return SlurmError(code, words + (hint if code == "slurm_unreachable" else ""), field, for_all=code in FOR_ALL)
    return SlurmError("slurm_failed", f"The Slurm client says: {_last(printed)}" + hint)


def _last(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    return lines[-1][:LONGEST] if lines else "nothing at all."
