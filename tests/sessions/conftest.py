"""What the tests of sessions share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from compute.models import Workspace
from compute.workload import Observation
from presets.models import Preset
from sessions import services, tasks
from sessions.models import Session
from sessions.spec import HomeInput, SpecInput
from tests.conftest import Cast
from tests.fakes import FakeDriver


@pytest.fixture
def spec(preset: Preset) -> SpecInput:
    """A spec that can be launched."""
    return SpecInput(name="forecast", preset="jupyterlab", image="minimal", pod_size="small", home=HomeInput(create_size="5Gi"))


@pytest.fixture
def launch(cast: Cast, workspace: Workspace, spec: SpecInput) -> Callable[..., Session]:
    """Launch a session as the owner, with some fields of ``spec`` changed."""

    def launch(user: Any = None, draft: Any = None, **changes: Any) -> Session:
        return services.launch(user or cast.owner, workspace, replace(spec, **changes), draft)

    return launch


@pytest.fixture
def observe(driver: FakeDriver) -> Callable[..., Observation]:
    """Set what the fake cluster says of a session."""

    def observe(session: Session, **changes: Any) -> Observation:
        session.refresh_from_db()
        values: dict[str, Any] = {
            "name": session.host,
            "namespace": "research",
            "at": datetime.now(UTC),
            "exists": True,
            "revision": session.revision,
        }
        observation = Observation(**{**values, **changes})
        driver.observations["research", session.host] = observation
        return observation

    return observe


@pytest.fixture
def reconciled() -> Callable[[Session], Session]:
    """Run the session's reconcile task here and now."""

    def reconciled(session: Session) -> Session:
        tasks.reconcile(session.pk)
        session.refresh_from_db()
        return session

    return reconciled
