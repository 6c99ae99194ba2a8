"""Start one of this package's modules as a process of its own that outlives who started it. Standard library only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from compute.clusters.base import ClusterError

SOURCES = Path(__file__).resolve().parents[3]
# What a build may need of the operator's environment to reach a package index. Nothing else leaves Slipway.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "XDG_CONFIG_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
KEPT_ANY_CASE = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def environment() -> dict[str, str]:
    """The environment of supervisors and builders (never of a session)."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("PIP_") or name.upper() in KEPT_ANY_CASE}
    return kept | {"PYTHONPATH": str(SOURCES)}


def command(module: str, *arguments: str) -> list[str]:
    """How to run ``compute.clusters.local.<module>``: without site-packages it starts in a few hundredths of a second."""
    # -P: never import from the working directory.
    return [sys.executable, "-S", "-s", "-P", "-m", f"compute.clusters.local.{module}", *arguments]


def start(module: str, *arguments: str, log: Path) -> None:
    """Run the module and return when it has called what :func:`detach` gave it. Raises :class:`ClusterError`."""
    try:
        with log.open("ab") as output:
            os.chmod(log, 0o600)
            process = subprocess.Popen(
                command(module, *arguments),
                cwd="/",
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        code = process.wait(timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError("StartFailed", f"This machine could not start a process: {error}.") from error
    if code:
        raise ClusterError("StartFailed", f"The {module} ended at once with exit code {code}; see {log}.")


def detach() -> Callable[[], None]:
    """Go on as a session leader whose parent is init. Who started us waits until the returned function is called."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return lambda: os.close(writing)
