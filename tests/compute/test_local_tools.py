"""What a session gets beside its image: programs of its own, files that are kept fresh, and another account."""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from compute.clusters.base import ClusterError, Outdated
from compute.workload import Account, Program
from tests.compute.conftest import Machine, wait_for
from tests.compute.test_local_session import about, needs_root, sh

HELLO = Program("hello", '#!/bin/sh\ncat "${0%/*}/../live/token"\n')
FILES = {"token": "first"}
OTHER = Account(12345, 23456)  # of nobody on this machine


def tools(machine: Machine, **changes: Any) -> dict[str, Any]:
    return {"programs": (HELLO,), "live_files": FILES, "generation": 1, **changes}


def test_a_session_finds_its_programs_first_and_reads_fresh_files(machine: Machine) -> None:
    machine.start(**tools(machine))
    assert about(machine)["env"]["PATH"].startswith(f"{machine.session().tools}/bin:")
    assert sh(machine, "hello")["out"] == "first"
    machine.driver.write_files(machine.namespace, "s", {"token": "second"}, 1)
    assert sh(machine, "hello")["out"] == "second"
    assert sh(machine, "echo mine > $(dirname $(which hello))/../live/token")["code"] != 0
    live = machine.session().tools / "live" / "token"
    assert live.stat().st_mode & 0o777 == 0o400
    assert live.stat().st_uid == pwd.getpwnam(machine.driver.user).pw_uid
    assert "second" not in machine.session().desired.read_text()


def test_files_that_come_late_are_refused_and_a_paused_session_keeps_none(machine: Machine) -> None:
    machine.start(**tools(machine))
    machine.driver.pause(machine.namespace, "s", 2)
    machine.paused()
    wait_for(lambda: not machine.session().tools.exists(), "the end of its files")
    with pytest.raises(Outdated):
        machine.driver.write_files(machine.namespace, "s", {"token": "late"}, 1)
    machine.driver.write_files(machine.namespace, "s", {"token": "paused"}, 2)
    machine.driver.write_files(machine.namespace, "nobody", {"token": "x"}, 1)
    assert not machine.session().tools.exists()
    machine.start(revision=3, **tools(machine, generation=3, live_files={"token": "third"}))
    assert sh(machine, "hello")["out"] == "third"


def test_the_same_revision_applied_again_brings_fresh_files(machine: Machine) -> None:
    machine.start(**tools(machine))
    before = machine.status()["main"]
    machine.driver.apply(machine.workload(**tools(machine, live_files={"token": "again"})))
    assert sh(machine, "hello")["out"] == "again"
    assert machine.status()["main"] == before


@needs_root
def test_a_session_runs_as_the_account_that_it_asks_for(machine: Machine) -> None:
    machine.start(**tools(machine, account=OTHER))
    assert about(machine)["ids"] == [12345] * 3 + [23456] * 3
    assert sh(machine, "hello && touch new && stat -c %u:%g . new")["out"] == "first12345:23456\n12345:23456\n"
    machine.driver.write_files(machine.namespace, "s", {"token": "second"}, 1)
    assert sh(machine, "hello")["out"] == "second"


def test_no_session_is_root_and_without_root_none_is_anybody_else(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for account in (Account(0, 100), Account(1000, 0)):
        with pytest.raises(ClusterError, match="never run as root"):
            machine.driver.runs_as(account)
    own = machine.driver.runs_as(None)
    assert own.uid == pwd.getpwnam(machine.driver.user).pw_uid
    monkeypatch.setattr(os, "getuid", lambda: 1234)
    assert machine.driver.runs_as(Account(1234, 5)) == Account(1234, 5)
    with pytest.raises(ClusterError, match="can't run as uid 12345") as refused:
        machine.driver.runs_as(OTHER)
    assert not refused.value.retryable


def test_the_name_of_a_file_leads_nowhere_else(machine: Machine) -> None:
    for name in ("../x", ".x", "a/b"):
        with pytest.raises(ClusterError):
            machine.driver.apply(replace(machine.workload(), live_files={name: "x"}))
    assert json.loads(json.dumps(machine.status())) == {}


@needs_root
def test_a_volume_goes_to_another_account_unless_it_only_reads_or_shares_the_group(machine: Machine) -> None:
    machine.start(**tools(machine, account=OTHER))
    sh(machine, "echo theirs > ~/sales/report; echo old > ~/note")
    machine.driver.pause(machine.namespace, "s", 2)
    machine.paused()
    colleague = Account(34567, OTHER.gid)
    machine.start("t", **tools(machine, account=colleague))
    assert sh_of(machine, "t", "cat sales/report archive/x; touch sales/mine; stat -Lc %u:%g . sales sales/mine") == (
        "theirs\n34567:23456\n12345:23456\n34567:23456\n"
    )
    owners = {name: machine.claim(name).stat().st_uid for name in ("home", "sales", "archive")}
    assert owners == {"home": colleague.uid, "sales": OTHER.uid, "archive": OTHER.uid}


def sh_of(machine: Machine, name: str, command: str) -> str:
    told: str = json.loads(machine.get("/run/" + quote(command), name).text)["out"]
    return told
