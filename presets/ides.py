"""What Slipway knows of each IDE, in one place: port, probe, home, and how the gateway signs in to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from compute.clusters.local.recipes import FILES
from compute.workload import File, Probe


@dataclass(frozen=True)
class Ide:
    """``token_env`` is what the IDE's server reads; ``upstream_headers`` is what the gateway sends it with each request.

    ``command``, ``env`` and ``files`` make a container image start it on ``port``; local recipes have their own.
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


JUPYTER_CONFIG = "/opt/slipway/jupyter"
# The recipes for this machine have it built in; container images get it as a file.
JUPYTER_SERVER_CONFIG = (FILES / "etc" / "jupyter" / "jupyter_server_config.py").read_text()


def _code_server_password(token: str) -> str:
    # code-server compares its cookie with HASHED_PASSWORD as it stands when that is a SHA-256 (src/node/util.ts).
    return sha256(token.encode()).hexdigest()


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
            command=("jupyter", "lab", "--ServerApp.ip=0.0.0.0", "--ServerApp.port=8888", "--ServerApp.port_retries=0", "--no-browser"),
            env={"JUPYTER_CONFIG_PATH": JUPYTER_CONFIG},
            files=(File(f"{JUPYTER_CONFIG}/jupyter_server_config.py", JUPYTER_SERVER_CONFIG),),
            landing_path="/lab",
        ),
        Ide(
            slug="code-server",
            label="VS Code",
            port=8080,
            # /healthz says 200 even when the editor itself cannot be served.
            probe=Probe("/", (200, 302)),
            home_path="/home/coder",
            token_env=lambda token: {"HASHED_PASSWORD": _code_server_password(token)},
            upstream_headers=lambda token: {"Cookie": f"code-server-session={_code_server_password(token)}"},
            command=("code-server", "--bind-addr=0.0.0.0:8080", "--auth=password", "--disable-telemetry", "--disable-update-check"),
        ),
        Ide(
            slug="rstudio",
            label="RStudio",
            port=8787,
            probe=Probe("/", (200, 302)),
            home_path="/home/rstudio",
            token_env=lambda token: {"PASSWORD": token},
            upstream_headers=lambda token: {},
            # Without root its own accounts can't be used: only the gateway reaches the port (the namespace's NetworkPolicy).
            command=(
                *("rserver", "--server-daemonize=0", "--auth-none=1", "--www-address=0.0.0.0", "--www-port=8787"),
                *("--server-data-dir=/tmp/rstudio", "--secure-cookie-key-file=/tmp/rstudio-cookie-key"),
            ),
        ),
    )
}
CHOICES = [(ide.slug, ide.label) for ide in IDES.values()]
