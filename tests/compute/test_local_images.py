"""Building images: once, shown while it happens, never half."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.clusters.local import LocalDriver, recipes
from compute.clusters.local.images import Image
from compute.clusters.local.processes import Process
from compute.clusters.local.recipes import Recipe
from compute.workload import Step, StepState
from tests.compute.conftest import Machine, wait_for


@pytest.fixture
def builds(machine: Machine, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine whose images are its own, with a recipe of one small package ("small") and one without its hash ("bad")."""
    lock = (recipes.FOLDER / "jupyterlab.txt").read_text()
    small = re.search(r"^attrs==[^ ]* \\\n(    --hash=.*\n)+", lock, re.MULTILINE)
    assert small is not None
    for name, text in (("small", small[0].rstrip().rstrip("\\") + "\n"), ("bad", "attrs==25.1.0\n")):
        (tmp_path / f"{name}.txt").write_text(text)
        monkeypatch.setitem(recipes.RECIPES, name, Recipe(name, "jupyterlab", lock=tmp_path / f"{name}.txt"))
    machine.driver = LocalDriver("builds", root=cache / f"builds-{machine.namespace}", user=machine.driver.user)
    yield machine
    machine.clean()
    wait_for(lambda: shutil.rmtree(machine.driver.root, ignore_errors=True) or not machine.driver.root.exists())


def image_of(machine: Machine, name: str) -> Image:
    recipe = recipes.RECIPES[name]
    assert recipe.lock is not None
    return Image(machine.driver.root, recipe.key, recipe.lock, machine.driver.user)


def test_a_build_tells_its_progress_and_happens_once(builds: Machine) -> None:
    said: list[str] = []
    threads = [threading.Thread(target=builds.driver.build_image, args=("local:small", said.append)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    built = image_of(builds, "small")
    assert "Creating a Python environment…" in said
    assert len([f for f in built.folder.iterdir() if f.is_dir() and not f.is_symlink()]) == 1
    before = os.readlink(built.current)
    builds.driver.build_image("local:small")
    builds.driver.ensure_image("local:small")
    assert os.readlink(built.current) == before


def test_a_failed_build_fails_the_session_with_pips_words_and_is_tried_again(builds: Machine) -> None:
    builds.driver.apply(builds.workload(image="local:bad"))
    seen = builds.failed()
    assert seen.reason == "ImageBuildFailed"
    assert "attrs" in seen.log_tail
    assert next(s for s in seen.steps if s.step == Step.IMAGE).state == StepState.FAILED
    assert "attrs" in builds.driver.logs(builds.namespace, "s")
    first = image_of(builds, "bad").report()["id"]
    builds.driver.apply(builds.workload(image="local:bad", revision=2))
    wait_for(lambda: builds.see().revision == 2 and builds.see().failed)
    assert image_of(builds, "bad").report()["id"] != first


def test_a_builder_that_is_killed_half_way_is_replaced_and_corrupts_nothing(builds: Machine) -> None:
    builds.driver.apply(builds.workload(image="local:small"))
    built = image_of(builds, "small")
    builder = wait_for(lambda: Process.load(built.report().get("builder")), "a builder")
    first = built.report()["id"]
    wait_for(lambda: (built.folder / first / "pyvenv.cfg").exists(), "half an image")
    builder.send(signal.SIGKILL)
    assert built.venv() is None
    venv = wait_for(built.venv, "the image")
    assert venv.name != first
    assert not (built.folder / first).exists()
    assert (venv / "bin" / "python").exists()
    # The image has no JupyterLab in it, which is the IDE's own failure and not the image's.
    assert builds.failed().reason == "Crashed"


def test_the_locks_are_exact_and_name_no_host() -> None:
    for recipe in recipes.RECIPES.values():
        if recipe.lock is not None:
            text = recipe.lock.read_text()
            pins = re.findall(r"^[A-Za-z0-9][\w.-]*(?:\[[\w,-]+\])?==\S+(?: ;.*)? \\$", text, re.MULTILINE)
            assert len(pins) == len(re.findall(r"^\w", text, re.MULTILINE)) > 0
            assert not re.search(r"https?://|index-url", re.sub(r"--no-emit-index-url", "", text))
