"""What goes wrong on a cluster, provoked for real, and what the user then reads on the session's page.

One workspace for all of it. What cannot start is launched first, all at once: a cluster takes most of a minute before it
is sure. Meanwhile things happen to a session that runs; then each failure is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from presets.models import Image
from sessions.models import Phase
from tests.cluster.kube import Components, Kube
from tests.cluster.lab import JUPYTER, START, Lab, Subject, new_lab
from tests.laboratory import wait_until
from tests.live.pages import phase
from tests.stack import Stack

PAGES = Callable[..., Any]
WITHIN = 120.0  # seconds on a busy machine
DELETED = "Its pod was deleted on the cluster. Once that has ended, a new one takes its place; what is on volumes stays."
NO_GPU = re.compile(
    r"No node can take it yet; it starts as soon as one can\. The scheduler says: 0/\d+ nodes .*Insufficient nvidia\.com/gpu"
)
ANOTHER_IMAGE = "Choose another image; or retry once the people who curate this one have mended it."


@pytest.fixture(scope="module")
def lab(stack: Stack, kube: Kube) -> Iterator[Lab]:
    made = new_lab(stack, kube)
    yield made
    made.end()


@pytest.fixture(scope="module", autouse=True)
def sessions(lab: Lab) -> dict[str, Subject]:
    """``running`` does; the others fail."""
    made = [
        lab.launch("running", pod_size="slim"),
        lab.launch("lost", image="missing", pod_size="slim"),
        lab.launch("wrong", image="wrong", pod_size="tiny"),
        lab.launch("crashing", env={"PYTHONHOME": "/nowhere"}, pod_size="tiny"),
        lab.launch("unprepared", configurations=("broken",), pod_size="tiny"),
        lab.launch("starved", configurations=("greedy",), pod_size="tiny"),
        lab.launch("hungry", pod_size="gpu", compute_pool="gpu"),
    ]
    return {one.session.name: one for one in made}


@pytest.fixture
def page(page_as: PAGES) -> Page:
    opened: Page = page_as("member")
    return opened


@pytest.fixture
def running(sessions: dict[str, Subject], page: Page) -> Subject:
    """A session that runs, with its page open."""
    subject = sessions["running"]
    subject.reach(Phase.RUNNING)
    page.goto(subject.session.get_absolute_url())
    phase(page, "Running")
    return subject


@contextmanager
def it_runs_again(page: Page, subject: Subject, told: str = "Pending") -> Iterator[None]:
    """With a new pod, and without anybody's doing. The page, which nobody loads again, tells so, and what it waited for."""
    uid, happenings = subject.uid, page.locator("#activity li")
    known = happenings.first.locator("time").get_attribute("datetime")
    yield
    wait_until(lambda: subject.uid not in ("", uid), WITHIN, "a new pod")
    subject.reach(Phase.RUNNING)
    news: list[str] = []

    def page_has_the_news() -> bool:
        news.clear()
        for happening in happenings.all():
            if happening.locator("time").get_attribute("datetime") == known:
                break
            news.append(happening.inner_text())
        return bool(news) and news[0].startswith("Running")

    wait_until(page_has_the_news, WITHIN, "the page says that it runs again")
    assert any(told in text for text in news), news
    phase(page, "Running")
    assert subject.lab.kube.claim(subject.lab.namespace, subject.claim)["status"]["phase"] == "Bound"


def test_a_gpu_that_nobody_has_leaves_it_pending_with_the_schedulers_words(sessions: dict[str, Subject], page: Page) -> None:
    hungry = sessions["hungry"]
    page.goto(hungry.session.get_absolute_url())
    phase(page, "Pending")
    expect(page.locator("#session-sentence")).to_have_text(NO_GPU, timeout=WITHIN * 1000)
    assert hungry.pod["spec"].get("nodeName") is None


# What happens to one that runs


def test_a_deleted_pod_comes_back_and_the_page_says_why_it_was_away(running: Subject, page: Page) -> None:
    with it_runs_again(page, running, DELETED):
        running.lab.kube.delete(running.path("pods"))


def test_a_deleted_statefulset_is_made_again(running: Subject, page: Page) -> None:
    with it_runs_again(page, running):
        uid = running.uid
        running.lab.kube.delete(running.path("statefulsets"))
        running.end_pod_at_once(uid)
    assert running.statefulset["spec"]["replicas"] == 1


def test_a_hand_edited_spec_is_put_back_without_touching_the_pod(running: Subject, page: Page) -> None:
    uid, told = running.uid, running.told()
    wanted = running.statefulset["spec"]["template"]["spec"]
    edit = {"spec": {"template": {"spec": {"containers": [{"name": "ide", "image": "localhost/busybox:1"}]}}}}
    running.lab.kube.merge(running.path("statefulsets"), edit, "application/strategic-merge-patch+json")
    wait_until(lambda: running.statefulset["spec"]["template"]["spec"] == wanted, WITHIN, "the template is as it was")
    phase(page, "Running")
    assert (running.uid, running.told()) == (uid, told)


def test_a_session_scaled_to_nothing_by_hand_comes_back(running: Subject, page: Page) -> None:
    with it_runs_again(page, running):
        uid = running.uid
        running.lab.kube.merge(running.path("statefulsets"), {"spec": {"replicas": 0}})
        running.end_pod_at_once(uid)


