"""The page of a session with a Slurm cluster, as web, worker and a real controller make it: asked for by looking at it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from compute.models import SlurmCluster, Workspace
from presets.models import Preset
from sessions.models import Desired, Phase, Session
from sessions.slurm_models import SlurmSight
from storage.slurm_keys import replace_key
from tests.laboratory import wait_until
from tests.live.conftest import PASSWORDS
from tests.slurm.whole.conftest import USERS, World
from tests.slurm.whole.walk import SOON
from tests.smoke import Walk

pytestmark = pytest.mark.slurm


@pytest.fixture
def session(world: World) -> Iterator[Session]:
    """The member's, paused: the cluster's state is shown all the same."""
    replace_key(world.cluster, world.slurm.key, None)
    SlurmCluster.objects.update(enabled=True)
    preset = Preset.objects.get(slug="jupyterlab")
    session = Session.objects.create(
        workspace=Workspace.objects.get(name="research"),
        owner=get_user_model().objects.get(username="member"),
        name="beside-slurm",
        preset=preset,
        image=preset.images.filter(is_default=True).get(),
        pod_size=preset.pod_sizes.filter(is_default=True).get(),
        slurm_cluster=world.cluster,
        desired=Desired.PAUSED,
        phase=Phase.PAUSED,
        applied_generation=1,
        status_generation=1,
    )
    yield session
    session.delete()


def grow_old() -> None:
    """What was last heard is a minute old, so that a look at the page asks again."""
    a_minute_ago = timezone.now() - timedelta(minutes=1)
    SlurmSight.objects.update(wanted_at=a_minute_ago, asked_at=a_minute_ago)


def test_the_page_tells_of_the_cluster_and_of_the_owners_jobs_alone(world: World, session: Session) -> None:
    pages = {}
    for who in USERS:
        walk = Walk(world.stack)
        walk.browser.sign_in(who, PASSWORDS[who])
        pages[who] = lambda browser=walk.browser: browser.get(session.get_absolute_url()).text
    job = world.slurm.ask(USERS["member"], "sbatch", "--parsable", "--job-name", "members-own", "--wrap", "sleep 60").strip()
    wait_until(lambda: "members-own" in pages["member"](), SOON, "the owner's job")
    assert "Reachable" in pages["admin"]() and "members-own" not in pages["admin"]()

    world.slurm.stop("slurmctld")
    grow_old()
    wait_until(lambda: "The controller is down" in pages["member"](), SOON, "that it is down")
    assert "members-own" in pages["member"]()  # what was last heard
    world.slurm.start("slurmctld")
    grow_old()
    wait_until(lambda: "Reachable" in pages["member"](), SOON, "that it is back")
    world.slurm.ask(USERS["member"], "scancel", job)
