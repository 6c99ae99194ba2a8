"""The scripts that stand before Slurm's commands in a session, with a client that only says what it was given."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from sessions.slurm_programs import PROGRAMS
from sessions.slurm_tickets import VERSION_CONF

CLIENT = """#!/bin/sh
[ "$1" != --version ] || { [ -s "$SLURM_CONF" ] && echo "slurm-wlm 22.05.8"; exit; }
echo "client of ${0%/bin/*} token=$SLURM_JWT conf=${SLURM_CONF-none} jupyter=${JUPYTER_TOKEN-none}"
case :$PATH: in *tools*) echo "the session's programs are on PATH" ;; esac
for argument; do echo "<$argument>"; done
"""


class Place:
    """A session's folders: its programs and live files, and an image with a client."""

    def __init__(self, root: Path) -> None:
        self.tools, self.image, self.live = root / "tools", root / "image", root / "tools" / "live"
        for folder in (self.tools / "bin", self.live, self.image / "bin", self.image / "lib" / "slurm-wlm"):
            folder.mkdir(parents=True)
        for program in PROGRAMS:
            self.put(self.tools / "bin" / program.name, program.script)
            self.put(self.image / "bin" / program.name, CLIENT)
        (self.image / "lib" / "slurm-wlm" / "auth_jwt.so").touch()
        (self.live / "version.conf").write_text(VERSION_CONF)
        self.give()

    def put(self, file: Path, text: str) -> None:
        file.write_text(text)
        file.chmod(0o755)

    def give(self, token: str = "the-token", life: int = 600, controller: str = "", why: str = "") -> None:
        (self.live / "slurm").write_text(f"{token}\n{int(time.time()) + life}\n{controller}\n{why}\n")

    def run(self, *command: str, shell: str = "sh", **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.tools}/bin:{self.image}/bin:{os.defpath}:/usr/bin"
        program = str(self.tools / "bin" / command[0])
        return subprocess.run([shell, program, *command[1:]], env={"PATH": path, **env}, capture_output=True, text=True, timeout=30)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_images_command_gets_the_token_and_the_arguments(place: Place, shell: str) -> None:
    done = place.run("squeue", "--me", "a b", shell=shell, SLURM_CONF="/of/the/image", JUPYTER_TOKEN="x")
    assert done.stdout == f"client of {place.image} token=the-token conf=none jupyter=none\n<--me>\n<a b>\n"
    assert (done.stderr, done.returncode) == ("", 0)
    place.give("another")
    assert "token=another" in place.run("squeue", shell=shell).stdout


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"token": "", "why": "An admin has switched HPC off."}, "squeue: An admin has switched HPC off."),
        ({"token": ""}, "no Slurm token at the moment"),
        ({"life": -1}, "has expired and was not renewed in time"),
    ],
)
def test_without_a_good_token_it_says_why(place: Place, given: dict, words: str) -> None:
    place.give(**given)
    done = place.run("squeue")
    assert words in done.stderr
    assert (done.returncode, done.stdout) == (1, "")


def test_a_session_that_was_given_no_file_says_so(place: Place) -> None:
    (place.live / "slurm").unlink()
    assert "Pause and resume it" in place.run("squeue").stderr


def test_srun_says_what_to_do_instead(place: Place) -> None:
    done = place.run("srun", "python", "train.py")
    assert "sbatch --wrap 'python train.py'" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_wrapped_job_forgets_the_token(place: Place, shell: str) -> None:
    told = place.run("sbatch", "--wrap", "srun x", "-o", "a b", shell=shell).stdout
    assert told.splitlines()[1:] == ["<--wrap>", "<unset SLURM_JWT; srun x>", "<-o>", "<a b>"]
    assert "<--wrap=unset SLURM_JWT; srun x>" in place.run("sbatch", "--wrap=srun x", shell=shell).stdout
    assert place.run("sbatch", "job.sh", "", shell=shell).stdout.splitlines()[1:] == ["<job.sh>", "<>"]


@pytest.mark.parametrize(
    ("controller", "words"),
    [("21.08.1", "newer than the controller"), ("25.05.2", "may be too new for"), ("22.05.3", ""), ("23.11.0", ""), ("", ""), ("x", "")],
)
def test_versions_that_do_not_fit_are_told(place: Place, controller: str, words: str) -> None:
    place.give(controller=controller)
    done = place.run("sinfo")
    assert (words in done.stderr) if words else done.stderr == ""
    assert "token=the-token" in done.stdout


def test_an_image_without_a_client_says_so(place: Place, tmp_path: Path) -> None:
    plain = tmp_path / "plain"  # this machine may have a Slurm client
    plain.mkdir()
    for name in ("sh", "cat", "date", "cut", "readlink"):
        (plain / name).symlink_to(str(shutil.which(name)))
    bare = {"PATH": f"{place.tools}/bin:{plain}"}
    assert "no Slurm client in this session's image" in place.run("sinfo", **bare).stderr
    (place.tools / "supply").mkdir()
    (place.tools / "supply" / "problem").write_text("The client image has no Slurm client.")
    assert place.run("sinfo", **bare).stderr == "sinfo: The client image has no Slurm client.\n"


def test_a_client_that_takes_no_tokens_is_named_and_anothers_preferred(place: Place) -> None:
    (place.image / "lib" / "slurm-wlm" / "auth_jwt.so").unlink()
    done = place.run("sinfo")
    assert "slurm-wlm-jwt-plugin" in done.stderr and "token=the-token" in done.stdout
    supply = place.tools / "supply"
    for folder in ("bin", "lib", "plugins"):
        (supply / folder).mkdir(parents=True)
    place.put(supply / "bin" / "sinfo", CLIENT)
    place.put(supply / "lib" / "ld-linux-of-this.so", '#!/bin/sh\nshift 2\nexec "$@"\n')  # starts a program, as a loader does
    assert "supply token=the-token" in place.run("sinfo").stdout
