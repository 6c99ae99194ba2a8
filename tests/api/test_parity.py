"""The wizard and the API accept and refuse the same, in the same words: one table of cases, run through both.

A case is what a user asks for, in the API's spelling. The wizard gets it as its three steps are posted; the API as one body.
"""

from __future__ import annotations

import html
import inspect
import re
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute.errors import Problem
from compute.models import ComputePool, Workspace
from presets.models import Configuration, ConfigurationVariable, ConfigurationVolume, Image, PodSize, Preset
from sessions import services
from sessions.api.session_spec import spelled
from sessions.models import Draft, Session
from sessions.spec import HomeInput, SpecInput, check
from sessions.wizard import Answers
from storage.models import Secret, SlurmKey, Volume
from tests.api.conftest import Api, Tokened
from tests.conftest import Cast
from tests.fakes import FakeDriver
from tests.slurm_cast import slurm_cluster

HERE = "workspaces/research/sessions"


@dataclass(frozen=True)
class Case:
    """``asks`` is laid over a body that can be launched. ``refused``: (field, code) of every error, none when it launches."""

    id: str
    asks: dict[str, Any] = field(default_factory=dict)
    refused: tuple[tuple[str, str], ...] = ()


def mounts(*rows: tuple[str, str, bool]) -> list[dict[str, Any]]:
    return [{"claim": claim, "mount_path": path, "read_only": read_only} for claim, path, read_only in rows]


