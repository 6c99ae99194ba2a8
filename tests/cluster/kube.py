"""The cluster as its admin sees it: what tests look at and meddle with. None of it is Slipway's own code."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import config

BASE_DIR = Path(__file__).resolve().parents[2]
urllib3.disable_warnings()  # test clusters sign their own certificates
TIMEOUT = urllib3.Timeout(connect=5, read=30)
CORE = "/api/v1"
APPS = "/apis/apps/v1"


class Kube:
    """Raw objects of a kubeconfig's context (its current one without a name). What is not there is None."""

    def __init__(self, kubeconfig: str = "", context: str = "") -> None:
        file = kubeconfig or os.environ["KUBECONFIG"]
        contexts, current = config.list_kube_config_contexts(config_file=file)
        self.kubeconfig = file
        self.context = context or str(current["name"])
        assert self.context in {one["name"] for one in contexts}
        client = config.new_client_from_config(config_file=file, context=self.context)
        self.server = client.configuration.host
        self.pool = client.rest_client.pool_manager
        self.token = client.configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or ""

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str) -> tuple[int, Any]:
        headers = {"Content-Type": content_type, "Authorization": self.token}
        address = f"{self.server}{path}" + (f"?{urlencode(query)}" if query else "")
        answer = self.pool.request(method, address, body=None if body is None else json.dumps(body), headers=headers, timeout=TIMEOUT)
        return answer.status, json.loads(answer.data) if answer.data[:1] == b"{" else answer.data

    def get(self, path: str, **query: str) -> Any:
        status, found = self.call("GET", path, **query)
        if status == 404:
            return None
        assert status == 200, f"GET {path}: {status} {found}"
        return found

    def items(self, path: str, **query: str) -> list[Any]:
        return list((self.get(path, **query) or {}).get("items", []))

    def create(self, path: str, body: Any) -> None:
        status, found = self.call("POST", path, body)
        assert status in (200, 201, 202, 409), f"POST {path}: {status} {found}"

    def merge(self, path: str, body: Any, content_type: str = "application/merge-patch+json") -> None:
        status, found = self.call("PATCH", path, body, content_type)
        assert status == 200, f"PATCH {path}: {status} {found}"

    def delete(self, path: str, **options: Any) -> None:
        status, found = self.call("DELETE", path, options or None)
        assert status in (200, 202, 404), f"DELETE {path}: {status} {found}"

    def statefulset(self, namespace: str, name: str) -> Any:
        return self.get(f"{APPS}/namespaces/{namespace}/statefulsets/{name}")

    def secret(self, namespace: str, name: str) -> Any:
        return self.get(f"{CORE}/namespaces/{namespace}/secrets/{name}")

    def pod(self, namespace: str, host: str) -> Any:
        """The one pod of a session."""
        return self.get(f"{CORE}/namespaces/{namespace}/pods/{host}-0")

    def pods(self, namespace: str) -> list[Any]:
        return self.items(f"{CORE}/namespaces/{namespace}/pods")

    def claim(self, namespace: str, name: str) -> Any:
        return self.get(f"{CORE}/namespaces/{namespace}/persistentvolumeclaims/{name}")

    def claims(self, namespace: str) -> list[Any]:
        return self.items(f"{CORE}/namespaces/{namespace}/persistentvolumeclaims")

    def delete_namespace(self, name: str) -> None:
        """Does not wait: the cluster takes seconds for it."""
        self.delete(f"{CORE}/namespaces/{name}")


class Components:
    """Stops and starts parts of the cluster that ``../shared/cluster/cluster`` (or ``SLIPWAY_TEST_CLUSTER``) started."""

    def __init__(self) -> None:
        default = BASE_DIR.parent / "shared" / "cluster" / "cluster"
        self.program = Path(os.environ.get("SLIPWAY_TEST_CLUSTER") or default)

    @property
    def found(self) -> bool:
        return self.program.exists() and os.getuid() == 0

    def stop(self, name: str) -> None:
        self._run("stop", name)

    def start(self, name: str) -> None:
        self._run("start", name)

    def _run(self, *arguments: str) -> None:
        # Nowhere, not pipes: what it starts keeps them open.
        done = subprocess.run([str(self.program), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert done.returncode == 0, f"cluster {' '.join(arguments)} failed"
