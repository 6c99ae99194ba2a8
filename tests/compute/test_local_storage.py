"""Claims are folders: made, kept, shown in the home, deleted only by name."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

import pytest

from compute.clusters.base import ClusterError
from compute.clusters.local import layout, sweep
from compute.clusters.local.launch import link_volumes
from compute.workload import Claim
from tests.compute.conftest import Machine, wait_for
from tests.compute.test_local_faults import watching


@pytest.mark.parametrize("name", ["../x", "..", ".", "", "a/b", "/etc", "a\0b", "A", "x" * 64, ".gone-1"])
def test_a_name_that_could_leave_the_folder_is_refused(machine: Machine, name: str) -> None:
    driver = machine.driver
    for refused in (
        lambda: driver.ensure_claim(machine.namespace, Claim(name, "1Gi")),
        lambda: driver.ensure_claim(name, Claim("fine", "1Gi")),
        lambda: driver.delete_claim(machine.namespace, name),
        lambda: driver.delete_claim(name, "fine"),
        lambda: driver.observe(machine.namespace, name),
        lambda: driver.remove(name, "fine"),
    ):
        with pytest.raises(ClusterError) as error:
            refused()
        assert (error.value.reason, error.value.retryable) == ("InvalidName", False)


def test_a_claim_is_made_once_and_deleted_with_all_that_is_in_it(machine: Machine) -> None:
    claim = Claim("data", "1Gi")
    machine.driver.ensure_claim(machine.namespace, claim)
    folder = machine.claim("data")
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "kept.txt").write_text("kept")
    (folder / "elsewhere").symlink_to("/etc")
    machine.driver.ensure_claim(machine.namespace, claim)
    assert (folder / "kept.txt").read_text() == "kept"
    machine.driver.delete_claim(machine.namespace, "data")
    machine.driver.delete_claim(machine.namespace, "data")
    assert not folder.exists()
    wait_for(lambda: list(folder.parent.iterdir()) == [], "the data to go")
    assert os.path.exists("/etc/passwd")


def test_a_deletion_that_was_interrupted_is_finished_by_the_next(machine: Machine) -> None:
    machine.driver.ensure_claim(machine.namespace, Claim("data", "1Gi"))
    left = machine.claim("data").with_name(".gone-data")
    (left / "rest").mkdir(parents=True)
    machine.driver.delete_claim(machine.namespace, "data")
    wait_for(lambda: list(left.parent.iterdir()) == [], "the rest to go")


def test_what_a_killed_deletion_left_is_swept_by_the_watch(machine: Machine) -> None:
    machine.driver.ensure_claim(machine.namespace, Claim("kept", "1Gi"))
    left = machine.claim("data").with_name(".gone-data.1234")
    (left / "rest").mkdir(parents=True)
    with watching(machine):
        wait_for(lambda: list(left.parent.iterdir()) == [machine.claim("kept")], "the rest to go")


def test_a_deletion_that_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    gone = tmp_path / ".gone-data.1234"
    (gone / "rest").mkdir(parents=True)
    descriptor = os.open(gone, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    sweep.delete(gone)
    assert gone.exists()
    os.close(descriptor)
    sweep.delete(gone)
    assert not gone.exists()


def test_a_deletion_leaves_those_of_other_claims_alone(machine: Machine) -> None:
    machine.driver.ensure_claim(machine.namespace, Claim("data", "1Gi"))
    other = machine.claim("data").with_name(".gone-other")
    other.mkdir()
    machine.driver.delete_claim(machine.namespace, "data")
    wait_for(lambda: list(other.parent.iterdir()) == [other], "the claim to go")


def test_folders_that_their_owner_made_read_only_are_deleted_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "claim" / "module" / "inner").mkdir(parents=True)
    (tmp_path / "claim" / "link").symlink_to(tmp_path)
    tmp_path.chmod(0o755)
    for folder in ("claim/module/inner", "claim/module", "claim"):
        (tmp_path / folder).chmod(0o500)
    monkeypatch.setattr(os, "getuid", lambda: 1000)  # root is asked for no permission
    layout.remove_tree(tmp_path / "claim")
    assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_links_never_replace_a_users_file_and_old_ones_go(tmp_path: Path) -> None:
    claims, home = tmp_path / "claims", tmp_path / "home"
    for name in ("a", "b", "c", "old"):
        (claims / name).mkdir(parents=True)
    home.mkdir()
    (home / "sales").write_text("mine")
    (home / "gone").symlink_to(claims / "old")
    (home / "own").symlink_to("/usr")
    links = [("/data/sales", str(claims / "a")), ("/x/sales", str(claims / "b")), ("/y/free", str(claims / "c"))]
    warnings = link_volumes(home, claims, links)
    assert (home / "sales").read_text() == "mine"
    assert {entry.name: os.readlink(entry) for entry in home.iterdir() if entry.is_symlink()} == {
        "own": "/usr",
        "data-sales": str(claims / "a"),
        "x-sales": str(claims / "b"),
        "free": str(claims / "c"),
    }
    assert warnings == [
        "/data/sales appears as “data-sales” in your home, because “sales” is taken.",
        "/x/sales appears as “x-sales” in your home, because “sales” is taken.",
    ]
    (home / "data-sales").unlink()
    (home / "data-sales").write_text("mine too")
    assert "could not be shown" in link_volumes(home, claims, links)[0]


def test_a_volume_of_another_user_is_handed_over(machine: Machine, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give files away")
    machine.driver.ensure_claim(machine.namespace, Claim("home", "1Gi"))
    home = machine.claim("home")
    (home / "deep").mkdir()
    (home / "deep" / "file").write_text("x")
    (home / "link").symlink_to("/etc/passwd")
    (home / "twice").write_text("x")
    os.link(home / "twice", home / "deep" / "twice")
    another, linked = tmp_path / "another", home / "linked"
    another.write_text("x")
    os.chown(another, 1, 1)
    os.link(another, linked)
    os.chown(home, 0, 0)
    machine.start()
    assert another.stat().st_uid == 1
    owner = machine.driver.account().uid
    assert {(home / path).lstat().st_uid for path in (".", "deep", "deep/file", "link", "deep/twice")} == {owner}
    assert os.stat("/etc/passwd").st_uid == 0


def test_only_the_session_users_own_socket_is_published(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    tmp_path.chmod(0o711)
    session = layout.Session(tmp_path, "team", "s")
    session.run.mkdir(parents=True)
    assert not session.publish(os.getuid())
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "other.sock"))
        session.ide_socket.symlink_to(tmp_path / "other.sock")
        assert not session.publish(os.getuid())
        session.ide_socket.unlink()
        session.ide_socket.write_text("no socket")
        assert not session.publish(os.getuid())
        session.ide_socket.unlink()
        os.link(tmp_path / "other.sock", session.ide_socket)
        assert not session.publish(os.getuid() + 1)
    assert os.listdir(session.run.parent) == [session.id]
    for _ in range(2):
        assert session.publish(os.getuid())
    assert sorted(os.listdir(session.run.parent)) == [session.id, f"{session.id}.sock"]
    session.unpublish()
    assert os.listdir(session.run.parent) == [session.id]


def test_sockets_are_short_and_reachable_by_the_gateway(machine: Machine, tmp_path: Path) -> None:
    machine.start()
    session = machine.session()
    assert len(str(session.socket)) <= layout.SOCKET_PATH_MAX
    assert len(str(session.ide_socket)) <= layout.SOCKET_PATH_MAX
    assert layout.reachable(session.run)
    assert session.socket.stat().st_mode & 0o666 == 0o666
    assert len(str(layout.run_folder(tmp_path / ("x" * 200)) / ("i" * 16) / "ide.sock")) <= layout.SOCKET_PATH_MAX
    assert machine.driver.health().ok
