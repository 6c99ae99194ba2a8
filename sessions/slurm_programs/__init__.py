"""What sessions with a Slurm cluster find on PATH: small scripts that run Slurm's commands with the session's token."""

from __future__ import annotations

from pathlib import Path

from compute.workload import Account, Program, Supply

FOLDER = Path(__file__).parent
SLURM = Account(64030, 64030, "slurm")  # whom controllers usually run as: a client refuses to go on if it does not know the name
COMMANDS = ("sinfo", "sbatch", "squeue", "scancel", "sacct", "scontrol")
LIVE_FILE = "slurm"  # what the scripts read; see ``sessions.slurm_tickets``

_command, _srun, _supply = ((FOLDER / f"{name}.sh").read_text() for name in ("command", "srun", "supply"))
PROGRAMS = (*(Program(name, _command) for name in COMMANDS), Program("srun", _srun))


def supply(image: str) -> Supply | None:
    """The Slurm client of another image, for sessions whose own has none; None without an image."""
    return Supply(image, _supply) if image else None
