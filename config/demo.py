"""`make demo`: all of Slipway on this machine, with sample data, until Ctrl-C.

Runs before Django's settings can be read, because it makes the secrets that they want. ``prepare`` is also how tests
and `make smoke` get a stack of their own.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import pwd
import secrets
import shlex
import subprocess
import sys
import time
from pathlib import Path

from config.demo_accounts import DEMO_ACCOUNTS
from config.runner import BASE_DIR, SOCKET_PATH_MAX, Runner, RunnerError, port_is_free, run_until_signalled

SESSION_USER = "slipway-ide"
LONGEST_SOCKET = "run/sockets/relay.sock"


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (it is a program for a terminal)


def state_dir() -> Path:
    """Where the demo's data is: ``.demo`` in the checkout, unless its path is too long for sockets, or (as root, when
    sessions run as another user) that user cannot get there."""
    inside = BASE_DIR / ".demo"
    if len(str(inside / LONGEST_SOCKET)) <= SOCKET_PATH_MAX and (os.getuid() != 0 or _others_may_enter(BASE_DIR)):
        return inside
    above = Path("/var/lib") if os.getuid() == 0 else Path.home() / ".local" / "state"
    return above / f"slipway-demo-{hashlib.sha256(str(BASE_DIR).encode()).hexdigest()[:8]}"


def _others_may_enter(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


KEYS = ("SLIPWAY_SECRET_KEY", "SLIPWAY_ENCRYPTION_KEYS")


def environment(state: Path, port: int, database_url: str = "") -> dict[str, str]:
    """What Slipway's settings are read from. Secrets are made once and kept in ``<state>/env``; the database is a SQLite
    file there, unless one is given or in our own environment."""
    known = read_env(state / "env")
    fresh = dict(zip(KEYS, (secrets.token_urlsafe(48), base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()), strict=True))
    if fresh.keys() - known.keys():
        known = {**fresh, **known}
        write_env(state / "env", known)
    return {
        **os.environ,
        **known,
        "DATABASE_URL": database_url or os.environ.get("DATABASE_URL") or f"sqlite:///{state / 'slipway.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "SLIPWAY_APPS_URL": f"http://apps.localhost:{port}",
        "SLIPWAY_DEMO": "1",
        "SLIPWAY_LOCAL_ROOT": str(state / "local"),
        "SLIPWAY_LOCAL_USER": SESSION_USER,
        "SLIPWAY_STATIC_ROOT": str(state / "static"),
        "SLIPWAY_URL": f"http://localhost:{port}",
    }


def read_env(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.partition("=") for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return {name: shlex.split(value)[0] for name, _, value in lines}


def write_env(path: Path, values: dict[str, str]) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("# Made by `make demo`: the keys of this folder's database.\n")
        file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def prepare(state: Path, port: int, database_url: str = "") -> dict[str, str]:
    """Make the folder, the session user, the database and the sample data, where they are missing; returns the environment."""
    state.mkdir(mode=0o711, parents=True, exist_ok=True)
    _make_session_user()
    settings = environment(state, port, database_url)
    made = subprocess.run(
        [sys.executable, str(BASE_DIR / "manage.py"), "prepare_demo"], env=settings, cwd=BASE_DIR, capture_output=True, text=True
    )
    if made.returncode != 0:
        raise RunnerError(f"The database could not be prepared:\n{made.stderr.strip()}")
    return settings


def _make_session_user() -> None:
    """As root, sessions run as a user of their own, never as root."""
    if os.getuid() != 0:
        return
    try:
        pwd.getpwnam(SESSION_USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SESSION_USER]
        if subprocess.run(command, capture_output=True).returncode != 0:
            raise RunnerError(f"The user {SESSION_USER}, which sessions are to run as, could not be made with useradd.") from None


def banner(port: int, state: Path) -> str:
    width = max(len(account.username) for account in DEMO_ACCOUNTS)
    accounts = [f"    {account.username:<{width}}  {account.password}   {account.does}" for account in DEMO_ACCOUNTS]
    return "\n".join(
        [
            "",
            f"  Slipway is ready:  http://localhost:{port}",
            "",
            "  Sign in as (name, password):",
            *accounts,
            "",
            f"  Data and logs are in {state}. Ctrl-C stops everything; `make demo` goes on with the same data.",
            "",
        ]
    )


def demo(port: int) -> None:
    if not port_is_free(port):
        raise RunnerError(f"Port {port} is taken. Choose another one: make demo PORT={port + 1}")
    state = state_dir()
    started = time.monotonic()
    say(f"Preparing the demo in {state} …")
    settings = prepare(state, port)
    runner = Runner(settings, state / "run", port, say)
    say("Starting web, relay, worker, controller and nginx …")

    def welcome() -> None:
        say(banner(port, state))
        # The first launch then waits for less, or for nothing; politely, because that first launch may be now.
        build = ["nice", sys.executable, str(BASE_DIR / "manage.py"), "build_image", "local:jupyterlab", "--background"]
        subprocess.run(build, env=settings, cwd=BASE_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    run_until_signalled(runner, welcome)
    say("Stopping …")
    # Not of this terminal's group: a second, impatient Ctrl-C must not leave sessions behind.
    manage = [sys.executable, str(BASE_DIR / "manage.py"), "stop_local"]
    stopped = subprocess.run(manage, env=settings, cwd=BASE_DIR, start_new_session=True)
    if stopped.returncode == 0:
        say(f"Stopped after {_duration(time.monotonic() - started)}. `make demo` goes on with the same data.")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m config.demo", description="All of Slipway on this machine, with sample data.")
    arguments.add_argument("--port", type=int, default=8080)
    try:
        demo(arguments.parse_args().port)
    except RunnerError as error:
        say(f"slipway: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
