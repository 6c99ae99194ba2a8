"""The real gateway for tests: nginx, gunicorn and the relay as processes, on a database of their own.

``Stack.do`` runs a function of this file in a process that has that database as Django's; so nothing here imports
Django's models at the top.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import requests
import websocket

from tests.sessions.gateway_upstream import Ide

ROOT = Path(__file__).parent.parent.parent
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(true: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


class Stack:
    def __init__(self) -> None:
        # Not pytest's own folder: nginx's workers and their sockets need one that www-data may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="slipway-gateway-"))
        self.folder.chmod(0o755)
        (self.folder / "static").mkdir()
        self.port = free_port()
        self.database, self._drop = self._new_database()
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "SLIPWAY_URL": f"http://localhost:{self.port}",
            "SLIPWAY_APPS_URL": f"http://apps.localhost:{self.port}",
            "SLIPWAY_STATIC_ROOT": str(self.folder / "static"),
            "DATABASE_URL": self.database,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ide = Ide(self.folder / "ide.sock")
        self.worker = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context("spawn"), initializer=set_up, initargs=(self.environment,)
        )
        self.host = ""

    def start_all(self) -> None:
        self.manage("migrate", "--verbosity=0")
        self.host = self.do(make_cast, self.ide.endpoint)
        self.start_relay()
        self.start_web()
        self.start_nginx()

    def _new_database(self) -> tuple[str, Callable[[], Any]]:
        """SQLite in the folder, or a new database beside the tests' own PostgreSQL one; and how to remove it."""
        url = os.environ.get("DATABASE_URL", "")
        if not url.startswith("postgres"):
            return f"sqlite:///{self.folder}/slipway.sqlite3", lambda: None
        name = f"gateway_{uuid.uuid4().hex}"
        start, _, query = url.partition("?")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')

        def drop() -> None:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

        return f"{start.rpartition('/')[0]}/{name}" + (f"?{query}" if query else ""), drop

    def manage(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=self.environment, check=True, timeout=120)

    def start(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)

    def start_relay(self) -> None:
        self.start("relay", sys.executable, "manage.py", "run_relay", "--socket", str(self.folder / "relay.sock"))
        wait_until((self.folder / "relay.sock").exists)

    def start_web(self) -> None:
        bind = f"unix:{self.folder}/web.sock"
        options = ["--no-control-socket", "--worker-class", "gthread", "--threads", "8", "--bind", bind]
        self.start("web", sys.executable, "-m", "gunicorn", "config.wsgi", *options)
        wait_until((self.folder / "web.sock").exists)

    def start_nginx(self) -> None:
        options = {"listen": f"127.0.0.1:{self.port}", "web": f"unix:{self.folder}/web.sock", "relay": f"unix:{self.folder}/relay.sock"}
        options |= {"run-dir": f"{self.folder}/nginx", "output": f"{self.folder}/nginx/nginx.conf"}
        if os.geteuid() == 0:
            options["user"] = "www-data"
        self.manage("nginx_conf", *(f"--{name}={value}" for name, value in options.items()))
        self.start("nginx", NGINX, "-e", "stderr", "-p", f"{self.folder}/nginx", "-c", options["output"])
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            return self.get("/healthz", host="localhost").status_code not in (502, 504)
        except requests.ConnectionError:
            return False

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def close(self) -> None:
        for name in list(self.processes):
            self.stop(name)
        self.ide.close()
        self.worker.shutdown()
        self._drop()
        shutil.rmtree(self.folder)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.worker.submit(function, *arguments).result(30)

    @property
    def origin(self) -> str:
        return f"http://{self.host}.apps.localhost:{self.port}"

    def request(
        self, method: str, path: str, host: str = "", cookie: str = "", headers: dict[str, str] | None = None, **options: Any
    ) -> Any:
        """A request to a session's origin (the owner's session) or, with ``host``, to any other Host."""
        sent = {"Host": f"{host or self.host + '.apps.localhost'}:{self.port}", **({"Cookie": cookie} if cookie else {}), **(headers or {})}
        options = {"allow_redirects": False, "timeout": 20, **options}
        return requests.request(method, f"http://127.0.0.1:{self.port}{path}", headers=sent, **options)

    def get(self, path: str, **options: Any) -> Any:
        return self.request("GET", path, **options)

    def enter(self, ticket: str) -> str:
        answer = self.get(f"/_slipway/enter?ticket={ticket}")
        assert (answer.status_code, answer.headers.get("Location")) == (302, "/lab")
        return f"slipway_gateway={answer.cookies['slipway_gateway']}"

    def websocket(self, cookie: str, origin: str = "", **options: Any) -> websocket.WebSocket:
        return websocket.create_connection(
            f"ws://127.0.0.1:{self.port}/api/kernels/1/channels",
            host=f"{self.host}.apps.localhost:{self.port}",
            origin=origin or self.origin,
            cookie=cookie,
            timeout=20,
            **options,
        )


def set_up(environment: dict[str, str]) -> None:
    os.environ.update(environment)
    import django

    django.setup()


def make_cast(endpoint: str) -> str:
    """An owner with a running session, whose IDE is at ``endpoint``; returns the session's host."""
    from django.contrib.auth import get_user_model

    from compute.models import Cluster, Membership, Workspace
    from presets.models import Image, PodSize, Preset
    from tests.sessions.gateway_cast import running_session

    cluster = Cluster.objects.create(name="here", display_name="This machine")
    workspace = Workspace.objects.create(name="research", display_name="Research", cluster=cluster, namespace="research")
    preset = Preset.objects.create(slug="jupyterlab", name="JupyterLab", ide="jupyterlab")
    Image.objects.create(preset=preset, slug="minimal", name="Minimal", reference="local:jupyterlab")
    PodSize.objects.create(preset=preset, slug="small", name="Small", cpu="500m", memory="1Gi")
    users = get_user_model().objects
    for name in ("owner", "outsider"):
        users.create_user(username=name)
    owner = users.get(username="owner")
    Membership.objects.create(workspace=workspace, user=owner)
    return running_session(workspace, owner, preset, endpoint).host


def open_as(username: str) -> tuple[str, str]:
    """Sign the user in; returns a ticket to the owner's session, and the key of the sign-in."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    from sessions.models import Session
    from tests.sessions.gateway_cast import issue

    browser, user = Client(), get_user_model().objects.get(username=username)
    browser.force_login(user)
    return issue(Session.objects.get(), browser, user), str(browser.session.session_key)


def sign_out(key: str) -> None:
    from django.contrib.sessions.backends.db import SessionStore

    SessionStore(key).flush()


def change_desired(desired: str, phase: str) -> None:
    from sessions.models import Session

    Session.objects.update(desired=desired, phase=phase)


def change_endpoint(endpoint: str) -> None:
    from sessions.models import Session

    Session.objects.update(endpoint=endpoint)


def end_membership() -> None:
    from compute.models import Membership

    Membership.objects.all().delete()


def restore_membership() -> None:
    from django.contrib.auth import get_user_model

    from compute.models import Membership, Workspace

    Membership.objects.get_or_create(workspace=Workspace.objects.get(), user=get_user_model().objects.get(username="owner"))


def nginx_key() -> str:
    from sessions import gateway

    return gateway.nginx_key()
