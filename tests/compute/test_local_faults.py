"""What happens when a session's processes, or those that look after them, are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from compute.clusters.base import Outdated
from compute.clusters.local import LocalDriver, layout, sweep
from compute.clusters.local.processes import Process
from compute.workload import InitScript, Observation
from tests.compute.conftest import Machine, wait_for

SLOW = InitScript("slow", "sleep 1")


@contextmanager
def watching(machine: Machine) -> Iterator[list[Observation]]:
    """A controller's watch in the background; what it said of the machine's sessions."""
    said: list[Observation] = []
    stop = threading.Event()

    def watch() -> None:
        said.extend(seen for seen in machine.driver.watch(stop) if seen and seen.namespace == machine.namespace)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield said
    finally:
        stop.set()
        thread.join()


def kill_supervisor(machine: Machine) -> Process:
    supervisor = machine.supervisor()
    assert supervisor is not None
    supervisor.send(signal.SIGKILL)
    wait_for(lambda: not supervisor.alive())
    return supervisor


def kill_ide(machine: Machine, number: int) -> None:
    """Signal the IDE itself, as the kernel or a user would."""
    needle = str(machine.session().ide_socket).encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if needle in file.read():
                    os.kill(int(pid), number)
        except FileNotFoundError:
            continue


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize(
    ("number", "words"), [(signal.SIGKILL, "ran out of memory"), (signal.SIGSEGV, "SIGSEGV"), (signal.SIGTERM, "SIGTERM")]
)
def test_a_killed_ide_is_a_crash_with_its_log_and_a_resume_brings_it_back(machine: Machine, isolate: bool, number: int, words: str) -> None:
    machine.driver.isolate = isolate
    machine.start()
    machine.get("/stray")
    kill_ide(machine, number)
    seen = machine.failed()
    assert (seen.reason, seen.exists, seen.retained) == ("Crashed", False, True)
    assert words in seen.message
    assert "the small IDE listens" in seen.log_tail
    assert machine.processes() == []
    machine.driver.apply(machine.workload())
    assert machine.see().failed  # the same revision has failed for good
    machine.start(revision=2)


@pytest.mark.parametrize(("code", "reason"), [(7, "Crashed"), (0, "Exited")])
def test_an_ide_that_ends_by_itself_says_how(machine: Machine, code: int, reason: str) -> None:
    machine.start()
    with pytest.raises(OSError):
        machine.get(f"/exit/{code}")
    seen = machine.failed()
    assert (seen.reason, seen.message) == (reason, f"The IDE ended with exit code {code}.")


@pytest.mark.parametrize("isolate", [True, False])
def test_an_ide_whose_supervisor_was_killed_goes_on_and_is_adopted(machine: Machine, isolate: bool) -> None:
    machine.driver.isolate = isolate
    machine.start()
    main, killed = machine.status()["main"], kill_supervisor(machine)
    assert machine.see().ready
    assert machine.get("/").status == 200
    machine.session().socket.unlink()  # by a cleaner of temporary files, say
    with watching(machine):
        wait_for(lambda: machine.supervisor() not in (None, killed), "another supervisor")
    wait_for(machine.session().socket.exists, "a published socket")
    assert machine.get("/").status == 200
    assert machine.see().ready
    assert machine.status()["main"] == main
    assert machine.servers() == 1
    kill_ide(machine, signal.SIGKILL)
    assert machine.failed().reason == "Crashed"


def test_both_killed_is_a_crash_as_soon_as_somebody_looks(machine: Machine) -> None:
    machine.start()
    kill_supervisor(machine)
    kill_ide(machine, signal.SIGKILL)
    wait_for(lambda: not machine.see().ready)
    machine.driver.apply(machine.workload())
    assert machine.failed().reason == "Crashed"


@pytest.mark.parametrize("isolate", [True, False])
@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1, 0.3, 1.15])
def test_a_supervisor_killed_at_any_moment_of_the_start_ends_in_one_ide(machine: Machine, isolate: bool, moment: float) -> None:
    machine.driver.isolate = isolate
    machine.driver.apply(machine.workload(init_scripts=(SLOW,)))
    time.sleep(moment)
    kill_supervisor(machine)
    machine.driver.apply(machine.workload(init_scripts=(SLOW,)))
    machine.ready()
    assert machine.servers() == 1
    machine.driver.pause(machine.namespace, "s")
    machine.paused()
    assert machine.processes() == []


@pytest.mark.parametrize("isolate", [True, False])
def test_a_pause_after_the_supervisor_was_killed_ends_everything(machine: Machine, isolate: bool) -> None:
    machine.driver.isolate = isolate
    machine.start()
    machine.get("/stray")
    kill_supervisor(machine)
    machine.driver.pause(machine.namespace, "s")
    assert machine.see().exists
    machine.paused()
    assert machine.processes() == []
    assert machine.servers() == 0


def test_a_removal_that_is_interrupted_is_finished_by_the_watch(machine: Machine) -> None:
    machine.start()
    supervisor = machine.supervisor()
    assert supervisor is not None
    supervisor.send(signal.SIGSTOP)
    machine.driver.remove(machine.namespace, "s")
    supervisor.send(signal.SIGKILL)
    with watching(machine) as said:
        machine.gone()
        wait_for(lambda: said and not said[-1].retained, "the news")
    assert machine.processes() == []


def _apply(driver: LocalDriver, workload: object, times: int) -> None:
    for _ in range(times):
        driver.apply(workload)  # type: ignore[arg-type]


def test_applying_at_the_same_time_from_many_processes_starts_one_ide(machine: Machine) -> None:
    spawning = multiprocessing.get_context("fork")
    appliers = [spawning.Process(target=_apply, args=(machine.driver, machine.workload(), 5)) for _ in range(4)]
    for applier in appliers:
        applier.start()
    for applier in appliers:
        applier.join()
        assert applier.exitcode == 0
    machine.ready()
    assert machine.servers() == 1
    assert len({p.pid for p in machine.processes()} - {machine.supervisor()}) <= 2


def test_launch_pause_and_resume_in_a_row_end_in_what_was_asked_last(machine: Machine) -> None:
    for revision in range(1, 6):
        machine.driver.apply(machine.workload(revision=revision))
        machine.driver.pause(machine.namespace, "s")
    machine.driver.apply(machine.workload(revision=6))
    machine.ready(revision=6)
    assert machine.servers() == 1
    machine.driver.pause(machine.namespace, "s")
    machine.paused()
    assert machine.servers() == 0


def test_a_call_that_was_held_up_changes_nothing(machine: Machine) -> None:
    driver, late = machine.driver, machine.workload(generation=1)
    machine.start(generation=1)
    driver.pause(machine.namespace, "s", 2)
    machine.paused()
    with pytest.raises(Outdated) as outdated:
        driver.apply(late)
    assert outdated.value.generation == 2
    machine.start(revision=3, generation=3)
    with pytest.raises(Outdated):
        driver.pause(machine.namespace, "s", 2)
    assert machine.see().ready
    driver.remove(machine.namespace, "s", 4)
    driver.remove(machine.namespace, "s", 4)
    machine.gone()
    for claim in late.claims:
        driver.delete_claim(machine.namespace, claim.name)
    for call in (lambda: driver.apply(late), lambda: driver.pause(machine.namespace, "s", 2)):
        with pytest.raises(Outdated):
            call()
    assert not machine.see().retained
    assert not machine.claim("home").exists()


@pytest.mark.parametrize("verb", ["pause", "remove"])
def test_a_start_that_comes_after_what_ended_it_changes_nothing(machine: Machine, verb: str) -> None:
    getattr(machine.driver, verb)(machine.namespace, "s", 2)
    with pytest.raises(Outdated):
        machine.driver.apply(machine.workload(generation=1))
    assert not machine.session().folder.exists()
    machine.driver.remove(machine.namespace, "s")  # somebody at a console
    machine.start(revision=3, generation=3)


def test_removed_sessions_are_forgotten_after_an_hour(machine: Machine) -> None:
    machine.start(generation=1)
    machine.driver.remove(machine.namespace, "gone", 2)
    kept, gone = machine.session().fence, machine.session("gone").fence
    sweep.forget(gone)
    assert gone.exists()
    for fence in (kept, gone):
        os.utime(fence, (0, 0))
        sweep.forget(fence)
    assert kept.exists()
    assert not gone.exists()
    assert not machine.session("gone").turn.exists()
    machine.driver.remove(machine.namespace, "s", 3)
    machine.gone()
    os.utime(kept, (0, 0))
    with watching(machine):
        wait_for(lambda: not kept.parent.exists(), "the last one to be forgotten")


def test_sessions_survive_a_restart_of_slipway_and_are_found_again(machine: Machine) -> None:
    launcher = multiprocessing.get_context("fork").Process(target=_apply, args=(machine.driver, machine.workload(), 1))
    launcher.start()
    launcher.join()
    machine.driver = LocalDriver("again", root=machine.driver.root, user=machine.driver.user)
    machine.ready()
    supervisor = machine.supervisor()
    assert supervisor is not None
    assert os.getsid(supervisor.pid) == supervisor.pid != os.getsid(0)


def test_a_session_from_before_a_reboot_says_so(machine: Machine) -> None:
    machine.start()
    kill_supervisor(machine)
    status = machine.status()
    kill_ide(machine, signal.SIGKILL)
    layout.write_json(machine.session().status, status | {"boot": "another", "main": status["main"] | {"boot": "another"}})
    machine.driver.apply(machine.workload())
    assert machine.failed().reason == "MachineRestarted"


def test_a_process_that_took_the_pid_of_a_session_is_left_alone(machine: Machine) -> None:
    machine.start()
    machine.driver.pause(machine.namespace, "s")
    machine.paused()
    status = machine.status()
    me = Process.of(os.getpid())
    assert me is not None
    layout.write_json(machine.session().status, status | {"state": "running", "main": me.dump() | {"started": 1}})
    machine.driver.pause(machine.namespace, "s")
    machine.paused()  # and we are still here to see it


def test_the_watch_tells_of_every_change(machine: Machine) -> None:
    with watching(machine) as said:
        machine.driver.apply(machine.workload())
        wait_for(lambda: said and said[-1].ready, "ready")
        machine.driver.pause(machine.namespace, "s")
        wait_for(lambda: not said[-1].exists and said[-1].retained, "paused")
        machine.driver.remove(machine.namespace, "s")
        wait_for(lambda: not said[-1].retained, "removed")
        count = len(said)
        time.sleep(0.5)
        assert len(said) == count


def test_files_that_cannot_be_read_do_not_stop_the_watch(machine: Machine) -> None:
    machine.start()
    broken = machine.session("broken")
    broken.folder.mkdir()
    layout.write_json(broken.desired, {"want": "pause", "revision": 1})
    layout.write_json(broken.status, {"steps": 3, "state": "running", "revision": "x"})
    with watching(machine) as said:
        wait_for(lambda: any(seen.name == "s" and seen.ready for seen in said), "the other session")


def test_a_log_does_not_grow_without_end(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.start()
    size = layout.LOG_LIMIT + layout.MIB
    machine.get(f"/run/head%20-c%20{size}%20%2Fdev%2Fzero%20%7C%20tr%20'%5C0'%20'x%5Cn'%20%3E%2Fproc%2F%24PPID%2Ffd%2F1")
    wait_for(lambda: machine.session().server_log.stat().st_size <= layout.LOG_KEEP + layout.MIB, "a trimmed log")
    assert machine.see().ready
