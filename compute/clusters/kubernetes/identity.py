"""Which cluster a connection leads to: a kubeconfig context, or an address, may lead to another one tomorrow.

There the volumes of the sessions don't exist, and nothing tells a claim that is missing from one that was never made: a resumed
session would start on new, empty volumes. So nothing is asked of a cluster that is not the one it has been.
"""

from __future__ import annotations

import time
from dataclasses import replace

from compute.clusters.base import ClusterError, Health
from compute.clusters.kubernetes.client import ApiError, Connection

PLACE = "/api/v1/namespaces/kube-system"  # every cluster has it, and no two share its uid
GOOD_FOR = 60.0  # seconds
ANOTHER = (
    "Its context leads to another cluster than the one that sessions and volumes were made on, so nothing is done there. "
    "An administrator has to lead it back, or to confirm in the admin that this one is meant."
)


class Identity:
    """``expected`` is what the cluster was when Slipway first saw it; empty: whatever answers is taken."""

    def __init__(self, connection: Connection, expected: str) -> None:
        self._connection, self._expected = connection, expected
        self._is_another = False
        self._asked = float("-inf")

    def read(self) -> str:
        """What the cluster is now; empty where Slipway may not look. Raises :class:`ApiError`."""
        try:
            found = self._connection.metadata(PLACE)
        except ApiError as error:
            if error.status != 403:
                raise
            found = None
        uid: str = found["uid"] if found else ""
        self._is_another = bool(uid and self._expected and uid != self._expected)
        self._asked = time.monotonic()
        return uid

    def checked(self, health: Health) -> Health:
        """The cluster's health with which cluster it is: being another one is a problem of it. Asks now; never raises."""
        try:
            uid = self.read() if health.version else ""
        except ApiError as error:
            return replace(health, ok=False, problems=(str(error), *health.problems))
        if not self._is_another:
            return replace(health, identity=uid)
        return replace(health, ok=False, problems=(ANOTHER, *health.problems), identity=uid)

    def require(self) -> None:
        """Raises :class:`ClusterError` for another cluster. Asks once a minute, and again at once where it was another."""
        if self._expected and (self._is_another or time.monotonic() - self._asked >= GOOD_FOR):
            self.read()
        self.recall()

    def recall(self) -> None:
        """As ``require``, of what the cluster said when it was last asked."""
        if self._is_another:
            raise ClusterError("AnotherCluster", ANOTHER)
