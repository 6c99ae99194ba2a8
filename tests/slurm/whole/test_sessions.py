"""A notebook that uses a Slurm cluster as its owner, through the gateway, with all that can go wrong. One session, in the
order of the file; the last test looks for what must not have leaked meanwhile."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from compute.clusters import driver_for
from compute.models import SlurmCluster
from compute.slurm_models import SlurmAccount
from sessions.models import Phase
from sessions.slurm_models import SlurmTicket
from storage.slurm_keys import replace_key
from tests.laboratory import wait_until
from tests.live.conftest import PASSWORDS
from tests.slurm.real import BASE_DIR, user
from tests.slurm.whole.conftest import USERS, World
from tests.slurm.whole.walk import SOON, SlurmWalk
from tests.smoke import Walk, run_cell

pytestmark = pytest.mark.slurm
MINE, THEIRS = USERS["member"], USERS["admin"]


class Spy:
    """Remembers each token that the session's file held, and each command line of the machine that had one of them."""

    def __init__(self, walk: SlurmWalk) -> None:
        self.walk, self.tokens, self.lines, self.stop = walk, set[str](), set[str](), threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self) -> None:
        while not self.stop.wait(0.02):
            with suppress(OSError, IndexError):
                self.tokens.add(self.walk.live[0])
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    if b"eyJ" in (line := file.read_bytes()):
                        self.lines.add(line.decode(errors="replace"))

    def end(self) -> None:
        self.stop.set()
        self.thread.join()


@pytest.fixture(scope="module")
def walk(world: World) -> Iterator[SlurmWalk]:
    """The member's session, in which nothing has been done yet."""
    SlurmCluster.objects.update(enabled=True)
    walk = SlurmWalk(world.stack)
    walk.sign_in()
    walk.launch()
    walk.wait_for_phase("Running")
    walk.open()
    walk.start_kernel()
    yield walk
    walk.delete()


@pytest.fixture(scope="module")
def spy(walk: SlurmWalk) -> Iterator[Spy]:
    spy = Spy(walk)
    yield spy
    spy.end()


def test_nobody_sees_the_word_before_a_cluster_is_enabled(world: World) -> None:
    walk = Walk(world.stack)
    walk.browser.sign_in("admin", PASSWORDS["admin"])
    page = walk.browser.get("/w/research/sessions/new/?preset=jupyterlab")
    page = walk.browser.submit(page, page.form("/preset/"), {}, "next")
    assert "Slurm" not in page.text
    SlurmCluster.objects.update(enabled=True)
    assert "Slurm" in walk.browser.get(page.path).text


def test_a_cell_submits_a_job_whose_output_appears(walk: SlurmWalk, spy: Spy, world: World) -> None:
    account = user(MINE)
    assert walk.sh("id -u; id -g").split() == [str(account.pw_uid), str(account.pw_gid)]
    assert "debug" in walk.sh("sinfo")
    assert walk.sh("which sbatch").strip() == f"{walk.folders.tools}/bin/sbatch"
    told = walk.sh("sbatch --output job.txt --wrap 'id -un; srun echo from the job; env > job.env'")
    assert told.startswith("Submitted batch job"), told
    (home,) = (mount.volume.claim for mount in walk.row.mounts.all())
    file = world.stack.local_root / "claims" / "research" / home / "job.txt"
    wait_until(lambda: file.exists() and "from the job" in file.read_text(), SOON, "the job's output")
    assert walk.sh("cat job.txt").startswith(f"{MINE}\nfrom the job\n")
    env = walk.sh("cat job.env")
    assert "SLURM_JWT" not in env and "JUPYTER_TOKEN" not in env and str(walk.folders.tools) not in env
    assert "sbatch --wrap 'hostname'" in walk.sh("srun hostname")


def test_the_example_notebook_runs_as_it_is(walk: SlurmWalk, spy: Spy) -> None:
    cells = json.loads((BASE_DIR / "examples" / "slurm.ipynb").read_text())["cells"]
    printed = [run_cell(walk.channels, "".join(cell["source"])) for cell in cells if cell["cell_type"] == "code"]
    assert "debug" in printed[0]
    assert "hello" in printed[-2]
    assert printed[-1].startswith("Hello from ")


def test_a_terminal_finds_the_same_commands(walk: SlurmWalk, spy: Spy) -> None:
    walk.terminal("squeue --me > squeue.txt; which squeue python >> squeue.txt")
    told = wait_until(lambda: text if (text := walk.sh("cat squeue.txt")).count("/") > 2 else "", SOON, "what the terminal said")
    assert "JOBID" in told and f"{walk.folders.tools}/bin/squeue" in told and "images/jupyterlab" in told


def test_anothers_job_can_neither_be_seen_nor_cancelled(walk: SlurmWalk, spy: Spy, world: World) -> None:
    job = world.slurm.ask(THEIRS, "sbatch", "--parsable", "--job-name", "theirs", "--wrap", "sleep 60").strip()
    own = walk.sh("sbatch --parsable --hold --wrap true").strip()
    assert [line.split()[0] for line in walk.sh("squeue -h").splitlines()] == [own]
    assert "theirs" not in walk.sh(f"scontrol show job {job}; squeue -h -j {job}; sacct -j {job}")
    assert "denied" in walk.sh(f"scancel {job}")
    assert "theirs" in world.slurm.ask(THEIRS, "squeue", "-h")
    assert walk.sh(f"scancel {own}") == ""
    world.slurm.ask(THEIRS, "scancel", job)