CASES = [
    Case("as proposed"),
    Case("name absent", {"name": ""}, (("name", "required"),)),
    Case("name with spaces around", {"name": "  neat  "}),
    Case("name with capitals", {"name": "Lab"}, (("name", "name_invalid"),)),
    Case("name starts with a digit", {"name": "1lab"}, (("name", "name_invalid"),)),
    Case("name too long", {"name": "a" * 46}, (("name", "name_too_long"),)),
    Case("longest name", {"name": "a" * 45}),
    Case("name taken", {"name": "taken"}, (("name", "name_taken"),)),
    Case("preset unknown", {"preset": "nothing"}, (("preset", "preset_gone"),)),
    Case("preset hidden", {"preset": "hidden"}, (("preset", "preset_gone"),)),
    Case("image unknown", {"image": "nothing"}, (("image", "image_gone"),)),
    Case("image hidden", {"image": "hidden"}, (("image", "image_gone"),)),
    Case("image that the cluster can't run", {"image": "exotic"}, (("image", "image_unsupported"),)),
    Case("image redirected", {"image": "old"}),
    Case("image deprecated", {"image": "aging"}),
    Case("pod size unknown", {"pod_size": "nothing"}, (("pod_size", "pod_size_gone"),)),
    Case("pod size with GPUs on a pool without", {"pod_size": "gpu"}, (("compute_pool", "pool_without_gpus"),)),
    Case("pod size with GPUs on a pool with", {"pod_size": "gpu", "compute_pool": "gpus"}),
    Case("pod size over the quota", {"pod_size": "large"}, (("pod_size", "quota_exceeded"),)),
    Case("pool unknown", {"compute_pool": "nothing"}, (("compute_pool", "pool_not_allowed"),)),
    Case("pool of others", {"compute_pool": "private"}, (("compute_pool", "pool_not_allowed"),)),
    Case("Slurm attached", {"slurm_cluster": "hpc"}),
    Case("Slurm that does not know the user", {"slurm_cluster": "strange"}, (("slurm_cluster", "slurm_no_account"),)),
    Case("Slurm without a key", {"slurm_cluster": "keyless"}, (("slurm_cluster", "slurm_no_key"),)),
    Case(
        "Slurm with a home of another uid",
        {"slurm_cluster": "hpc", "home": {"claim": "home-1000"}},
        (("home.claim", "slurm_volume_owner"),),
    ),
    Case(
        "Slurm with another uid's data to write to",
        {"slurm_cluster": "hpc", "data_volumes": mounts(("data-1000", "/data/x", False))},
        (("data_volumes.0.claim", "slurm_volume_owner"),),
    ),
    Case("Slurm with another uid's data to read", {"slurm_cluster": "hpc", "data_volumes": mounts(("data-1000", "/data/x", True))}),
    Case("Slurm unknown", {"slurm_cluster": "nothing"}, (("slurm_cluster", "slurm_gone"),)),
    Case("home existing", {"home": {"claim": "home-owner"}}),
    Case("home unknown", {"home": {"claim": "nothing"}}, (("home.claim", "home_gone"),)),
    Case("home of another", {"home": {"claim": "home-colleague"}}, (("home.claim", "home_gone"),)),
    Case("home in use", {"home": {"claim": "home-busy"}}, (("home.claim", "home_in_use"),)),
    Case("home that is a data volume", {"home": {"claim": "sales"}}, (("home.claim", "home_gone"),)),
    Case("home size empty", {"home": {"create": {"size": ""}}}, (("home", "required"),)),
    Case("home size no quantity", {"home": {"create": {"size": "lots"}}}, (("home.create.size", "quantity"),)),
    Case("home size out of range", {"home": {"create": {"size": "1"}}}, (("home.create.size", "quantity_range"),)),
    Case("home size over the quota", {"home": {"create": {"size": "2Ti"}}}, (("home.create.size", "quota_exceeded"),)),
    Case("data volume", {"data_volumes": mounts(("sales", "/data/sales", True))}),
    Case("data volume unknown", {"data_volumes": mounts(("nothing", "/data/x", False))}, (("data_volumes.0.claim", "volume_gone"),)),
    Case("data volume not named", {"data_volumes": mounts(("", "/data/x", False))}, (("data_volumes.0.claim", "required"),)),
    Case(
        "data volume twice",
        {"data_volumes": mounts(("sales", "/data/a", True), ("sales", "/data/b", True))},
        (("data_volumes.1.claim", "volume_twice"),),
    ),
    Case("data volume in use", {"data_volumes": mounts(("busy", "/data/busy", False))}, (("data_volumes.0.claim", "volume_in_use"),)),
    Case("data volume written", {"data_volumes": mounts(("fixed", "/data/x", False))}, (("data_volumes.0.read_only", "volume_read_only"),)),
    Case("path relative", {"data_volumes": mounts(("sales", "data", True))}, (("data_volumes.0.mount_path", "path_relative"),)),
    Case("path not normal", {"data_volumes": mounts(("sales", "/data/../x", True))}, (("data_volumes.0.mount_path", "path_not_normal"),)),
    Case("path reserved", {"data_volumes": mounts(("sales", "/etc/x", True))}, (("data_volumes.0.mount_path", "path_reserved"),)),
    Case(
        "path taken",
        {"data_volumes": mounts(("sales", "/data/x", True), ("fixed", "/data/x/y", True))},
        (("data_volumes.1.mount_path", "path_taken"),),
    ),
    Case("configuration", {"configurations": ["proxy"]}),
    Case("configuration unknown", {"configurations": ["nothing"]}, (("configurations", "configuration_gone"),)),
    Case("configurations that clash", {"configurations": ["proxy", "tunnel"]}, (("configurations", "configurations_clash"),)),
    Case("configuration with a volume", {"configurations": ["reference"]}),
    Case("configuration twice", {"configurations": ["proxy", "proxy"]}),
    Case("variables", {"env": {"A": "1", "B": " kept as typed "}}),
    Case("variable's name with spaces around", {"env": {" A ": "1"}}),
    Case("variable empty", {"env": {"A": ""}}),
    Case("variable without a name", {"env": {"": "1"}}, (("env.", "required"),)),
    Case("variable's name invalid", {"env": {"1A": "1"}}, (("env.1A", "env_invalid"),)),
    Case("variable reserved", {"env": {"PATH": "1"}}, (("env.PATH", "env_reserved"),)),
    Case("variable reserved by prefix", {"env": {"SLIPWAY_X": "1"}}, (("env.SLIPWAY_X", "env_reserved"),)),
    Case("variable of Slurm", {"slurm_cluster": "hpc", "env": {"SLURM_JWT": "1"}}, (("env.SLURM_JWT", "env_reserved"),)),
    Case("variable twice", {"env": {"A": "1", "A ": "2"}}, (("env.A", "env_twice"), ("env.A", "env_twice"))),
    Case("variable too large", {"env": {"A": "x" * 32769}}, (("env.A", "env_value"),)),
    Case("variable of the secrets bundle", {"env": {"WAREHOUSE": "1"}}),
    Case("variable of a configuration", {"configurations": ["proxy"], "env": {"HTTP_PROXY": "1"}}),
    Case(
        "all at once",
        {"name": "A", "image": "nothing", "pod_size": "nothing", "home": {"claim": "x"}, "env": {"1": ""}},
        (
            ("name", "name_invalid"),
            ("image", "image_gone"),
            ("pod_size", "pod_size_gone"),
            ("home.claim", "home_gone"),
            ("env.1", "env_invalid"),
        ),
    ),
]


