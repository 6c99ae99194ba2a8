"""What Slipway knows of each IDE, in one place: port, probe, home, how the gateway signs in to it, and how it tells its last use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from compute.clusters.local.recipes import FILES
from compute.workload import File, Probe


@dataclass(frozen=True)
class ActivityQuestion:
    """How to learn when an IDE was used last: GETs of ``paths``, with its ``upstream_headers``, whose answers are JSON.

    ``last_use`` makes a time of the answers and of the time now; None: not since the IDE was started. It may raise whatever it
    likes for answers that it does not understand.
    """

    paths: tuple[str, ...]
    last_use: Callable[[Sequence[Any], datetime], datetime | None]


@dataclass(frozen=True)
class Ide:
    """``token_env`` is what the IDE's server reads; ``upstream_headers`` is what the gateway sends it with each request.

    ``command`` (with ``{port}`` for the port), ``env`` and ``files`` make a container image start it; local recipes have their
    own. ``activity`` is None for an IDE that does not tell.
    """

    slug: str
    label: str
    port: int
    probe: Probe
    home_path: str
    token_env: Callable[[str], dict[str, str]]
    upstream_headers: Callable[[str], dict[str, str]]
    command: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    files: tuple[File, ...] = ()
    landing_path: str = "/"
    activity: ActivityQuestion | None = None

    def command_on(self, port: int) -> tuple[str, ...]:
        """What starts it in a container, to listen on the port."""
        return tuple(word.replace("{port}", str(port)) for word in self.command)


JUPYTER_CONFIG = "/opt/slipway/jupyter"
# The recipes for this machine have it built in; container images get it as a file.
JUPYTER_SERVER_CONFIG = (FILES / "etc" / "jupyter" / "jupyter_server_config.py").read_text()


def _code_server_password(token: str) -> str:
    # code-server compares its cookie with HASHED_PASSWORD as it stands when that is a SHA-256 (src/node/util.ts).
    return sha256(token.encode()).hexdigest()


def _jupyter_use(answers: Sequence[Any], now: datetime) -> datetime:
    """A busy kernel is in use, though a silent one does not move the server's time; a tab that is in view does."""
    status, kernels = answers
    if any(kernel["execution_state"] == "busy" for kernel in kernels):
        return now
    return datetime.fromisoformat(status["last_activity"])


def _code_server_use(answers: Sequence[Any], now: datetime) -> datetime | None:
    """It beats at most once a minute, for as long as a window is connected to it."""
    beat = answers[0].get("lastHeartbeat")
    return datetime.fromtimestamp(beat / 1000, UTC) if beat else None


IDES = {
    ide.slug: ide
    for ide in (
        Ide(
            slug="jupyterlab",
            label="JupyterLab",
            port=8888,
            # Answers without a token, and as soon as the server serves: kubelets have no token to send.
            probe=Probe("/api"),
            home_path="/home/jovyan",
            token_env=lambda token: {"JUPYTER_TOKEN": token},
            upstream_headers=lambda token: {"Authorization": f"token {token}"},
            command=("jupyter", "lab", "--ServerApp.ip=0.0.0.0", "--ServerApp.port={port}", "--ServerApp.port_retries=0", "--no-browser"),
            env={"JUPYTER_CONFIG_PATH": JUPYTER_CONFIG},
            files=(File(f"{JUPYTER_CONFIG}/jupyter_server_config.py", JUPYTER_SERVER_CONFIG),),
            landing_path="/lab",
            activity=ActivityQuestion(("/api/status", "/api/kernels?no_track_activity=1"), _jupyter_use),
        ),
        Ide(
            slug="code-server",
            label="VS Code",
            port=8080,
            # /healthz says 200 even when the editor itself cannot be served; but any other path counts as use.
            probe=Probe("/", (200, 302), quiet_path="/healthz"),
            home_path="/home/coder",
            token_env=lambda token: {"HASHED_PASSWORD": _code_server_password(token)},
            upstream_headers=lambda token: {"Cookie": f"code-server-session={_code_server_password(token)}"},
            command=("code-server", "--bind-addr=0.0.0.0:{port}", "--auth=password", "--disable-telemetry", "--disable-update-check"),
            activity=ActivityQuestion(("/healthz",), _code_server_use),
        ),
        Ide(
            slug="rstudio",
            label="RStudio",
            port=8787,
            probe=Probe("/", (200, 302)),
            home_path="/home/rstudio",
            token_env=lambda token: {"PASSWORD": token},
            upstream_headers=lambda token: {},
            # The free server has no address that tells when it was used.
            activity=None,
            # Without root its own accounts can't be used: only the gateway reaches the port (the namespace's NetworkPolicy).
            command=(
                *("rserver", "--server-daemonize=0", "--auth-none=1", "--www-address=0.0.0.0", "--www-port={port}"),
                *("--server-data-dir=/tmp/rstudio", "--secure-cookie-key-file=/tmp/rstudio-cookie-key"),
            ),
        ),
    )
}
CHOICES = [(ide.slug, ide.label) for ide in IDES.values()]
