"""HTTP to one API server: raw JSON, both timeouts always, no retries of its own, every failure an :class:`ApiError`.

The official client reads the configuration (kubeconfig with its exec plugins, or a pod's service account with its
refreshed token) and makes the TLS pool; its typed models are left out, for they cost more CPU than a whole launch.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
import urllib3
from kubernetes.client.configuration import Configuration
from kubernetes.client.rest import RESTClientObject
from kubernetes.config import ConfigException
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME, load_incluster_config
from kubernetes.config.kube_config import load_kube_config

from compute.clusters.base import ClusterError
from compute.clusters.kubernetes import labels

Json = dict[str, Any]
Query = Mapping[str, str | int | bool]
Timeout = tuple[float, float]  # seconds to connect, seconds without a byte

CALL_TIMEOUT: Timeout = (3, 10)
WATCH_TIMEOUT: Timeout = (3, 60)
ASK_CREDENTIALS = 5.0  # seconds
CONNECTIONS = 32  # kept open per process; more are made when needed
USER_AGENT = "slipway"
PAGE = 500  # objects of a list per request

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"  # an answer without spec, data and status


class ApiError(ClusterError):
    """The API server refused (``status`` is its HTTP status) or was not reached (0). ``details`` is the server's own."""

    def __init__(self, status: int, reason: str, message: str, *, retryable: bool = True, details: Json | None = None) -> None:
        super().__init__(reason, message, retryable=retryable)
        self.status = status
        self.details = details or {}

    @property
    def namespace_missing(self) -> bool:
        """Whether it is not the object that was asked for but its namespace that does not exist."""
        return self.status == 404 and self.details.get("kind") == "namespaces"


