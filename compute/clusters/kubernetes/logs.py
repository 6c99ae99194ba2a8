"""What a session's containers wrote, and what its objects went through."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from compute.clusters.base import Event
from compute.clusters.kubernetes import labels
from compute.clusters.kubernetes.client import ApiError, Connection

Json = dict[str, Any]
MOST_BYTES = 1024 * 1024


def logs(connection: Connection, namespace: str, name: str, tail: int, previous: bool) -> str:
    """Of the init script that failed or runs, else of the IDE. Empty when there is no pod, or nothing to read yet."""
    pod = connection.get(f"/api/v1/namespaces/{namespace}/pods/{name}-0")
    if pod is None or not labels.is_ours(pod["metadata"]):
        return ""
    return read(connection, namespace, f"{name}-0", telling_container(pod), previous, tail)


def read(connection: Connection, namespace: str, pod: str, container: str, previous: bool = False, tail: int = 50) -> str:
    """The end of one container's log; empty while it has none."""
    query: dict[str, str | int | bool] = {"container": container, "tailLines": tail, "limitBytes": MOST_BYTES, "previous": previous}
    try:
        return connection.text(f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query=query)
    except ApiError as error:
        if error.status in (400, 404):  # not started yet, or no earlier run is kept
            return ""
        raise


def telling_container(pod: Json) -> str:
    """The first init container that has not ended well, if it has begun at all; else the IDE."""
    for container in (pod.get("status") or {}).get("initContainerStatuses") or ():
        state, last = container.get("state") or {}, container.get("lastState") or {}
        if (state.get("terminated") or {}).get("exitCode") == 0:
            continue
        begun = state.get("running") or state.get("terminated") or last.get("terminated")
        return str(container["name"]) if begun else labels.CONTAINER
    return labels.CONTAINER


def events(connection: Connection, namespace: str, name: str) -> list[Event]:
    """Of the session's StatefulSet, pod and mounted claims, oldest first. Reads all events of the namespace, page by page."""
    pod = connection.get(f"/api/v1/namespaces/{namespace}/pods/{name}-0")
    volumes = ((pod or {}).get("spec") or {}).get("volumes") or ()
    about = {("StatefulSet", name), ("Pod", f"{name}-0")}
    about |= {("PersistentVolumeClaim", one["persistentVolumeClaim"]["claimName"]) for one in volumes if one.get("persistentVolumeClaim")}
    pages = connection.pages(f"/api/v1/namespaces/{namespace}/events")
    found = [_event(raw) for page in pages for raw in page.get("items") or () if _about(raw) in about]
    return sorted(found, key=lambda event: event.at)


def _about(raw: Json) -> tuple[str, str]:
    about = raw.get("involvedObject") or {}
    return about.get("kind") or "", about.get("name") or ""


def _event(raw: Json) -> Event:
    series = raw.get("series") or {}
    # Only the last of these is always there: who reports an event fills in the others, or does not.
    at = series.get("lastObservedTime") or raw.get("lastTimestamp") or raw.get("eventTime") or raw["metadata"]["creationTimestamp"]
    return Event(
        at=datetime.fromisoformat(at),
        kind=raw.get("type") or "Normal",
        reason=raw.get("reason") or "",
        message=(raw.get("message") or "").strip(),
    )
