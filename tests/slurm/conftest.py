"""What the tests of Slurm share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from compute.models import SlurmCluster, Workspace
from presets.models import Preset
from sessions import slurm_state
from sessions.models import Phase, Session
from sessions.slurm_models import SlurmState
from tests.conftest import Cast
from tests.slurm.fake import FakeSlurm, fake_slurm
from tests.slurm_cast import slurm_cluster


def ask(slurm: SlurmCluster) -> None:
    """What the queued task does, now."""
    SlurmState.objects.get_or_create(slurm_cluster=slurm)
    slurm_state.refresh(slurm.pk)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    with fake_slurm(tmp_path / "slurm", monkeypatch) as slurm:
        yield slurm


@pytest.fixture
def hpc(cast: Cast, workspace: Workspace, fake: FakeSlurm) -> SlurmCluster:
    """Serves the workspace; the owner and the colleague have accounts there."""
    return slurm_cluster(workspace, cast.owner, cast.colleague, controllers=fake.controller)


@pytest.fixture
def attached(cast: Cast, workspace: Workspace, preset: Preset, hpc: SlurmCluster) -> Callable[..., Session]:
    """A session that runs with the cluster attached, as the controller would have left it."""

    def attached(name: str = "train", **fields: Any) -> Session:
        values: dict[str, Any] = {
            "owner": cast.owner,
            "slurm_cluster": hpc,
            "phase": Phase.RUNNING,
            "applied_generation": 1,
            "status_generation": 1,
            "running_since": timezone.now(),
            **fields,
        }
        image, size = preset.images.get(is_default=True), preset.pod_sizes.get(is_default=True)
        return Session.objects.create(workspace=workspace, name=name, preset=preset, image=image, pod_size=size, **values)

    return attached