class Connection:
    """The API server that a kubeconfig context names; "" is the cluster around this process, else the current context.

    Nothing is read or dialled before the first call. Safe to share between threads, and to inherit over a fork.
    """

    def __init__(self, context: str = "") -> None:
        self.context = context
        self._lock = threading.Lock()
        self._pid = 0
        self._way: Way | None = None

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Json | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: Timeout = CALL_TIMEOUT,
    ) -> Json:
        """The decoded answer; ``{}`` for an empty one. ``path`` starts with a slash and is quoted already."""
        data = self._request(method, path, query, body, content_type, accept, timeout).data
        with _as_api_error():
            return _decoded(data) if data else {}

    def get(self, path: str, accept: str = JSON) -> Json | None:
        """The object; None if there is none."""
        try:
            return self.call("GET", path, accept=accept)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def metadata(self, path: str) -> Json | None:
        """The object's metadata alone; None if there is no such object."""
        found = self.get(path, METADATA)
        return found and found["metadata"]

    def apply(self, path: str, body: Json, *, manager: str = labels.FIELD_MANAGER, force: bool = True, dry_run: bool = False) -> None:
        """Server-side apply. Without ``force``, what another manager has written as well is a conflict (409)."""
        query: Query = {"fieldManager": manager, "force": force, **({"dryRun": "All"} if dry_run else {})}
        self.call("PATCH", path, query=query, body=body, content_type=APPLY, accept=METADATA)

    def delete(self, path: str, preconditions: Json | None = None) -> None:
        """Delete the object, and in the background what belongs to it. One that is not there is fine."""
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if preconditions:
            body["preconditions"] = preconditions
        try:
            self.call("DELETE", path, body=body, accept=METADATA)
        except ApiError as error:
            if error.status != 404:
                raise

    def pages(self, path: str, selector: str = "", fields: str = "") -> Iterator[Json]:
        """A list, page by page; each has ``items`` and the list's ``metadata``, the last one's version is that of the whole."""
        query: dict[str, str | int | bool] = {"limit": PAGE, **selection(selector, fields)}
        while True:
            page = self.call("GET", path, query=query)
            yield page
            if not page["metadata"].get("continue"):
                return
            query["continue"] = page["metadata"]["continue"]

    def text(self, path: str, *, query: Query | None = None, timeout: Timeout = CALL_TIMEOUT) -> str:
        """The answer as text; bytes that are not UTF-8 are replaced."""
        return self._request("GET", path, query, None, "", "*/*", timeout).data.decode("utf-8", "replace")

    def stream(self, path: str, *, query: Query | None = None, timeout: Timeout = WATCH_TIMEOUT) -> Iterator[Json]:
        """The events of a watch, until the server ends it. Raises :class:`ApiError` for its ERROR events, too (``status`` is
        then that of the event), and when the connection breaks or is silent for longer than the read timeout."""
        response = self._request("GET", path, query, None, "", JSON, timeout, preload=False)
        try:
            with _as_api_error():
                for line in _lines(response):
                    event = _decoded(line)
                    if event.get("type") == "ERROR":
                        raise _refusal(event.get("object") or {}, "GET", path)
                    yield event
        finally:
            response.close()  # there may be more to come: the connection can't be used again

    def _request(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Json | None,
        content_type: str,
        accept: str,
        timeout: Timeout,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        way = self._reach()
        with _as_api_error():
            response = way.requests.urlopen(
                method,
                way.prefix + path + ("?" + urlencode({k: _text(v) for k, v in query.items()}) if query else ""),
                body=None if body is None else json.dumps(body, separators=(",", ":")).encode(),
                headers={**way.credentials(), "Accept": accept, **({} if body is None else {"Content-Type": content_type})},
                timeout=urllib3.Timeout(connect=timeout[0], read=timeout[1]),
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=preload,
            )
            if 200 <= response.status < 300:
                return response
            if response.status == 401:
                way.asked_at = None
            try:
                raise _refusal(_status_of(response), method, path)
            finally:
                if not preload:
                    response.close()

    def _reach(self) -> Way:
        """The way of this very process: two processes must not share a TLS connection."""
        with self._lock:
            if self._way is None or self._way.pid != os.getpid():
                self._way = Way(_configuration(self.context))
            return self._way


class Way:
    """A configuration and the connections that are made by it."""

    def __init__(self, configuration: Configuration) -> None:
        self.pid = os.getpid()
        self.asked_at: float | None = None  # monotonic
        self._configuration = configuration
        self._credentials: dict[str, str] = {}
        if not configuration.verify_ssl:  # the kubeconfig says so; a warning per request would drown the log
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        manager = RESTClientObject(configuration).pool_manager
        # Straight to the one server's connections: to find them by a whole URL takes a good part of a call's time.
        self.requests: urllib3.PoolManager | urllib3.HTTPConnectionPool = manager
        self.prefix = configuration.host
        if manager.proxy is None:
            self.requests, self.prefix = manager.connection_from_url(configuration.host), urlsplit(configuration.host).path.rstrip("/")

    def credentials(self) -> dict[str, str]:
        """The headers that say who asks. The configuration reads a token file again, or asks a plug-in, when it is due: it is
        asked every few seconds, and after a refusal."""
        now = time.monotonic()
        if self.asked_at is None or now - self.asked_at > ASK_CREDENTIALS:
            found = dict[str, Any](self._configuration.auth_settings()).values()
            self._credentials = {"User-Agent": USER_AGENT, **{auth["key"]: auth["value"] for auth in found}}
            self.asked_at = now
        return self._credentials


def _configuration(context: str) -> Configuration:
    """How to reach the cluster. Retryable when it fails, since an operator mends it without the session's doing."""
    configuration = Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    try:
        if not context and SERVICE_HOST_ENV_NAME in os.environ:
            load_incluster_config(configuration)
        else:
            # Nothing is written back: kubeconfigs may be read-only mounts and are other programs' files.
            kubeconfig = os.environ.get("KUBECONFIG") or None
            load_kube_config(kubeconfig, context or None, configuration, persist_config=False)
    except (ConfigException, OSError) as error:
        wanted = (
            f"the kubeconfig context “{context}”" if context else "a cluster around this process, nor a kubeconfig with a current context"
        )
        raise ApiError(0, "Misconfigured", f"Slipway has not found {wanted}: {error}") from error
    return configuration


def selection(labels: str, fields: str) -> dict[str, str]:
    """The parts of a query that choose objects by label selector and field selector."""
    return {name: text for name, text in (("labelSelector", labels), ("fieldSelector", fields)) if text}


def _text(value: str | int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _decoded(data: bytes) -> Json:
    decoded = orjson.loads(data)  # of a launch's dozen events each has several kilobytes, and half of the time went into them
    if not isinstance(decoded, dict):
        raise ValueError("not an object")
    return decoded


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The lines as they come. What follows the last newline is given out too: half an event is an error of the stream."""
    rest = b""
    for chunk in response.stream(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from filter(None, lines)
    if rest:
        yield rest


@contextmanager
def _as_api_error() -> Iterator[None]:
    """Let no error of the HTTP library out."""
    try:
        yield
    except urllib3.exceptions.TimeoutError as error:
        raise ApiError(0, "Unreachable", "The cluster's API did not answer in time.") from error
    except urllib3.exceptions.SSLError as error:
        raise ApiError(0, "Unreachable", f"There is no trusted connection to the cluster's API: {error}") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise ApiError(0, "Unreachable", "The cluster's API can't be reached, or broke the connection.") from error
    except ValueError as error:  # JSON, also half of it
        raise ApiError(0, "BadAnswer", "The cluster's API gave an answer that can't be read.") from error


def _status_of(response: urllib3.BaseHTTPResponse) -> Json:
    """The server's Status; one made from the HTTP status when a proxy answered in its own way."""
    try:
        status = _decoded(response.data)
    except ValueError:
        status = {}
    return {**status, "code": response.status}


def _refusal(status: Json, method: str, path: str) -> ApiError:
    """A Status as an error with words. The server's own words are kept where they tell what to mend."""
    code, reason, said = int(status.get("code") or 500), status.get("reason") or "", status.get("message") or ""
    details = status.get("details") or {}
    causes = {cause.get("reason") for cause in details.get("causes") or ()}
    what = path.split("?")[0]

    def error(reason: str, message: str, retryable: bool = True) -> ApiError:
        return ApiError(code, reason, message, retryable=retryable, details=details)

    if code == 401:
        return error("Unauthorized", "The cluster does not accept Slipway's credentials.")
    if code == 403 and "NamespaceTerminating" in causes:
        return error("NamespaceTerminating", "The workspace's namespace is being deleted on the cluster.")
    if code == 403 and "exceeded quota" in said:
        return error("QuotaExceeded", f"The workspace's quota on the cluster is used up: {said.partition('exceeded quota: ')[2]}.")
    if code == 403:
        return error("Forbidden", f"The cluster does not let Slipway {method} {what}: {said or 'no reason given'}.")
    if code in (400, 405, 413, 415, 422):
        return error("Invalid", f"The cluster did not accept what Slipway asked for: {said or what}", retryable=False)
    if code == 404:
        return error("NotFound", f"The cluster has no such thing: {said or what}.")
    if code == 409:
        return error(reason or "Conflict", f"Something else has changed it meanwhile: {said or what}.")
    if code == 410:
        return error("Expired", "The cluster no longer has what was asked for.")
    if code == 429:
        return error("TooManyRequests", "The cluster is asked for too much at the moment.")
    return error("ClusterTrouble", f"The cluster's API has trouble of its own (HTTP {code}).")