@pytest.fixture
def world(
    cast: Cast, workspace: Workspace, preset: Preset, pool: ComputePool, home: Volume, shared_data: Volume, driver: FakeDriver
) -> Preset:
    """Something for every rule to bite on."""
    driver.unsupported["local:exotic"] = "there is no such recipe."
    Preset.objects.create(slug="hidden", name="Hidden", ide="jupyterlab", hidden=True)
    newest = preset.images.get(slug="scipy")
    for position, (slug, more) in enumerate(
        {"old": {"redirect_to": newest}, "hidden": {"hidden": True}, "exotic": {}, "aging": {"deprecated": True}}.items(), 10
    ):
        Image.objects.create(preset=preset, slug=slug, name=slug.title(), reference=f"local:{slug}", position=position, **more)
    PodSize.objects.create(preset=preset, slug="gpu", name="GPU", cpu="1", memory="1Gi", gpus=1, position=9)
    ComputePool.objects.create(cluster=pool.cluster, name="gpus", display_name="GPUs", gpu_resource="nvidia.com/gpu")
    private = ComputePool.objects.create(cluster=pool.cluster, name="private", display_name="Private")
    private.workspaces.set([Workspace.objects.get(name="other")])
    slurm_cluster(workspace, cast.owner)
    slurm_cluster(workspace, cast.colleague, name="strange")
    SlurmKey.objects.filter(slurm_cluster=slurm_cluster(workspace, cast.owner, name="keyless")).delete()
    Volume.objects.create(workspace=workspace, owner=cast.owner, name="home-1000", kind="home", uid=1000, gid=100)
    Volume.objects.create(workspace=workspace, name="data-1000", kind="data", access_mode="ReadWriteMany", uid=1000, gid=100)
    Volume.objects.create(workspace=workspace, owner=cast.colleague, name="home-colleague", kind="home")
    Volume.objects.create(workspace=workspace, owner=cast.owner, name="home-busy", kind="home")
    Volume.objects.create(workspace=workspace, name="busy", kind="data")
    Volume.objects.create(workspace=workspace, name="fixed", kind="data", access_mode="ReadOnlyMany")
    for slug, name, value in (("proxy", "HTTP_PROXY", "a"), ("tunnel", "HTTP_PROXY", "b")):
        configuration = Configuration.objects.create(slug=slug, name=slug.title())
        ConfigurationVariable.objects.create(configuration=configuration, name=name, value=value)
    reference = Configuration.objects.create(slug="reference", name="Reference")
    ConfigurationVolume.objects.create(configuration=reference, volume="sales", mount_path="/data/reference")
    Secret.objects.create(bundle=workspace.secrets_bundle, name="WAREHOUSE", value="x")
    taken = SpecInput("taken", "jupyterlab", "minimal", "small", home=HomeInput(volume="home-busy"))
    session = services.launch(cast.owner, workspace, taken)
    session.mounts.create(volume=Volume.objects.get(name="busy"), mount_path="/data/busy")
    Workspace.objects.filter(pk=workspace.pk).update(quota_cpu="3", quota_storage="1Ti")
    return preset


BASE: dict[str, Any] = {
    "name": "new",
    "preset": "jupyterlab",
    "image": "minimal",
    "pod_size": "small",
    "compute_pool": "",
    "slurm_cluster": "",
    "home": {"create": {"size": "5Gi"}},
    "data_volumes": [],
    "configurations": [],
    "env": {},
}


def by_wizard(client: Client, asks: dict[str, Any]) -> tuple[Session | None, list[str], SpecInput]:
    """Post the three steps as the pages' forms do, then launch. The session, else the sentences on the last page."""
    draft = uuid.uuid4()
    seen = {"rendered_preset": asks["preset"]}
    home = asks["home"]
    storage: dict[str, Any] = {
        "home": "existing" if "claim" in home else "create",
        "home_size": home.get("create", {}).get("size", ""),
        "home_volume": home.get("claim", ""),
        "configurations": asks["configurations"],
        "volume_row": [f"{number:08x}" for number in range(len(asks["data_volumes"]))],
        "env_row": [f"{number:08x}" for number in range(len(asks["env"]))],
    }
    for row, mount in zip(storage["volume_row"], asks["data_volumes"], strict=True):
        storage |= {f"volume.{row}.volume": mount["claim"], f"volume.{row}.mount_path": mount["mount_path"]}
        storage |= {f"volume.{row}.read_only": "on"} if mount["read_only"] else {}
    for row, (name, value) in zip(storage["env_row"], asks["env"].items(), strict=True):
        storage |= {f"env.{row}.name": name, f"env.{row}.value": value}
    steps = {
        "preset": {name: asks[name] for name in ("name", "preset", "image")},
        "compute": {name: asks[name] for name in ("pod_size", "compute_pool", "slurm_cluster")},
        "storage": storage,
    }
    for step, form in steps.items():
        client.post(reverse("sessions:draft", args=["research", draft, step]), {**seen, **form, "intent": "save"})
    row = Draft.objects.get(pk=draft)
    Draft.objects.filter(pk=draft).update(data=row.data | {"visited": list(steps), "tried": list(steps)})  # every step may be looked at
    client.post(reverse("sessions:draft", args=["research", draft, "storage"]), {"intent": "launch"})
    session = Draft.objects.get(pk=draft).session
    return session, _sentences(client, draft) if session is None else [], Answers.from_data(row.data).to_spec()


