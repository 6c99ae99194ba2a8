"""What ``local:NAME`` images are: a venv from a locked list of packages, or a command that this machine has.

To add one: put ``NAME.in`` and its lock ``NAME.txt`` into ``recipes/`` and a line into ``RECIPES``. A changed lock is
another image: sessions get it at their next start, running ones keep theirs. The head of a lock names the command;
run it with the oldest Python that we support (Debian 12's 3.11.2), or it pins what that one cannot install.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from compute.clusters.local import layout

PREFIX = "local:"
FOLDER = Path(__file__).parent / "recipes"
HOME_PACKAGES = FOLDER / "slipway_home.py"
FILES = FOLDER / "files"  # copied into every venv


@dataclass(frozen=True)
class Recipe:
    """Either ``lock`` (a file of pinned, hashed requirements) or ``command`` (a program on Slipway's PATH)."""

    name: str
    ide: str
    lock: Path | None = None
    command: str = ""

    @property
    def key(self) -> str:
        """The name of the image's folder: another one for each lock and each change of what every image gets."""
        files = sorted(path for path in (HOME_PACKAGES, *FILES.rglob("*")) if path.is_file() and "__pycache__" not in path.parts)
        content = b"".join(path.read_bytes() for path in ([self.lock] if self.lock else []) + files)
        return f"{self.name}-{hashlib.sha256(content).hexdigest()[:10]}"


RECIPES: dict[str, Recipe] = {
    "jupyterlab": Recipe("jupyterlab", "jupyterlab", lock=FOLDER / "jupyterlab.txt"),
    "scipy": Recipe("scipy", "jupyterlab", lock=FOLDER / "scipy.txt"),
    "code-server": Recipe("code-server", "code-server", command="code-server"),
}


def recipe_of(image: str) -> Recipe | None:
    """The recipe that the image reference names, if this driver has it."""
    return RECIPES.get(image.removeprefix(PREFIX)) if image.startswith(PREFIX) else None


def why_not(image: str) -> str:
    """Empty if the image can run here, else one sentence saying why it cannot."""
    if not image.startswith(PREFIX):
        return "Container images need a Kubernetes cluster."
    recipe = recipe_of(image)
    if recipe is None:
        return f"There is no local recipe “{image.removeprefix(PREFIX)}”."
    if not recipe.command:
        return ""
    found = find_command(recipe.command)
    if found is None:
        return f"This machine has no {recipe.command} on its PATH."
    # Only a control plane that runs as root has sessions of another user than itself.
    blocked = layout.unreachable_ancestor(found.resolve().parent) if os.getuid() == 0 else None
    return f"Sessions cannot run {found}: other users may not enter {blocked}." if blocked else ""


def find_command(command: str) -> Path | None:
    """Where the program is on Slipway's PATH."""
    found = shutil.which(command)
    return Path(found).absolute() if found else None
