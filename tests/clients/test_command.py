"""The command ``slipway``: what it says, what it ends with, and what it never tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from slipway.cli.launch import launch as launch_command
from slipway.cli.main import cli

from compute.models import Scope, Workspace
from presets.models import Preset
from sessions.models import Desired, Phase, Session
from sessions.webhooks.models import Webhook
from storage.models import Volume
from tests.clients.conftest import Said, Served, Terminal
from tests.clients.test_client import settle
from tests.conftest import Cast
from tests.fakes import FakeDriver

Command = Callable[..., Said]
Token = Callable[..., str]


def test_login_keeps_the_token_for_its_user_alone(
    command: Command, served: Served, token: Token, config_home: Path, workspace: Workspace
) -> None:
    plain = token("owner")
    said = command("login", served.url, "--token-stdin", stdin=plain + "\n")
    assert (said.code, said.err) == (0, "")
    assert "You are owner" in said.out
    kept = config_home / "slipway" / "profiles.json"
    assert (kept.stat().st_mode & 0o777, kept.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert [path.name for path in kept.parent.iterdir()] == ["profiles.json"]
    who = command("whoami")
    assert "research" in who.out
    assert plain not in who.out + who.err + said.out
    assert command("logout").code == 0
    assert plain not in kept.read_text()
    assert command("whoami").code == 5


def test_login_keeps_nothing_that_does_not_work(command: Command, served: Served, config_home: Path, cast: Cast) -> None:
    said = command("login", served.url, "--token-stdin", stdin="slw_abc_canary\n")
    assert (said.code, said.err) == (5, "Error: This token is not valid. Make a new one on the page API tokens.\n")
    assert not (config_home / "slipway").exists()
    assert command("login", "slipway.example.com", "--token-stdin", stdin="slw_abc_canary\n").code == 2
    assert command("login", served.url, "--token-stdin", "--workspace", "gone", stdin="slw_abc_canary\n").code == 5


def test_profiles_stand_side_by_side(command: Command, served: Served, token: Token) -> None:
    command("login", served.url, "--token-stdin", stdin=token("owner"))
    command("login", served.url, "--token-stdin", "--profile", "boss", stdin=token("admin"))
    assert json.loads(command("whoami", "--json").out)["username"] == "admin"
    assert json.loads(command("whoami", "--json", "--profile", "default").out)["username"] == "owner"
    assert command("use", "default").out == "Commands use profile default.\n"
    assert command("use", "-w", "nowhere").code == 2
    assert command("use", "-w", "research").out == "Commands use profile default and workspace research.\n"
    assert [(row["name"], row["is_current"]) for row in json.loads(command("profiles", "--json").out)] == [
        ("default", True),
        ("boss", False),
    ]
    assert "boss" in command("profiles").out
    assert command("whoami", "--profile", "gone").err == "Error: There is no profile gone.\n"


def test_the_environment_goes_first_but_sends_no_stored_token_elsewhere(
    command: Command, served: Served, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("login", served.url, "--token-stdin", stdin=token("owner"))
    monkeypatch.setenv("SLIPWAY_TOKEN", token("admin"))
    assert json.loads(command("whoami", "--json").out)["username"] == "admin"
    monkeypatch.delenv("SLIPWAY_TOKEN")
    monkeypatch.setenv("SLIPWAY_URL", "http://127.0.0.1:9")
    said = command("whoami")
    assert (said.code, "SLIPWAY_TOKEN" in said.err) == (5, True)


@pytest.mark.usefixtures("signed_in")
class TestSessions:
    def test_from_launch_to_delete(self, command: Command, preset: Preset, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("API_KEY", "canary")
        said = command("launch", "jupyterlab", "--name", "lab", "--env", "API_KEY", "--no-wait")
        assert (said.code, said.out) == (0, "lab is Pending. Wait for it: slipway wait lab\n")
        assert Session.objects.get().env["API_KEY"] == "canary"
        settle(Phase.RUNNING)
        assert command("wait", "lab").out == "lab is Running.\n"
        listed = command("list").out.splitlines()
        assert listed[0].split() == ["NAME", "PHASE", "PRESET", "POD", "SIZE", "OWNER", "AGE", "PRICE/H"]
        assert listed[1].split()[:5] == ["lab", "Running", "jupyterlab", "small", "owner"]
        assert [row["name"] for row in json.loads(command("list", "--mine", "--json").out)] == ["lab"]
        assert "JupyterLab" not in command("list", "--phase", "paused").out
        shown = command("show", "lab")
        assert "jupyterlab, image minimal" in shown.out
        assert "canary" not in shown.out
        assert command("logs", "lab").out == "a line of the log\n"
        assert command("open", "lab", "--print").out.startswith("http://lab-")
        assert json.loads(command("open", "lab", "--json").out)["expires_in"] > 0
        assert command("pause", "lab").out == "lab is asked to be Paused; it is Running.\n"
        settle(Phase.PAUSED)
        assert json.loads(command("pause", "lab", "--wait", "--json").out)["phase"] == "Paused"
        assert json.loads(command("resume", "lab", "--no-wait", "--json").out)["desired"] == "running"
        assert command("delete", "lab", "--yes", "--volumes", "home-lab").out == "lab is being deleted.\n"
        assert Session.objects.get().desired == Desired.DELETED

    def test_what_is_refused_is_said_at_its_option(self, command: Command, preset: Preset, shared_data: Volume) -> None:
        said = command(
            *("launch", "jupyterlab", "--image", "gone", "--home-size", "5 apples", "--env", "1X=canary"),
            *("--volume", "sales", "--volume", "nowhere:/data/x:ro"),
        )
        assert said.code == 3
        assert {line.rpartition(": ")[0].split(": ")[1] for line in said.err.splitlines()} >= {"--image", "--home-size", "--env 1X"}
        assert "Error: --volume nowhere: " in said.err
        assert "canary" not in said.out + said.err
        errors = json.loads(command("launch", "jupyterlab", "--image", "gone", "--json").err)["error"]
        assert (errors["status"], errors["errors"][0]["field"]) == (422, "image")
        assert Session.objects.count() == 0

    def test_a_dry_run_makes_nothing_and_ends_as_the_launch_would(self, command: Command, preset: Preset) -> None:
        said = command("launch", "jupyterlab", "--name", "lab", "--dry-run")
        assert (said.code, said.out) == (0, "lab: jupyterlab, minimal, small (500m CPU, 1Gi), $0.025 an hour\n")
        said = command("launch", "jupyterlab", "--pod-size", "huge", "--dry-run")
        assert (said.code, said.err.startswith("Error: --pod-size: ")) == (3, True)
        assert "Error: PRESET: " in command("launch", "gone", "--dry-run").err
        assert Session.objects.count() == 0

    def test_each_end_has_its_code(self, command: Command, preset: Preset) -> None:
        command("launch", "jupyterlab", "--name", "lab", "--no-wait")
        assert command("wait", "lab", "--timeout", "0").code == 7
        assert command("wait", "lab", "--for", "Paused").code == 6
        settle(Phase.FAILED)
        assert command("wait", "lab").code == 6
        assert command("show", "gone").code == 4
        assert command("open", "lab").code == 3
        assert command("launch").code == 2
        assert command("list", "--workspace", "other").code == 4
        assert json.loads(command("wait", "lab", "--json").err)["error"]["code"] == "not_reached"

    def test_a_delete_asks_first(self, command: Command, preset: Preset, shared_data: Volume) -> None:
        command("launch", "jupyterlab", "--name", "lab", "--no-wait", "--volume", "sales")
        said = command("delete", "lab")
        assert (said.code, "There is nobody to ask: add --yes." in said.err) == (2, True)
        said = command("delete", "lab", "--volumes", "home-lab", stdin=Terminal("n\n"))
        assert (said.code, "Stays: sales.\nGoes to the trash: home-lab.\nDelete lab of owner?" in said.err) == (1, True)
        assert Session.objects.get().desired == Desired.RUNNING
        assert command("delete", "lab", stdin=Terminal("y\n")).code == 0
        assert command("delete", "lab", stdin=Terminal("")).code == 130
        assert Session.objects.get().desired == Desired.DELETED

    def test_what_can_be_launched_and_mounted(self, command: Command, preset: Preset, shared_data: Volume) -> None:
        assert command("presets").out.splitlines()[1].split()[:3] == ["jupyterlab", "JupyterLab", "minimal"]
        assert "large" in command("presets", "jupyterlab").out
        assert [row["name"] for row in json.loads(command("presets", "--json").out)] == ["jupyterlab"]
        assert command("volumes").out.splitlines()[1].split()[:3] == ["sales", "data", "10Gi"]
        assert json.loads(command("volumes", "--kind", "home", "--json").out) == []

    def test_a_file_of_variables(self, command: Command, preset: Preset, tmp_path: Path) -> None:
        (tmp_path / "env").write_text("# ours\n\nA=1=2\nB= with space \n")
        assert command("launch", "jupyterlab", "--no-wait", "--env-file", str(tmp_path / "env"), "--env", "A=3").code == 0
        assert Session.objects.get().env == {"A": "3", "B": " with space "}
        (tmp_path / "env").write_text("A=1\ncanary\n")
        said = command("launch", "jupyterlab", "--env-file", str(tmp_path / "env"))
        assert (said.code, "line 2 is not NAME=VALUE" in said.err, "canary" in said.err) == (2, True, False)

    def test_a_clusters_words_are_no_orders_to_the_terminal(self, command: Command, preset: Preset) -> None:
        command("launch", "jupyterlab", "--name", "lab", "--no-wait")
        settle(Phase.FAILED, message="\x1b[2JBoom\x9b31m")
        assert "Boom" in (shown := command("show", "lab").out)
        assert "\x1b" not in shown
        assert "\x9b" not in shown


def test_who_is_in_several_workspaces_says_which(command: Command, signed_in: str, cast: Cast, workspace: Workspace) -> None:
    other = Workspace.objects.get(name="other")
    other.memberships.create(user=cast.owner, role="member")
    said = command("list")
    assert (said.code, "You are in other, research: say which" in said.err) == (2, True)
    assert command("list", "-w", "other").code == 0


def test_a_slipway_that_is_away_is_said(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slipway.transport.FIRST_PAUSE", 0)
    monkeypatch.setenv("SLIPWAY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SLIPWAY_TOKEN", "slw_abc_canary")
    said = command("whoami")
    assert (said.code, said.err) == (8, "Error: http://127.0.0.1:9 can’t be reached: Connection refused.\n")


def complete(words: str, number: int) -> list[str]:
    """What bash would be offered: click's own protocol."""
    environment = {**os.environ, "_SLIPWAY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    done = subprocess.run([sys.executable, "-m", "slipway"], env=environment, capture_output=True, text=True, timeout=60)
    return [line.partition(",")[2] for line in done.stdout.split()]


def test_shells_are_offered_what_slipway_knows(command: Command, signed_in: str, preset: Preset) -> None:
    command("launch", "jupyterlab", "--name", "lab", "--no-wait")
    assert complete("slipway open l", 2) == ["lab"]
    assert complete("slipway launch jup", 2) == ["jupyterlab"]
    assert complete("slipway launch jupyterlab --pod-size la", 4) == ["large"]


def test_a_shell_without_an_answer_is_offered_nothing(config_home: Path) -> None:
    assert complete("slipway open l", 2) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_once(shell: str, command: Command, config_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZDOTDIR", raising=False)
    assert command("completion", shell, "--install").code == 0
    assert command("completion", shell, "--install").code == 0
    assert "_SLIPWAY_COMPLETE" in command("completion", shell).out
    start = {"bash": ".bashrc", "zsh": ".zshrc"}.get(shell)
    if start:
        assert (config_home.parent / start).read_text().count("slipway completion") == 1
    else:
        assert (config_home / "fish" / "completions" / "slipway.fish").exists()


def test_every_command_has_help_that_is_a_sentence() -> None:
    for name, one in cli.commands.items():
        assert (one.help or "").strip().endswith("."), name
    assert all(getattr(option, "help", "") for option in launch_command.params if option.param_type_name == "option")


def test_it_is_a_program_and_a_package(tmp_path: Path) -> None:
    """pip builds and installs it without a network; the type marker comes along."""
    source = Path(__file__).parents[2] / "clients" / "python"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(tmp_path / "lib"),
    ]
    copy: Any = tmp_path / "source"
    subprocess.run(["cp", "-r", str(source), str(copy)], check=True)
    subprocess.run([*install, str(copy)], check=True, capture_output=True, timeout=300)
    assert (tmp_path / "lib" / "slipway" / "py.typed").exists()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    program = [sys.executable, str(tmp_path / "lib" / "bin" / "slipway"), "--version"]
    assert subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60).stdout == "slipway, version 0.1.0\n"


