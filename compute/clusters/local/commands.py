"""How each IDE is started, on a unix socket and without the network. Secrets are in the environment, never arguments."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from compute.clusters.local.layout import Session
from compute.clusters.local.processes import MARK
from compute.clusters.local.sandbox import Account

SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True)
class Program:
    """What is started: ``bin`` comes first on the session's PATH, ``executable`` is the program (for a command)."""

    ide: str
    bin: Path
    executable: str = ""


def command(program: Program, socket: Path, home: Path) -> tuple[str, ...]:
    """The arguments that start the IDE. ``KeyError`` for an IDE that has no local form."""
    return COMMANDS[program.ide](program, socket, home)


def _jupyterlab(program: Program, socket: Path, home: Path) -> tuple[str, ...]:
    return (
        str(program.bin / "python"),
        str(program.bin / "jupyter-lab"),  # not -m: that would import modules from the user's home
        f"--ServerApp.sock={socket}",
        "--ServerApp.sock_mode=0666",
        f"--ServerApp.root_dir={home}",
        "--ServerApp.open_browser=False",
        # The gateway passes the session's own Host, which Jupyter compares with Origin; any name is a remote one to it.
        "--ServerApp.allow_remote_access=True",
        "--ServerApp.quit_button=False",
        "--LanguageServerManager.autodetect=False",  # would run npm at every start
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    )


def _code_server(program: Program, socket: Path, home: Path) -> tuple[str, ...]:
    return (
        program.executable,
        f"--socket={socket}",
        "--socket-mode=666",
        f"--session-socket={socket.with_name('session.sock')}",  # by default in the home, whose path may be too long for one
        "--auth=password",
        "--disable-telemetry",
        "--disable-update-check",
        str(home),
    )


COMMANDS: dict[str, Callable[[Program, Path, Path], tuple[str, ...]]] = {"jupyterlab": _jupyterlab, "code-server": _code_server}


def environment(
    session: Session,
    account: Account,
    program: Program,
    home: Path,
    env: dict[str, str],
    secret_env: dict[str, str],
    tools: Path | None = None,
) -> dict[str, str]:
    """The whole environment of the session: what it asked for, and what Slipway owns. Nothing is inherited.

    ``tools`` is the folder of its own programs, if it has some.
    """
    shell = "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
    owned = {
        "PATH": ":".join((*([str(tools / "bin")] if tools else []), str(program.bin), *SYSTEM_PATH, str(home / ".local/bin"))),
        "HOME": str(home),
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": shell,
        "TMPDIR": str(session.tmp),
        "XDG_RUNTIME_DIR": str(session.run),  # short: IDEs put sockets of their own there
        "JUPYTER_RUNTIME_DIR": str(session.tmp / "jupyter"),
        "SLIPWAY_SESSION": session.name,
        "SLIPWAY_NAMESPACE": session.namespace,
        MARK: session.id,
    }
    return {"LANG": "C.UTF-8", **env, **secret_env, **owned}
