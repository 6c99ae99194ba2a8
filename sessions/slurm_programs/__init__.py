"""What sessions with a Slurm cluster find on PATH: small scripts that run Slurm's commands with the session's token."""

from __future__ import annotations

from pathlib import Path

from compute.workload import Program, Supply

FOLDER = Path(__file__).parent
COMMANDS = ("sinfo", "sbatch", "squeue", "scancel", "sacct", "scontrol")
LIVE_FILE = "slurm"  # what the scripts read; see ``sessions.slurm_tickets``

_command, _srun, _supply = ((FOLDER / f"{name}.sh").read_text() for name in ("command", "srun", "supply"))
PROGRAMS = (*(Program(name, _command) for name in COMMANDS), Program("srun", _srun))


def supply(image: str) -> Supply | None:
    """The Slurm client of another image, for sessions whose own has none; None without an image."""
    return Supply(image, _supply) if image else None
