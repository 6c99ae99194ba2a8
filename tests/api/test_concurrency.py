"""What holds when many ask at the same moment: one effect per Idempotency-Key, one winner per ETag, exact limits."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from compute.models import Workspace
from presets.models import Preset
from sessions import services
from sessions.models import Activity, Desired, IdempotencyRecord, Session
from sessions.spec import HomeInput, SpecInput
from storage.models import Volume
from tests.api.conftest import Answer, Api, Tokened
from tests.conftest import Cast

HERE = "workspaces/research/sessions"
MANY = 20
BODY = {"name": "lab", "preset": "jupyterlab", "env": {"KEY": "value"}}
pytestmark = pytest.mark.usefixtures("database_file", "preset", "driver")


def at_once(ask: Callable[[int], Answer], times: int = MANY) -> list[Answer]:
    """Ask from so many threads, which start together."""
    answers: list[Answer] = []
    start = threading.Barrier(times)

    def run(number: int) -> None:
        try:
            start.wait()
            answers.append(ask(number))
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(answers) == times
    return answers


def same(client: Api) -> Api:
    """Another client with the same token: a test client is for one thread."""
    return Api(dict(client.headers))


def test_of_many_identical_creates_one_does_it_and_all_get_its_answer(api: Tokened) -> None:
    client = api("owner")
    answers = at_once(lambda _: same(client).post(HERE, BODY, Idempotency_Key="k1"))
    assert Counter(answer.status for answer in answers) == {201: MANY}, [answer.data for answer in answers if answer.status != 201]
    assert len({(answer.response.content, answer["ETag"], answer["Location"]) for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.response for answer in answers) == 1
    assert (Session.objects.count(), Volume.objects.count(), IdempotencyRecord.objects.count()) == (1, 1, 1)
    assert Activity.objects.filter(verb="launch").count() == 1


def test_of_many_that_share_a_key_one_request_is_done(api: Tokened) -> None:
    client = api("owner")
    answers = at_once(lambda number: same(client).post(HERE, {**BODY, "name": f"lab-{number % 2}"}, Idempotency_Key="k1"))
    done = Session.objects.get()
    assert Counter(answer.status for answer in answers) == {201: MANY // 2, 409: MANY // 2}
    assert {answer.data["name"] for answer in answers if answer.status == 201} == {done.name}
    assert {answer.code for answer in answers if answer.status == 409} == {"idempotency_key_reused"}


def test_a_refused_create_is_refused_to_all_and_its_key_stays_free(api: Tokened) -> None:
    client = api("owner")
    answers = at_once(lambda _: same(client).post(HERE, {**BODY, "image": "nothing"}, Idempotency_Key="k1"), 6)
    assert {answer.code for answer in answers} == {"refused"}
    assert client.post(HERE, BODY, Idempotency_Key="k1").status == 201


def test_launches_without_a_name_never_get_the_same_one(api: Tokened) -> None:
    client = api("owner")
    answers = at_once(lambda _: same(client).post(HERE, {"preset": "jupyterlab"}), 8)
    assert sorted(answer.data["name"] for answer in answers) == [f"jupyterlab-{number}" for number in range(1, 9)]


@pytest.fixture
def lab(cast: Cast, workspace: Workspace, preset: Preset, driver: Any) -> Session:
    return services.launch(cast.owner, workspace, SpecInput("lab", "jupyterlab", "minimal", "small", home=HomeInput(create_size="5Gi")))


def test_of_many_who_read_the_same_state_one_may_change_it(lab: Session, api: Tokened) -> None:
    client = api("owner")
    etag = client.get(f"{HERE}/lab")["ETag"]
    answers = at_once(lambda _: same(client).post(f"{HERE}/lab/pause", If_Match=etag))
    assert Counter(answer.status for answer in answers) == {202: 1, 412: MANY - 1}
    assert (Session.objects.get().desired, Session.objects.get().generation) == (Desired.PAUSED, 2)


def test_different_writes_with_the_same_etag_do_not_wait_for_each_other(lab: Session, api: Tokened) -> None:
    client = api("owner")
    etag = client.get(f"{HERE}/lab")["ETag"]

    def write(number: int) -> Answer:
        one = same(client)
        return one.delete(f"{HERE}/lab", If_Match=etag) if number % 2 else one.post(f"{HERE}/lab/pause", If_Match=etag)

    answers = at_once(write, 10)
    assert Counter(answer.status for answer in answers) == {202: 1, 412: 9}


def test_the_limit_of_requests_is_exact(api: Tokened, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SLIPWAY_API_RATE = 5
    now = timezone.now()
    monkeypatch.setattr("compute.tokens.timezone.now", lambda: now)  # no minute ends meanwhile
    client = api("owner")
    answers = at_once(lambda _: same(client).get("me"))
    assert Counter(answer.status for answer in answers) == {200: 5, 429: MANY - 5}
