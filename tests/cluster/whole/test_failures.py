"""What goes wrong on a cluster, provoked for real, and what the user then reads on the session's page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from presets.models import Image
from sessions.models import Phase
from tests.cluster.kube import Components, Kube, wait_until
from tests.cluster.lab import JUPYTER, START, Lab, Subject
from tests.live.pages import phase

PAGES = Callable[..., Any]
WITHIN = 60.0


@pytest.fixture
def page(page_as: PAGES) -> Page:
    opened: Page = page_as("member")
    return opened


def failed_with(page: Page, subject: Subject, reason: str, message: str, seconds: float = START) -> None:
    """The page says Failed, why, and offers Retry; the reason and the message are patterns."""
    page.goto(subject.session.get_absolute_url())
    phase(page, "Failed", seconds)
    notice = page.locator("#live .notice-danger")
    expect(notice.locator(".notice-title")).to_have_text(re.compile(reason))
    expect(notice).to_contain_text(re.compile(message))
    expect(page.get_by_role("button", name="Retry")).to_be_visible()


def delete_now(subject: Subject, kind: str, seconds: float | None = 0) -> None:
    """As an operator's ``kubectl delete`` does; without its grace period unless told."""
    subject.lab.kube.delete(subject.path(kind), **({} if seconds is None else {"gracePeriodSeconds": seconds}))


# What keeps a session from starting


def test_an_image_that_does_not_exist_is_named_and_a_retry_takes_the_mended_one(lab: Lab, page: Page) -> None:
    subject = lab.launch("lost", image="missing")
    failed_with(page, subject, "Image", "localhost/no-such-image:1")
    Image.objects.filter(pk=subject.session.image_id).update(reference=JUPYTER)
    try:
        page.get_by_role("button", name="Retry").click()
        phase(page, "Running", START)
    finally:
        Image.objects.filter(pk=subject.session.image_id).update(reference="localhost/no-such-image:1")
    assert lab.kube.claim(lab.namespace, subject.claim)["status"]["phase"] == "Bound"


def test_a_program_that_the_image_lacks_is_named(lab: Lab, page: Page) -> None:
    subject = lab.launch("wrong", image="wrong")
    failed_with(page, subject, "Start|Run|Create|Crash", "jupyter")


def test_a_gpu_that_nobody_has_leaves_it_pending_with_the_schedulers_words(lab: Lab, page: Page) -> None:
    subject = lab.launch("hungry", pod_size="gpu", compute_pool="gpu")
    page.goto(subject.session.get_absolute_url())
    phase(page, "Pending")
    expect(page.locator("#live")).to_contain_text(re.compile(r"0/\d+ nodes.*nvidia\.com/gpu", re.S), timeout=WITHIN * 1000)
    assert subject.phase == Phase.PENDING
    assert subject.pod["spec"].get("nodeName") is None


def test_a_crash_is_told_with_its_exit_code_and_last_lines(lab: Lab, page: Page) -> None:
    subject = lab.launch("crashing", env={"PYTHONHOME": "/nowhere"})
    failed_with(page, subject, "Crash", r"\b1\b")
    expect(page.locator("#live pre.log")).to_contain_text("Fatal Python error")


def test_too_little_memory_is_told_as_such(lab: Lab, page: Page) -> None:
    subject = lab.launch("starved", pod_size="tiny")
    failed_with(page, subject, "OutOfMemory|OOMKilled", r"(?i)memory")


def test_a_cordoned_node_takes_nothing_new_and_what_runs_goes_on(lab: Lab, page: Page, cordoned: Callable[[str], None]) -> None:
    running = lab.launch("running")
    running.reach(Phase.RUNNING)
    uid = running.uid
    cordoned(running.pod["spec"]["nodeName"])
    waiting = lab.launch("waiting")
    page.goto(waiting.session.get_absolute_url())
    expect(page.locator("#live")).to_contain_text(re.compile("unschedulable", re.I), timeout=WITHIN * 1000)
    assert waiting.phase == Phase.PENDING
    assert (running.uid, running.phase) == (uid, Phase.RUNNING)
    cordoned("")
    page.goto(waiting.session.get_absolute_url())
    phase(page, "Running", START)


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


# What happens to one that runs


@pytest.fixture
def running(lab: Lab, page: Page) -> Subject:
    """A session that runs, with its page open."""
    subject = lab.launch("running")
    subject.reach(Phase.RUNNING)
    page.goto(subject.session.get_absolute_url())
    phase(page, "Running")
    return subject


def runs_again(page: Page, subject: Subject, uid: str) -> None:
    """With a new pod, and without anybody's doing."""
    wait_until(lambda: subject.uid not in ("", uid), WITHIN, "a new pod")
    subject.reach(Phase.RUNNING)
    page.goto(subject.session.get_absolute_url())
    phase(page, "Running")
    assert subject.lab.kube.claim(subject.lab.namespace, subject.claim)["status"]["phase"] == "Bound"


def test_a_deleted_pod_comes_back(running: Subject, page: Page) -> None:
    uid = running.uid
    delete_now(running, "pods")
    wait_until(lambda: running.phase != Phase.RUNNING, WITHIN, "the page no longer says Running")
    runs_again(page, running, uid)


def test_a_deleted_statefulset_is_made_again(running: Subject, page: Page) -> None:
    uid = running.uid
    delete_now(running, "statefulsets", None)
    runs_again(page, running, uid)
    assert running.statefulset["spec"]["replicas"] == 1


def test_a_hand_edited_spec_is_put_back_without_touching_the_pod(running: Subject, page: Page) -> None:
    uid = running.uid
    wanted = running.statefulset["spec"]["template"]["spec"]
    edit = {"spec": {"template": {"spec": {"containers": [{"name": "ide", "image": "localhost/busybox:1"}]}}}}
    running.lab.kube.merge(running.path("statefulsets"), edit, "application/strategic-merge-patch+json")
    wait_until(lambda: running.statefulset["spec"]["template"]["spec"] == wanted, WITHIN, "the template is as it was")
    assert (running.uid, running.phase) == (uid, Phase.RUNNING)


def test_a_session_scaled_to_nothing_by_hand_comes_back(running: Subject, page: Page) -> None:
    uid = running.uid
    running.lab.kube.merge(running.path("statefulsets"), {"spec": {"replicas": 0}})
    runs_again(page, running, uid)


def test_a_stopped_kubelet_leaves_a_pause_waiting_and_says_so(running: Subject, page: Page, components: Components) -> None:
    node = running.pod["spec"]["nodeName"]
    components.stop("kubelet")
    try:
        running.pause()
        page.goto(running.session.get_absolute_url())
        phase(page, "Terminating")
        # Nobody ends the pod; after its grace period the page says which node does not answer.
        expect(page.locator("main")).to_contain_text(node, timeout=WITHIN * 2 * 1000)
        assert running.pod is not None
    finally:
        components.start("kubelet")
    phase(page, "Paused", START)
    assert running.pod is None
