"""An image with this machine's Slurm client, for pods whose own has none: SLIPWAY_TEST_SLURM_CLIENT_IMAGE, or made here and given
to the node by the program that runs the test cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.cluster.kube import Components

NAME = "localhost/slurm-client:1"
COMMANDS = ("sinfo", "sbatch", "squeue", "scancel", "sacct", "scontrol")
TOOLS = ("sh", "bash", "ldd", "sed", "sort", "head", "grep", "cp", "cat", "mkdir", "dirname", "basename")


def client_image(folder: Path) -> str:
    """The image's name. ``folder`` is empty, and may be thrown away afterwards."""
    if given := os.environ.get("SLIPWAY_TEST_SLURM_CLIENT_IMAGE"):
        return given
    for name in ("bin", "lib", "lib64"):
        (folder / "usr" / name).mkdir(parents=True)
        (folder / name).symlink_to(f"usr/{name}")
    files = [Path(found) for name in (*COMMANDS, *TOOLS) if (found := shutil.which(name))]
    files += libraries(files)
    files += (plugins := sorted(next(file for file in files if file.name == "libslurmfull.so").parent.glob("*.so")))
    for file in {*files, *libraries(plugins)}:
        target = folder / str(file).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        target.chmod(0o755)
    (folder / "tmp").mkdir(exist_ok=True)
    components = Components()
    subprocess.run([str(components.program), "image", str(folder), NAME, "/bin/sh"], check=True, capture_output=True, timeout=120)
    return NAME


def libraries(files: list[Path]) -> list[Path]:
    """What the programs or libraries are linked with, at the paths where they look for it."""
    told = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, timeout=60).stdout
    return sorted({Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+) \(", told, re.MULTILINE)})