def test_a_cordoned_node_takes_nothing_new_and_what_runs_goes_on(
    running: Subject, lab: Lab, page: Page, cordoned: Callable[[str], None]
) -> None:
    uid = running.uid
    cordoned(running.pod["spec"]["nodeName"])
    waiting = lab.launch("waiting", pod_size="slim")
    page.goto(waiting.session.get_absolute_url())
    sentence = page.locator("#session-sentence")
    expect(sentence).to_contain_text("No node can take it yet; it starts as soon as one can.", timeout=WITHIN * 1000)
    expect(sentence).to_contain_text("1 node(s) were unschedulable")
    assert waiting.phase == Phase.PENDING
    assert (running.uid, running.phase) == (uid, Phase.RUNNING)
    cordoned("")
    phase(page, "Running", START)
    waiting.delete()


@pytest.fixture
def cordoned(kube: Kube) -> Iterator[Callable[[str], None]]:
    """``cordoned(name)``: the node takes no new pods; ``cordoned("")``: all of them do again."""
    nodes: list[str] = []

    def cordon(name: str) -> None:
        if name:
            nodes.append(name)
            kube.merge(f"/api/v1/nodes/{name}", {"spec": {"unschedulable": True}})
            return
        while nodes:
            kube.merge(f"/api/v1/nodes/{nodes.pop()}", {"spec": {"unschedulable": None}})

    yield cordon
    cordon("")


# What keeps a session from starting


def failed_with(page: Page, subject: Subject, reason: str, *words: str | re.Pattern[str]) -> None:
    """The page says Failed, why, and what to do, and offers Retry."""
    page.goto(subject.session.get_absolute_url())
    phase(page, "Failed", START)
    notice = page.locator("#live .notice-danger")
    expect(notice.locator(".notice-title")).to_have_text(reason)
    for part in words:
        expect(notice).to_contain_text(part)
    expect(notice).to_contain_text("Its volumes are safe.")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def test_a_gpu_that_nobody_has_is_not_waited_for_for_ever(sessions: dict[str, Subject], page: Page) -> None:
    said = re.compile(r"The scheduler says: 0/\d+ nodes are available")  # then: while the node was cordoned, perhaps
    words = ("Finding compute took longer than a minute.", said, "Retry, or choose a smaller pod size or another compute pool.")
    failed_with(page, sessions["hungry"], "SchedulingTimeout", *words)


def test_a_program_that_the_image_lacks_is_named(sessions: dict[str, Subject], page: Page) -> None:
    failed_with(page, sessions["wrong"], "StartError", "The container can't be started", "jupyter", ANOTHER_IMAGE)


def test_a_crash_is_told_with_its_exit_code_and_last_lines(sessions: dict[str, Subject], page: Page) -> None:
    words = re.compile(r"The IDE ended with exit code 1 each time it was started \(\d restarts\)\. Its log says why\. Retry, or choose")
    failed_with(page, sessions["crashing"], "CrashLoopBackOff", words)
    expect(page.locator("#live pre.log")).to_contain_text("Fatal Python error")


def test_an_init_script_that_fails_is_named_and_its_log_shown(sessions: dict[str, Subject], page: Page) -> None:
    words = "The init script “broken” ended with exit code 3. Its log says why. Launch without that configuration"
    failed_with(page, sessions["unprepared"], "InitScriptFailed", words)
    expect(page.locator("#live pre.log")).to_contain_text("there is no such dataset")


def test_too_little_memory_is_told_as_such(sessions: dict[str, Subject], page: Page) -> None:
    starved = sessions["starved"]
    failed_with(page, starved, "OOMKilled", "The session ran out of memory each time it was started. Choose a bigger pod size.")
    (status,) = starved.pod["status"]["containerStatuses"]
    ended = status["state"].get("terminated") or status["lastState"]["terminated"]
    assert ended["reason"] == "OOMKilled"


def test_an_image_that_does_not_exist_is_named_and_a_retry_takes_the_mended_one(sessions: dict[str, Subject], page: Page) -> None:
    lost = sessions["lost"]
    failed_with(page, lost, "ImagePullBackOff", "The image localhost/no-such-image:1 can't be pulled.", ANOTHER_IMAGE)
    image = Image.objects.filter(pk=lost.session.image_id)
    image.update(reference=JUPYTER)
    uid = lost.uid
    page.get_by_role("button", name="Retry").click()
    lost.end_pod_at_once(uid)
    phase(page, "Running", START)
    image.update(reference="localhost/no-such-image:1")
    assert lost.lab.kube.claim(lost.lab.namespace, lost.claim)["status"]["phase"] == "Bound"


def test_a_stopped_kubelet_leaves_a_pause_waiting_and_says_so(running: Subject, page: Page, components: Components) -> None:
    """The last one: other pods could not start or end meanwhile."""
    node = running.pod["spec"]["nodeName"]
    components.stop("kubelet")
    try:
        page.get_by_role("button", name="Pause").click()
        phase(page, "Terminating", WITHIN)
        sentence = page.locator("#session-sentence")
        expect(sentence).to_contain_text(f"and is still there: the node {node} may not answer.", timeout=WITHIN * 1000)
        expect(sentence).to_contain_text("Slipway goes on as soon as it is gone; an admin of the cluster can look at it.")
        assert running.pod is not None
    finally:
        components.start("kubelet")
    phase(page, "Paused", START)
    assert running.pod is None
