"""A session's life on this machine: start, environment, isolation, init scripts, pause, resume, removal."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import stat
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from compute.clusters.base import ClusterError
from compute.clusters.local import LocalDriver, layout
from compute.workload import InitScript, Mount, Step, StepState
from tests.compute.conftest import SCRIPT, TOKEN, Machine, wait_for

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only a control plane that runs as root changes the user")


def about(machine: Machine) -> dict:
    return json.loads(machine.get("/about").text)


def sh(machine: Machine, command: str) -> dict:
    return json.loads(machine.get("/run/" + quote(command)).text)


def test_a_session_starts_and_says_where_it_is(machine: Machine) -> None:
    seen = machine.start()
    assert seen.endpoint == f"unix:{machine.session().socket}"
    assert [(s.step, s.state) for s in seen.steps] == [(step, StepState.DONE) for step in Step]
    assert all(s.started_at and s.finished_at and s.started_at <= s.finished_at for s in seen.steps)
    assert seen.warnings == ()
    assert "the small IDE listens" in machine.driver.logs(machine.namespace, "s")
    assert [event.reason for event in machine.driver.events(machine.namespace, "s")] == ["Ready"]


def test_only_the_sessions_own_environment_reaches_it(machine: Machine) -> None:
    machine.start()
    env = about(machine)["env"]
    home = str(machine.claim("home"))
    assert (env["GREETING"], env["HASHED_PASSWORD"], env["HOME"], env["SLIPWAY_SESSION"]) == ("hello", TOKEN, home, "s")
    allowed = {"GREETING", "HASHED_PASSWORD", "HOME", "PATH", "USER", "LOGNAME", "SHELL", "LANG", "LC_CTYPE", "TMPDIR", "XDG_RUNTIME_DIR"}
    assert {name for name in env if name not in allowed and not name.startswith("SLIPWAY_")} <= {"JUPYTER_RUNTIME_DIR"}
    assert "must-not-leak" not in json.dumps(env)
    assert os.path.isdir(env["TMPDIR"])


def test_no_secret_is_among_the_arguments_or_in_readable_files(machine: Machine) -> None:
    machine.start(init_scripts=(SCRIPT,))
    for process in machine.processes():
        with open(f"/proc/{process.pid}/cmdline") as file:
            assert TOKEN not in file.read()
    assert machine.session().desired.stat().st_mode & 0o777 == 0o600
    assert machine.session().folder.stat().st_mode & 0o777 == 0o700


@needs_root
def test_a_session_is_never_root_and_cannot_become_it(machine: Machine) -> None:
    machine.start()
    user = pwd.getpwnam(machine.driver.user)
    told = about(machine)
    assert set(told["ids"]) == {user.pw_uid, user.pw_gid}
    assert told["groups"] == []
    assert "NoNewPrivs:\t1" in sh(machine, "cat /proc/self/status")["out"]
    assert "CapEff:\t0000000000000000" in sh(machine, "cat /proc/self/status")["out"]


@needs_root
def test_without_the_session_user_nothing_starts_and_the_remedy_is_named(machine: Machine) -> None:
    driver = LocalDriver("here", root=machine.driver.root, user="no-such-user")
    with pytest.raises(ClusterError, match="useradd --system") as refused:
        driver.apply(machine.workload())
    assert refused.value.reason == "NoSessionUser"
    assert "useradd" in " ".join(driver.health().problems)
    with pytest.raises(ClusterError, match="never run as root"):
        LocalDriver("here", root=machine.driver.root, user="root").apply(machine.workload())


def test_volumes_appear_by_name_and_read_only_is_real(machine: Machine) -> None:
    machine.driver.apply(machine.workload())
    machine.ready()
    assert sh(machine, "echo 1 > sales/new.txt && cat sales/new.txt")["out"] == "1\n"
    refused = sh(machine, "echo 1 > archive/new.txt")
    assert refused["code"] != 0
    assert "Read-only file system" in refused["err"]
    assert not (machine.claim("archive") / "new.txt").exists()


def test_a_session_sees_no_other_volume_session_or_process(machine: Machine) -> None:
    other = machine.workload("other", mounts=(Mount("home2", "/home/user", home=True),), claims=())
    machine.driver.ensure_claim(machine.namespace, replace(machine.workload().claims[0], name="home2"))
    machine.driver.apply(other)
    machine.ready("other")
    machine.start()
    root = machine.driver.root
    assert sh(machine, f"ls {root}/claims/{machine.namespace}")["out"].split() == ["archive", "home", "sales"]
    assert sh(machine, f"ls {root}")["out"].split() == ["claims", "run", "tmp"]
    assert sh(machine, f"touch {root}/claims/x")["code"] != 0
    assert len(about(machine)["pids"]) < 6


@pytest.mark.parametrize("isolate", [True, False])
def test_a_session_cannot_send_the_gateway_elsewhere(machine: Machine, isolate: bool) -> None:
    machine.driver.isolate = isolate
    machine.start()
    session = machine.session()
    sh(machine, f"rm {session.ide_socket}; ln -s /run/docker.sock {session.ide_socket}")
    assert session.ide_socket.is_symlink()
    assert session.socket.lstat().st_mode & 0o170666 == stat.S_IFSOCK | 0o666
    if os.getuid() == 0:
        assert sh(machine, f"ln -sf /run/docker.sock {session.socket}")["code"] != 0
    assert machine.get("/").status == 200


def test_the_health_says_what_sessions_see(machine: Machine) -> None:
    def notes() -> str:
        return " ".join(machine.driver.health().notes)

    assert f"below {layout.covered(machine.driver.root)} they see nothing but their own" in notes()
    assert ("same user as Slipway" in notes()) == (os.getuid() != 0)
    machine.driver.isolate = False
    assert "other sessions' volumes too" in notes()


def test_without_namespaces_the_driver_says_that_read_only_is_a_wish(bare_machine: Machine) -> None:
    seen = bare_machine.start()
    assert any("can't enforce read-only for /data/archive" in warning for warning in seen.warnings)
    assert any("read-only volumes are not enforced" in note for note in bare_machine.driver.health().notes)


def test_files_survive_pause_and_resume(machine: Machine) -> None:
    machine.start()
    sh(machine, "echo kept > note.txt")
    machine.driver.pause(machine.namespace, "s")
    machine.paused()
    assert machine.see().retained
    assert machine.processes() == []
    assert TOKEN not in machine.session().desired.read_text()
    assert not machine.session().tmp.exists()
    machine.start(revision=2)
    assert sh(machine, "cat note.txt")["out"] == "kept\n"


def test_init_scripts_run_in_order_with_the_environment_before_the_ide(machine: Machine) -> None:
    second = InitScript("append", "echo second >> greeting.txt")
    machine.start(init_scripts=(SCRIPT, second))
    assert sh(machine, "cat greeting.txt")["out"] == "hello\nsecond\n"
    assert "hello from the script" in machine.driver.logs(machine.namespace, "s")


@pytest.mark.parametrize("isolate", [True, False])
def test_a_failing_init_script_fails_the_session_with_its_log(machine: Machine, isolate: bool) -> None:
    machine.driver.isolate = isolate
    bad = InitScript("broken", "echo about to fail; exit 3")
    machine.driver.apply(machine.workload(init_scripts=(SCRIPT, bad)))
    seen = machine.failed()
    assert (seen.reason, seen.ready, seen.exists) == ("InitScriptFailed", False, False)
    assert seen.message == "The init script broken failed with exit code 3."
    assert "about to fail" in seen.log_tail
    assert next(s for s in seen.steps if s.step == Step.SERVER).state == StepState.FAILED
    assert machine.servers() == 0


def test_a_start_that_takes_too_long_is_given_up(machine: Machine) -> None:
    machine.driver.apply(machine.workload(init_scripts=(InitScript("slow", "sleep 100"),), start_timeout=1))
    seen = machine.failed()
    assert seen.reason == "StartTimeout"
    assert machine.processes() == []


def test_the_same_revision_is_left_alone_and_a_newer_one_replaces_it(machine: Machine) -> None:
    machine.start()
    first = machine.status()["main"]
    machine.driver.apply(machine.workload())
    assert machine.see().ready
    assert machine.status()["main"] == first
    machine.start(revision=2)
    assert machine.status()["main"] != first
    assert machine.servers() == 1
    machine.driver.apply(machine.workload(revision=1))  # late
    assert machine.see().revision == 2


def test_a_pause_during_the_start_ends_it(machine: Machine) -> None:
    machine.driver.apply(machine.workload(init_scripts=(InitScript("slow", "sleep 100"),)))
    wait_for(lambda: "slow" in json.dumps(machine.status()), "the script")
    machine.driver.pause(machine.namespace, "s")
    machine.paused()
    assert machine.processes() == []


@pytest.mark.parametrize("isolate", [True, False])
def test_removal_leaves_nothing_but_the_claims(machine: Machine, isolate: bool) -> None:
    machine.driver.isolate = isolate
    machine.start()
    machine.get("/stray")
    session, root = machine.session(), machine.driver.root
    machine.driver.remove(machine.namespace, "s")
    machine.gone()
    wait_for(lambda: machine.supervisor() is None)
    assert machine.processes() == []
    assert machine.servers() == 0
    assert not session.run.exists()
    assert not os.path.lexists(session.socket)
    assert not session.tmp.exists()
    assert not (root / "sessions" / machine.namespace).exists()
    assert sorted(path.name for path in (root / "claims" / machine.namespace).iterdir()) == ["archive", "home", "sales"]


def test_unknown_names_are_fine(machine: Machine) -> None:
    machine.driver.pause(machine.namespace, "never-was")
    machine.driver.remove(machine.namespace, "never-was")
    seen = machine.see("never-was")
    assert (seen.exists, seen.retained) == (False, False)
    assert machine.driver.logs(machine.namespace, "never-was") == ""
    assert machine.driver.events(machine.namespace, "never-was") == []


def test_images_that_cannot_run_here_are_not_offered(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    offers = machine.driver.offers
    assert offers("local:jupyterlab") == offers("local:scipy") == offers("local:code-server") == ""
    assert offers("quay.io/jupyter/scipy-notebook:latest") == "Container images need a Kubernetes cluster."
    assert offers("local:nothing") == "There is no local recipe “nothing”."
    monkeypatch.setenv("PATH", "/usr/bin")
    assert offers("local:code-server") == "This machine has no code-server on its PATH."
    with pytest.raises(ClusterError):
        machine.driver.apply(machine.workload(image="local:nothing"))


def test_a_root_that_other_users_cannot_enter_still_works(machine: Machine, tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    machine.driver = LocalDriver("deep", root=folder / ("deep" * 20), user=machine.driver.user)
    try:
        seen = machine.start()
        assert len(seen.endpoint) < 108
        assert sh(machine, "pwd")["out"].strip() == str(machine.claim("home"))
    finally:
        machine.clean()
        shutil.rmtree(layout.run_folder(machine.driver.root))
