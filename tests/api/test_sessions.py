"""Sessions over the API: what is shown, what a launch makes of what is absent, and each verb."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from compute.clusters.base import ClusterError, Event
from compute.models import Role, Scope, Workspace
from presets.models import Configuration, Image, Preset, PresetVolume
from sessions import services
from sessions.models import Activity, Desired, Phase, Session
from sessions.spec import EnvInput, HomeInput, SpecInput
from storage.models import Volume
from tests.api.conftest import Api, Tokened
from tests.conftest import Cast
from tests.fakes import FakeDriver

HERE = "workspaces/research/sessions"
Browser = Callable[[str], Api]


@pytest.fixture
def lab(cast: Cast, workspace: Workspace, preset: Preset, driver: FakeDriver) -> Session:
    spec = SpecInput("lab", "jupyterlab", "minimal", "small", home=HomeInput(create_size="5Gi"), env=(EnvInput("KEY", "canary-value"),))
    return services.launch(cast.owner, workspace, spec)


def settle(session: Session, phase: Phase = Phase.RUNNING, desired: Desired = Desired.RUNNING) -> None:
    Session.objects.filter(pk=session.pk).update(
        phase=phase, desired=desired, status_generation=session.generation, endpoint="unix:/x.sock"
    )


def test_a_session_is_shown_by_names_and_without_secrets(lab: Session, api: Tokened) -> None:
    settle(lab)
    shown = api("colleague", Scope.READ).get(f"{HERE}/lab")
    assert shown.status == 200
    data = shown.data
    assert "canary" not in str(data)
    assert lab.ide_token not in str(data)
    assert data["env"] == ["KEY"]
    assert data["home"] == {"claim": "home-lab"}
    assert data["pod_size"] == {"name": "small", "cpu": "500m", "memory": "1Gi", "gpus": 0}
    assert data["price_per_hour"] == {"amount": "0.02500", "currency": "$"}
    assert data["actions"] == {"open": False, "pause": False, "resume": False, "delete": False}
    assert data["links"]["self"] == f"http://localhost:8000/api/v1/{HERE}/lab"
    assert data["created_at"].endswith("Z")
    assert api("owner").get(f"{HERE}/lab").data["actions"] == {"open": True, "pause": True, "resume": False, "delete": True}


def test_a_launch_with_a_preset_alone_is_the_wizards_first_proposal(
    api: Tokened, cast: Cast, workspace: Workspace, preset: Preset, shared_data: Volume, home: Volume
) -> None:
    PresetVolume.objects.create(preset=preset, volume="sales", mount_path="/data/sales", read_only=True)
    Preset.objects.update(home_volume="home-owner")
    Configuration.objects.create(slug="proxy", name="Proxy", on_by_default=True)
    Configuration.objects.create(slug="debug", name="Debug")
    made = api("owner").post(HERE, {"preset": "jupyterlab"})
    assert made.status == 201, made.data
    expected = {
        "name": "jupyterlab-1",
        "image": "minimal",
        "compute_pool": "standard",
        "home": {"claim": "home-owner"},
        "data_volumes": [{"claim": "sales", "mount_path": "/data/sales", "read_only": True}],
        "configurations": ["proxy"],
        "env": [],
    }
    assert {name: made.data[name] for name in expected} == expected
    assert made["Location"].endswith(f"/{HERE}/jupyterlab-1")
    assert api("owner").get(f"{HERE}/jupyterlab-1")["ETag"] == made["ETag"]


def test_null_and_empty_are_none_where_there_can_be_none(
    api: Tokened, workspace: Workspace, preset: Preset, shared_data: Volume, driver: FakeDriver
) -> None:
    PresetVolume.objects.create(preset=preset, volume="sales", mount_path="/data/sales", read_only=True)
    Configuration.objects.create(slug="proxy", name="Proxy", on_by_default=True)
    none = {"preset": "jupyterlab", "data_volumes": None, "configurations": [], "env": None, "slurm_cluster": None, "compute_pool": None}
    made = api("owner").post(HERE, none)
    assert made.status == 201, made.data
    assert (made.data["data_volumes"], made.data["configurations"], made.data["slurm_cluster"]) == ([], [], None)
    refused = api("owner").post(HERE, {"preset": "jupyterlab", "name": "", "image": None, "pod_size": "", "home": None})
    assert refused.status == 422
    assert refused.fields == [("name", "required"), ("image", "required"), ("pod_size", "required"), ("home", "required")]


def test_a_volume_without_a_path_gets_the_usual_one(api: Tokened, preset: Preset, shared_data: Volume, driver: FakeDriver) -> None:
    made = api("owner").post(HERE, {"preset": "jupyterlab", "data_volumes": [{"claim": "sales"}], "home": {"create": {}}})
    assert made.data["data_volumes"] == [{"claim": "sales", "mount_path": "/data/sales", "read_only": False}]
    assert Volume.objects.get(kind="home").size == preset.home_size


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, [("preset", "required")]),
        ({"preset": "x", "home": {"create": {}, "claim": "home"}}, [("home", "home_both")]),
        ({"preset": "x", "home": "home"}, [("home", "invalid")]),
        ({"preset": "x", "data_volumes": [{"claim": "a"}, {}]}, [("data_volumes.1.claim", "required")]),
        ({"preset": "x", "data_volumes": [{"claim": "a", "readonly": True}]}, [("data_volumes.0.readonly", "unknown_field")]),
        ({"preset": "x", "data_volumes": [{"claim": "a", "read_only": 1}]}, [("data_volumes.0.read_only", "invalid")]),
        ({"preset": "x", "env": {"A": 1}}, [("env.A", "invalid")]),
        ({"preset": "x", "env": [{"name": "A", "value": "b"}]}, [("env", "not_a_dict")]),
        ({"preset": "x", "pod_size": {"cpu": "1"}}, [("pod_size", "invalid")]),
    ],
)
def test_a_wrong_shape_is_pointed_at(api: Tokened, workspace: Workspace, body: Any, errors: list[tuple[str, str]]) -> None:
    for path in (HERE, f"{HERE}/validate"):
        answer = api("owner").post(path, body)
        assert (answer.status, answer.fields) == (400, errors)


def test_a_dry_run_tells_all_and_makes_nothing(
    api: Tokened, lab: Session, preset: Preset, workspace: Workspace, shared_data: Volume
) -> None:
    new = Image.objects.create(preset=preset, slug="newer", name="Newer", reference="local:newer", position=9)
    Image.objects.filter(slug="scipy").update(redirect_to=new)
    Workspace.objects.update(quota_sessions=1)
    body = {
        "name": "lab",
        "preset": "jupyterlab",
        "image": "scipy",
        "data_volumes": [{"claim": "sales"}, {"claim": "gone"}],
        "env": {"A": "canary-a", "B C": "x"},
    }
    tried = api("owner", Scope.SESSIONS).post(f"{HERE}/validate", body)
    assert tried.status == 200
    fields = [(error["field"], error["code"]) for error in tried.data["errors"]]
    assert fields == [("name", "name_taken"), ("data_volumes.1.claim", "volume_gone"), ("env.B C", "env_invalid"), ("", "quota_exceeded")]
    assert [(warning["field"], warning["code"]) for warning in tried.data["warnings"]] == [("image", "image_redirected")]
    assert tried.data["spec"]["image"] == "newer"
    assert tried.data["spec"]["home"] == {"create": {"size": "5Gi"}}
    assert tried.data["spec"]["data_volumes"] == [{"claim": "sales", "mount_path": "/data/sales", "read_only": False, "source": ""}]
    assert tried.data["spec"]["env"] == ["A"]
    assert tried.data["price_per_hour"]["amount"] == "0.02500"
    assert tried.data["quota"][0] == {"name": "running sessions", "unit": "", "used": "1", "would_be": "2", "limit": "1", "exceeded": True}
    assert "canary" not in str(tried.data)
    assert Session.objects.count() == 1
    refused = api("owner").post(HERE, body)
    assert (refused.status, refused.data["errors"]) == (422, tried.data["errors"])


def test_the_list_is_filtered_ordered_and_cheap(
    api: Tokened, browser: Browser, cast: Cast, lab: Session, workspace: Workspace, django_assert_num_queries: Any
) -> None:
    for number in range(4):
        spec = SpecInput(f"more-{number}", "jupyterlab", "minimal", "large", home=HomeInput(create_size="1Gi"))
        services.launch(cast.colleague, workspace, spec)
    settle(lab)
    client = browser("owner")

    def names(**query: Any) -> list[str]:
        return [item["name"] for item in client.get(HERE, **query).data["items"]]

    assert names(ordering="name") == ["lab", "more-0", "more-1", "more-2", "more-3"]
    assert names(ordering="price_per_hour", limit=1) == ["lab"]
    assert names(phase="Running") == ["lab"]
    assert names(owner="~me") == ["lab"]
    assert len(names(owner="colleague", preset="jupyterlab")) == 4
    assert names(search="ore-2") == ["more-2"]
    assert names(preset="rstudio") == []
    assert client.get(HERE, phase="Sleeping").fields == [("phase", "invalid_choice")]
    for limit in (1, 5):
        with django_assert_num_queries(6):  # sign-in, user, membership, sessions, mounts, configurations
            assert len(client.get(HERE, limit=limit).data["items"]) == limit


def test_pause_resume_and_delete_ask_and_answer_at_once(api: Tokened, lab: Session) -> None:
    client = api("owner", Scope.SESSIONS)
    settle(lab)
    paused = client.post(f"{HERE}/lab/pause")
    assert (paused.status, paused.data["desired"], paused.data["is_settled"], paused.data["message"]) == (
        202,
        "paused",
        False,
        "Asked to pause.",
    )
    assert client.post(f"{HERE}/lab/resume").data["desired"] == "running"
    assert client.delete(f"{HERE}/lab").data["desired"] == "deleted"
    verbs = Activity.objects.exclude(verb="phase").order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["launch", "pause", "resume", "delete"]
    assert Volume.objects.live().count() == 1
    assert client.post(f"{HERE}/nothing/pause").status == 404


def test_a_session_takes_only_named_volumes_to_the_trash(api: Tokened, lab: Session) -> None:
    client = api("owner")
    refused = client.send("DELETE", f"{HERE}/lab", query={"volumes": "home-lab,other"})
    assert (refused.status, refused.fields) == (422, [("volumes", "volume_gone")])
    assert not Volume.objects.trashed().exists()
    assert client.send("DELETE", f"{HERE}/lab", query={"volumes": "home-lab"}).status == 202
    assert Volume.objects.trashed().get().name == "home-lab"


def test_other_peoples_sessions_want_the_scope_of_admins(api: Tokened, lab: Session, cast: Cast) -> None:
    refused = api("admin", Scope.SESSIONS).post(f"{HERE}/lab/pause")
    assert (refused.status, refused.code) == (403, "scope_missing")
    assert "“admin”" in refused.data["detail"]
    assert api("colleague", Scope.ADMIN).post(f"{HERE}/lab/pause").code == "forbidden"
    assert api("admin", Scope.ADMIN).post(f"{HERE}/lab/pause").status == 202
    own = api("owner", Scope.ADMIN).post(f"{HERE}/lab/pause")
    assert own.code == "scope_missing"


def test_a_write_wants_the_state_that_was_read(api: Tokened, lab: Session) -> None:
    client = api("owner")
    settle(lab)
    read = client.get(f"{HERE}/lab")["ETag"]
    paused = client.post(f"{HERE}/lab/pause", If_Match=read)
    assert paused.status == 202
    assert client.get(f"{HERE}/lab")["ETag"] == paused["ETag"] != read
    for stale in (client.post(f"{HERE}/lab/resume", If_Match=read), client.delete(f"{HERE}/lab", If_Match=read)):
        assert (stale.status, stale.code) == (412, "precondition_failed")
    assert Session.objects.get().desired == Desired.PAUSED
    assert client.delete(f"{HERE}/lab", If_Match=paused["ETag"]).status == 202


def test_a_log_is_for_its_owner_and_admins(api: Tokened, lab: Session, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def told(*_: Any, **how: Any) -> str:
        asked.append(how)
        if driver.error:
            raise driver.error
        return f"\x1b[31mred\x1b[0m http://x/?token={lab.ide_token}\n"

    monkeypatch.setattr(driver, "logs", told)
    log = api("owner", Scope.READ).get(f"{HERE}/lab/logs", tail=7).data
    assert log == {"text": "red http://x/?token=…", "previous": False, "has_previous": False, "problem": ""}
    assert asked == [{"tail": 7, "previous": False}]
    text = api("owner", Scope.READ).send("GET", f"{HERE}/lab/logs", Accept="text/plain")
    assert (text["Content-Type"], text.response.content.decode()) == ("text/plain; charset=utf-8", "red http://x/?token=…\n")
    assert api("owner").send("GET", f"{HERE}/lab/logs", Accept="text/html, */*;q=0.1")["Content-Type"] == "application/json"
    assert api("owner").send("GET", f"{HERE}/lab", Accept="text/plain").code == "not_acceptable"
    assert api("colleague").send("GET", f"{HERE}/lab/logs", Accept="text/plain").code == "forbidden"
    assert api("admin").get(f"{HERE}/lab/logs", previous="true").data["previous"] is True
    assert api("colleague").get(f"{HERE}/lab/logs").code == "forbidden"
    assert api("owner").get(f"{HERE}/lab/logs", tail=0).fields == [("tail", "min_value")]
    driver.error = ClusterError("Away", "It is away.")
    Session.objects.update(log_tail="kept")
    away = api("owner").get(f"{HERE}/lab/logs").data
    assert (away["text"], "It is away." in away["problem"]) == ("kept", True)


def test_events_and_activity(api: Tokened, lab: Session, driver: FakeDriver) -> None:
    client = api("viewer", Scope.READ)
    driver.told_events = [Event(datetime(2026, 11, 23, tzinfo=UTC), "Warning", "BackOff", "It waits.")]
    told = client.get(f"{HERE}/lab/events").data
    assert told == {
        "items": [{"at": "2026-11-23T00:00:00Z", "kind": "Warning", "reason": "BackOff", "message": "It waits."}],
        "total": 1,
        "problem": "",
    }
    activity = client.get(f"{HERE}/lab/activity").data["items"]
    assert [(item["verb"], item["actor"]) for item in activity] == [("launch", "owner")]
    assert client.get(f"{HERE}/lab/activity", fields="verb").data["items"] == [{"verb": "launch"}]


def test_the_name_of_a_session_that_is_away_from_here_is_404(api: Tokened, lab: Session, workspace: Workspace, cast: Cast) -> None:
    other = Workspace.objects.get(name="other")
    other.memberships.create(user=cast.owner, role=Role.ADMIN)
    assert api("owner").get("workspaces/other/sessions/lab").status == 404
