"""From the click on Launch to Running, against a bare ``jupyter lab`` of the same environment; and what Slipway costs at rest."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from tests.smoke import MEMBER, WORKSPACE, Walk
from tests.stack import Stack, free_port

PROGRAMS = ("web", "relay", "worker", "controller", "nginx")
TIMEOUT = 60
IDLE_SECONDS = 10


class Clicks(Walk):
    """Walks the wizard up to its last button, and times what comes after the click."""

    def click_to_running(self) -> tuple[float, float]:
        """Seconds until the database says Running, and until JupyterLab's page came through the gateway."""
        page = self.browser.get(f"/w/{WORKSPACE}/sessions/new/?preset=jupyterlab")
        for step in ("preset", "compute"):
            page = self.browser.submit(page, page.form(f"/{step}/"), {}, "next")
        database = sqlite3.connect(self.stack.folder / "slipway.sqlite3")
        known = {host for (host,) in database.execute("SELECT host FROM notebook_sessions_session")}
        started = time.perf_counter()
        page = self.browser.submit(page, page.form("/storage/"), {}, "launch")
        self.host = page.path.rstrip("/").rpartition("/")[2]
        self.origin = self.stack.session_url(self.host)
        assert self.host not in known
        query = "SELECT phase FROM notebook_sessions_session WHERE host = ?"
        _until(lambda: database.execute(query, (self.host,)).fetchone() == ("Running",))
        running = time.perf_counter() - started
        database.close()
        self.open()
        return running, time.perf_counter() - started


def bare(venv: Path, user: str) -> float:
    """Seconds until a JupyterLab that is started by hand, as the sessions' user in an empty home, answers."""
    home = Path(tempfile.mkdtemp(prefix="slipway-bare-"))
    token, port = secrets.token_hex(16), free_port()
    as_user = {"user": user, "group": user, "extra_groups": []} if os.getuid() == 0 else {}
    if as_user:
        shutil.chown(home, user, user)
    address = f"http://127.0.0.1:{port}/api/status?token={token}"
    started = time.perf_counter()
    process = subprocess.Popen(
        [str(venv / "bin" / "jupyter-lab"), "--no-browser", "--ip=127.0.0.1", f"--port={port}", f"--ServerApp.root_dir={home}"],
        cwd=home,
        env={"HOME": str(home), "PATH": f"{venv / 'bin'}:/usr/bin:/bin", "JUPYTER_TOKEN": token},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **as_user,  # type: ignore[arg-type]
    )
    try:
        _until(lambda: _answers(address))
        return time.perf_counter() - started
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("It did not happen in time.")
        time.sleep(0.01)


def cpu_at_rest(stack: Stack) -> dict[str, float]:
    """Percent of one CPU that each program and its children take while nobody does anything."""
    families = {name: _family(stack.pid(name)) for name in PROGRAMS}
    before = {name: _cpu(processes) for name, processes in families.items()}
    started = time.perf_counter()
    time.sleep(IDLE_SECONDS)
    elapsed = time.perf_counter() - started
    return {name: (_cpu(processes) - before[name]) / elapsed * 100 for name, processes in families.items()}


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def measure(rounds: int) -> dict[str, Any]:
    """Medians in seconds, interleaved so that both see the same machine."""
    running, opened, alone = [], [], []
    with Stack() as stack:
        user = stack.environment["SLIPWAY_LOCAL_USER"]
        venv = next((stack.local_root / "images").glob("jupyterlab-*/current")).resolve()
        walk = Clicks(stack)
        walk.browser.sign_in(MEMBER.username, MEMBER.password)
        for number in range(rounds + 1):
            launched, seen = walk.click_to_running()
            walk.delete()
            started = bare(venv, user)
            if number:  # the first of each only warms caches
                running.append(launched)
                opened.append(seen)
                alone.append(started)
        walk.click_to_running()
        time.sleep(5)
        idle = cpu_at_rest(stack)
    return {"running": statistics.median(running), "opened": statistics.median(opened), "bare": statistics.median(alone), "idle": idle}