def _sentences(client: Client, draft: uuid.UUID) -> list[str]:
    pages = [
        client.get(reverse("sessions:draft", args=["research", draft, step])).content.decode() for step in ("preset", "compute", "storage")
    ]
    return [re.sub(r"\s+", " ", html.unescape(page)) for page in pages]


def stored(session: Session) -> dict[str, Any]:
    """What a launch left in the database, without what is random."""
    mounts = [(m.volume.name, m.mount_path, m.read_only, m.is_home, m.volume.size) for m in session.mounts.select_related("volume")]
    snapshot = {key: value for key, value in session.snapshot.items() if key not in ("claims", "mounts")}
    return {"snapshot": snapshot, "env": session.env, "price": session.price_per_hour, "mounts": mounts}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_wizard_and_the_api_say_the_same(world: Preset, cast: Cast, api: Tokened, workspace: Workspace, case: Case) -> None:
    asks = {**BASE, **case.asks}
    client = Client()
    client.force_login(cast.owner)
    by_page, pages, spec = by_wizard(client, asks)
    left = stored(by_page) if by_page is not None else None
    if by_page is not None:
        _undo(by_page, asks)
    answer = api("owner").post(HERE, asks)
    if not case.refused:
        assert left is not None, pages
        assert answer.status == 201, answer.data
        assert stored(Session.objects.get(name=answer.data["name"])) == left
        return
    assert left is None
    assert answer.fields == list(case.refused)
    for error in answer.data["errors"]:
        assert any(re.sub(r"\s+", " ", error["message"]) in page for page in pages), error["message"]
    # The pages show the problem at a field; which one, the spec knows: field by field it is the API's.
    fresh = Workspace.objects.select_related("cluster", "default_pool").get(pk=workspace.pk)
    assert [vars(spelled(problem, spec)) for problem in check(cast.owner, fresh, spec).problems] == answer.data["errors"]


def _undo(session: Session, asks: dict[str, Any]) -> None:
    made = [mount.volume for mount in session.mounts.filter(is_home=True).select_related("volume")]
    Draft.objects.all().delete()
    session.activity.all().delete()
    session.delete()
    for volume in made if "create" in asks["home"] else []:
        volume.delete()


def test_every_rule_of_the_spec_has_a_case() -> None:
    """Codes that ``sessions.spec`` can raise, read from its source: a new rule without a case fails."""
    raised = set(re.findall(r'found\.problem\(\s*[^,]+,\s*"(\w+)"', inspect.getsource(sys.modules["sessions.spec.check"])))
    covered = {code for case in CASES for _, code in case.refused}
    assert len(raised) > 20
    assert raised - covered == ELSEWHERE


# Not a matter of what is typed, or too large to be run through forms here; tests/sessions/test_spec.py has them.
ELSEWHERE = {
    "cluster_disabled",
    "preset_unsupported",
    "pool_unavailable",
    "env_too_many",
    "env_too_large",
    "volume_clash",
}


def test_a_problem_is_spelled_as_the_bodies_are() -> None:
    spec = SpecInput("n", "p", "i", "s")
    for ours, theirs in (
        ("home.volume", "home.claim"),
        ("home.size", "home.create.size"),
        ("data_volumes.12.volume", "data_volumes.12.claim"),
    ):
        assert spelled(Problem(ours, "c", "m"), spec) == Problem(theirs, "c", "m")
    for same in ("", "name", "configurations", "data_volumes.0.mount_path", "env", "home"):
        assert spelled(Problem(same, "c", "m"), spec).field == same


def test_a_viewer_is_refused_with_the_same_sentence(world: Preset, cast: Cast, api: Tokened) -> None:
    client: Callable[..., Api] = api
    page = cast.client("viewer").get(reverse("sessions:new", args=["research"]))
    answer = client("viewer").post(HERE, BASE)
    assert (page.status_code, answer.status, answer.code) == (403, 403, "forbidden")
    assert answer.data["detail"] in html.unescape(page.content.decode())
