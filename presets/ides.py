"""What Slipway knows of each IDE, in one place: port, probe, home, and how the gateway signs in to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from compute.workload import Probe


@dataclass(frozen=True)
class Ide:
    """``token_env`` is what the IDE's server reads; ``upstream_headers`` is what the gateway sends it with each request."""

    slug: str
    label: str
    port: int
    probe: Probe
    home_path: str
    token_env: Callable[[str], dict[str, str]]
    upstream_headers: Callable[[str], dict[str, str]]
    landing_path: str = "/"


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
            # With a token set and none sent, a JupyterLab that is up answers 403.
            probe=Probe("/api/status", (200, 403)),
            home_path="/home/jovyan",
            token_env=lambda token: {"JUPYTER_TOKEN": token},
            upstream_headers=lambda token: {"Authorization": f"token {token}"},
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
        ),
        Ide(
            slug="rstudio",
            label="RStudio",
            port=8787,
            probe=Probe("/", (200, 302)),
            home_path="/home/rstudio",
            token_env=lambda token: {"PASSWORD": token},
            upstream_headers=lambda token: {},
        ),
    )
}
CHOICES = [(ide.slug, ide.label) for ide in IDES.values()]