def test_scopes_that_lack_are_said(command: Command, served: Served, token: Token, preset: Preset) -> None:
    said = command("login", served.url, "--token-stdin", stdin=token("owner", Scope.READ))
    assert "it lacks the scope sessions" in said.err
    assert command("launch", "jupyterlab").code == 5


def test_webhooks_are_made_read_and_replayed(
    command: Command, served: Served, token: Token, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, config_home: Path
) -> None:
    monkeypatch.setenv("SLIPWAY_URL", served.url)
    monkeypatch.setenv("SLIPWAY_TOKEN", token("admin", Scope.ADMIN, Scope.READ))
    refused = command("webhooks", "create", "ci", "http://169.254.169.254/")
    assert (refused.code, refused.err.startswith("Error: URL: ")) == (3, True)
    made = command("webhooks", "create", "ci", "https://ci.example.com/", "--phase", "Failed")
    assert (made.code, made.out.strip()) == (0, Webhook.objects.get().secret)
    assert command("webhooks", "test", "ci").code == 0
    (sent,) = json.loads(command("webhooks", "deliveries", "ci", "--json").out)
    assert sent["id"] in command("webhooks", "deliveries", "ci").out
    assert command("webhooks", "replay", "ci", sent["id"]).out == f"{sent['id']} is queued again.\n"
    listed = command("webhooks", "list")
    assert "Failed" in listed.out
    assert made.out.strip() not in listed.out
    assert command("webhooks", "delete", "ci").out == "ci is deleted.\n"