def test_a_token_is_renewed_in_time_and_the_old_kernel_uses_it(walk: SlurmWalk, spy: Spy) -> None:
    ticket = walk.ticket
    assert abs((ticket.look_at - ticket.issued_at) - (ticket.expires_at - ticket.issued_at) * 0.8) < timedelta(seconds=2)
    walk.renew()
    assert "JOBID" in walk.sh("squeue")
    assert "SLURM_JWT" not in walk.sh("env")


def test_an_expired_token_is_told_and_renewed(walk: SlurmWalk, spy: Spy, world: World) -> None:
    expired = world.slurm.token(MINE, -60)
    driver = driver_for(walk.row.workspace.cluster)
    for expires, words in ((int(time.time()) - 60, "has expired"), (int(time.time()) + 600, "Zero Bytes")):
        driver.write_files("research", walk.host, {"slurm": f"{expired}\n{expires}\n\n\n"}, walk.row.generation)
        assert words in walk.sh("squeue")
    walk.renew()
    assert "JOBID" in walk.sh("squeue")


def test_a_rotated_key_makes_the_old_token_worthless_and_the_next_one_good(walk: SlurmWalk, spy: Spy, world: World) -> None:
    world.slurm.rotate_key()
    assert "JOBID" not in walk.sh("squeue")
    before = walk.live[0]
    replace_key(world.cluster, world.slurm.key, None)
    wait_until(lambda: walk.live[0] != before, SOON, "a token of the new key")
    wait_until(lambda: "JOBID" in walk.sh("squeue"), SOON, "the new key is taken")


def test_a_controller_that_restarts_disturbs_no_session(walk: SlurmWalk, spy: Spy, world: World) -> None:
    world.slurm.stop("slurmctld")
    assert "JOBID" not in walk.sh("timeout 3 squeue")
    walk.renew()  # needs no controller
    assert walk.row.phase == Phase.RUNNING
    world.slurm.start("slurmctld")
    wait_until(lambda: "JOBID" in walk.sh("squeue"), SOON, "the controller is back")


def test_a_wrong_uid_is_refused_by_slurm_and_by_slipway(walk: SlurmWalk, spy: Spy, world: World) -> None:
    told = walk.sh("/usr/bin/sbatch --wrap true", SLURM_JWT=world.slurm.token(THEIRS))
    assert "Invalid user id" in told
    mine = SlurmAccount.objects.filter(user__username="member")
    mine.update(uid=user(THEIRS).pw_uid)
    SlurmTicket.objects.filter(session__host=walk.host).update(look_at=timezone.now() - timedelta(seconds=1))
    wait_until(lambda: walk.live[0] == "", SOON, "the token is taken away")
    assert "Pause and resume the session" in walk.sh("squeue")
    assert walk.row.phase == Phase.RUNNING
    mine.update(uid=user(MINE).pw_uid)
    SlurmTicket.objects.filter(session__host=walk.host).update(look_at=None)
    wait_until(lambda: walk.live[0], SOON, "a token for who it is again")


def test_a_cluster_that_is_switched_off_takes_its_tokens_along(walk: SlurmWalk, spy: Spy, world: World) -> None:
    SlurmCluster.objects.update(enabled=False)
    wait_until(lambda: walk.live[0] == "", SOON, "the token is taken away")
    assert "switched HPC off" in walk.sh("sinfo")
    assert "switched HPC off" in walk.ticket.problem
    assert walk.row.phase == Phase.RUNNING
    SlurmCluster.objects.update(enabled=True)
    SlurmTicket.objects.filter(session__host=walk.host).update(look_at=None)
    wait_until(lambda: walk.live[0], SOON, "a token again")
    assert "debug" in walk.sh("sinfo")


def test_a_paused_session_has_no_token_and_a_resumed_one_a_fresh_one(walk: SlurmWalk, spy: Spy) -> None:
    walk.channels.close()
    walk.pause()
    assert not walk.folders.tools.exists()
    wait_until(lambda: walk.ticket.expires_at is None, SOON, "its ticket is over")
    walk.resume()
    walk.start_kernel()
    assert "JOBID" in walk.sh("squeue")


def test_key_and_tokens_are_nowhere_but_in_the_sessions_file(walk: SlurmWalk, spy: Spy, world: World) -> None:
    spy.end()
    tokens = spy.tokens - {""}
    assert len(tokens) > 5
    assert spy.lines == set()
    secrets = [token.encode() for token in tokens] + [token.rpartition(".")[2].encode() for token in tokens]
    key = world.slurm.key
    secrets += [key, base64.b64encode(key), key.hex().encode()]
    for name, text in places(walk, world):
        assert not any(secret in text for secret in secrets), name


def places(walk: SlurmWalk, world: World) -> Iterator[tuple[str, bytes]]:
    """Whatever Slipway wrote or answers, but for the session's own files."""
    for folder in (world.stack.run_dir, world.stack.local_root / "sessions"):
        for file in filter(Path.is_file, folder.rglob("*")):
            yield str(file), file.read_bytes()
    yield "runner.log", (world.stack.folder / "runner.log").read_bytes()
    for file in world.stack.folder.glob("slipway.sqlite3*"):
        yield str(file), file.read_bytes()
    here = f"/w/research/sessions/{walk.host}"
    for path in (f"{here}/", f"{here}/slurm/", f"{here}/logs/", f"{here}/events/", "/w/research/sessions/"):
        yield path, walk.browser.get(path).text.encode()
    for path in (f"/api/v1/workspaces/research/sessions/{walk.row.name}", f"/api/v1/workspaces/research/sessions/{walk.row.name}/slurm"):
        answer = walk.browser.http.get(world.stack.url + path, timeout=30)
        assert answer.ok, answer.text
        yield path, answer.content
