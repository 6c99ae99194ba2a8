"""The attached Slurm cluster on a session's page and in the API: well, unwell, and whose jobs are shown to whom."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from compute.models import SlurmCluster
from sessions.models import Session
from sessions.slurm_models import SlurmSight, SlurmTicket
from tests.api.conftest import Tokened, api  # noqa: F401 (a fixture)
from tests.conftest import Cast
from tests.slurm.conftest import ask
from tests.slurm.fake import FakeSlurm
from tests.slurm_cast import UID

Attached = Callable[..., Session]
HTMX = {"HX-Request": "true"}


@pytest.fixture
def session(attached: Attached, hpc: SlurmCluster, fake: FakeSlurm) -> Session:
    """Attached to a cluster that was asked a moment ago."""
    fake.says(jobs=f"{UID}|4711|RUNNING|12:30|gpu|None|canary-job\n")
    session = attached()
    ask(hpc)
    return session


def page(cast: Cast, session: Session, who: str = "owner") -> str:
    response = cast.client(who).get(session.get_absolute_url())
    assert response.status_code == 200
    return str(response.content.decode())


def url(session: Session) -> str:
    return reverse("sessions:slurm", args=("research", session.host))


def test_the_owner_sees_the_cluster_and_their_own_jobs(cast: Cast, session: Session) -> None:
    html = page(cast, session)
    for words in ("Reachable", "Idle nodes", "debug", "canary-job", "4711 · gpu", "Slurm 22.05.8"):
        assert words in html


@pytest.mark.parametrize("who", ["colleague", "viewer", "admin"])
def test_nobody_else_sees_the_jobs(cast: Cast, session: Session, who: str) -> None:
    html = page(cast, session, who)
    assert "Reachable" in html and "canary-job" not in html and "shown to nobody else" in html
    assert "canary-job" not in cast.client(who).get(url(session)).content.decode()


def test_a_session_without_one_says_nothing_of_slurm(cast: Cast, attached: Attached) -> None:
    plain = attached("plain", slurm_cluster=None)
    assert "slurm" not in page(cast, plain).lower()
    assert cast.client("owner").get(url(plain)).status_code == 404


def test_a_controller_that_is_down_is_told_with_what_it_said_last(cast: Cast, session: Session, hpc: SlurmCluster) -> None:
    SlurmCluster.objects.update(controllers="127.0.0.1:1")
    SlurmSight.objects.update(asked_at=None)
    ask(hpc)
    html = page(cast, session)
    for words in ("Not reachable", "The controller is down", "The session itself goes on", "canary-job"):
        assert words in html


def test_before_the_first_answer_the_page_says_so_and_looks_again_soon(cast: Cast, attached: Attached) -> None:
    html = page(cast, attached())
    assert "Asking the cluster" in html and 'hx-trigger="every 2s"' in html


def test_a_page_that_shows_the_newest_gets_nothing_more(cast: Cast, session: Session) -> None:
    client = cast.client("owner")
    shown = client.get(url(session), headers=HTMX)
    assert "<html" not in shown.content.decode()
    mark = shown.context["slurm"].mark
    assert client.get(f"{url(session)}?seen={mark}", headers=HTMX).status_code == 204
    SlurmSight.objects.update(problem="Something else.", problem_code="x")
    assert "Something else." in client.get(f"{url(session)}?seen={mark}", headers=HTMX).content.decode()


def test_a_session_whose_cluster_was_switched_off_says_so_and_nothing_is_asked(cast: Cast, session: Session) -> None:
    SlurmCluster.objects.update(enabled=False)
    SlurmSight.objects.update(asked_at=timezone.now() - timedelta(hours=1))
    html = page(cast, session)
    assert "Detached" in html and "switched HPC off" in html and "canary-job" not in html
    assert SlurmSight.objects.get().wanted_at is None


def test_a_token_that_could_not_be_renewed_is_told(cast: Cast, session: Session) -> None:
    SlurmTicket.objects.create(session=session, failures=1, problem="The cluster that runs the session did not take a fresh token.")
    assert "did not take a fresh token" in page(cast, session)


def test_a_difference_of_versions_is_told(cast: Cast, session: Session, hpc: SlurmCluster, fake: FakeSlurm) -> None:
    fake.says(version="21.08.1")
    SlurmSight.objects.update(asked_at=None)
    ask(hpc)
    assert "newer than the controller (21.08.1)" in page(cast, session)


def test_a_cluster_that_hides_its_nodes_is_told(cast: Cast, session: Session) -> None:
    SlurmSight.objects.update(seen={**SlurmSight.objects.get().seen, "nodes": None, "partitions": []})
    html = page(cast, session)
    assert "neither nodes nor partitions" in html and "canary-job" in html


def test_a_look_costs_few_queries(cast: Cast, session: Session, django_assert_max_num_queries: Any) -> None:
    client = cast.client("owner")
    client.get(url(session))
    with django_assert_max_num_queries(10):
        client.get(url(session), headers=HTMX)


def test_the_api_tells_the_same(api: Tokened, session: Session, attached: Attached) -> None:  # noqa: F811
    here = "workspaces/research/sessions/train/slurm"
    told = api("owner").get(here).data
    assert (told["cluster"], told["status"], told["reachable"], told["cause"]) == ("hpc", "well", True, "")
    assert told["nodes"] == {"idle": 3, "in_use": 1, "other": 0}
    assert [job["name"] for job in told["jobs"]] == ["canary-job"]
    theirs = api("admin").get(here).data
    assert (theirs["status"], theirs["jobs"], theirs["jobs_total"]) == ("well", None, None)
    attached("plain", slurm_cluster=None)
    assert api("owner").get("workspaces/research/sessions/plain/slurm").status == 404
