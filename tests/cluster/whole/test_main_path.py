"""The main path on Kubernetes in a real browser: the wizard starts a real pod, which is opened, paused, resumed, deleted."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

from sessions.models import Session
from tests.cluster.lab import START, Lab, Subject
from tests.laboratory import wait_until
from tests.live.pages import Wizard, is_same_page, phase, sign_in, stay_on_this_page
from tests.live.test_main_path import CELL, contents_of, lab_is_open, open_in_a_new_tab, run_a_cell

PAGES = Callable[..., Any]


def walk_the_wizard(page: Page, lab: Lab, preset: str) -> Subject:
    """From the list of sessions to one that runs, on its own page."""
    page.goto(f"/w/{lab.workspace.name}/sessions/")
    sign_in(page, "member")
    page.get_by_role("link", name="New session").first.click()
    wizard = Wizard(page, lab.workspace)
    if preset != "lab":  # the one that is chosen beforehand
        wizard.start(preset)
    subject = lab.follow_host(wizard.to("storage").launch())
    stay_on_this_page(page)
    phase(page, "Running", START)
    return subject


def runs_on_the_cluster(subject: Subject) -> None:
    """One pod on a real node, its claim bound, and no trace of the token in what anybody may read."""
    pod, statefulset = subject.pod, subject.statefulset
    assert statefulset["spec"]["replicas"] == 1
    assert pod["spec"]["nodeName"] and not pod["spec"]["nodeName"].startswith("fake")
    assert Session.objects.get(pk=subject.session.pk).node == pod["spec"]["nodeName"]
    assert subject.lab.kube.claim(subject.lab.namespace, subject.claim)["status"]["phase"] == "Bound"
    assert subject.session.ide_token not in str(pod) + str(statefulset)


def pause(page: Page, subject: Subject) -> None:
    page.get_by_role("button", name="Pause").click()
    phase(page, "Paused", START)  # a busy node may need longer than a minute to end a pod; the page says that it does
    assert subject.pod is None
    assert subject.statefulset["spec"]["replicas"] == 0
    assert subject.lab.kube.claim(subject.lab.namespace, subject.claim)["status"]["phase"] == "Bound"


def delete(page: Page, subject: Subject) -> None:
    page.get_by_role("link", name="Delete").click()
    uid = subject.uid
    page.get_by_role("button", name="Delete session").click()
    subject.end_pod_at_once(uid)
    expect(page).to_have_url(re.compile(f"/w/{subject.lab.workspace.name}/sessions/$"))
    expect(page.get_by_role("heading", name="No sessions yet")).to_be_visible(timeout=60_000)
    kube, namespace = subject.lab.kube, subject.lab.namespace
    wait_until(lambda: subject.statefulset is None and kube.secret(namespace, subject.host) is None, 10, "its objects are gone")
    assert subject.pod is None
    assert kube.claim(namespace, subject.claim)["status"]["phase"] == "Bound"
    page.get_by_role("link", name="Volumes").click()
    expect(page.get_by_role("row", name=f"home-{subject.session.name}")).to_be_visible()


def test_jupyterlab_from_the_wizard_to_delete(page_as: PAGES, lab: Lab) -> None:
    page = page_as()
    subject = walk_the_wizard(page, lab, "lab")
    runs_on_the_cluster(subject)
    expect(page.locator("#log")).to_contain_text("Jupyter Server", timeout=30_000)

    tab, addresses = open_in_a_new_tab(page)
    assert tab.url.startswith(f"{lab.stack.session_url(subject.host)}/lab")
    run_a_cell(tab, CELL, "42")
    assert any("/channels" in address for address in addresses)
    assert not any(subject.session.ide_token in address for address in addresses)
    assert subject.session.ide_token not in tab.content()
    before = subject.uid

    pause(page, subject)
    tab.reload()
    expect(tab.get_by_role("heading")).to_have_text(f"{subject.session.name} is paused")
    page.get_by_role("button", name="Resume").click()
    phase(page, "Running", START)
    assert is_same_page(page)  # all of it without a page load
    lab_is_open(tab)  # the page that waited went on by itself
    assert subject.uid not in ("", before)
    assert contents_of(tab, "hello.txt") == "still here"
    tab.close()

    delete(page, subject)


def open_a_terminal(tab: Page) -> Locator:
    """By the command palette: it comes as soon as the editor takes keys, which is long after it is on the screen."""
    palette = tab.locator(".quick-input-widget input")

    def palette_is_open() -> bool:
        tab.keyboard.press("F1")
        tab.wait_for_timeout(1000)
        return palette.is_visible()

    wait_until(palette_is_open, START, "the command palette")
    palette.fill(">Terminal: Focus on Terminal View")
    command = tab.locator(".quick-input-list .monaco-list-row").first
    expect(command).to_contain_text("Terminal: Focus on Terminal View", timeout=START * 1000)
    palette.press("Enter")
    terminal = tab.locator(".xterm-helper-textarea").last
    terminal.wait_for(state="attached", timeout=START * 1000)
    return terminal


def run_in_the_terminal(tab: Page, subject: Subject, command: str, file: str, content: str) -> None:
    """As a user does: a terminal (it talks over the WebSocket), a command, Enter. Until the file in the pod is right: what
    is typed before the shell reads it, VS Code may lose."""
    terminal = open_a_terminal(tab)

    def typed() -> bool:
        terminal.focus()
        tab.keyboard.type(f"{command}\n")
        tab.wait_for_timeout(1000)
        return read(subject, file) == content

    wait_until(typed, START, f"{file} says {content}")


def read(subject: Subject, file: str) -> str:
    """A file of the session's home, read by the cluster's admin."""
    kube = subject.lab.kube
    pod = ["--kubeconfig", kube.kubeconfig, "--context", kube.context, "-n", subject.lab.namespace, "exec", f"{subject.host}-0"]
    return subprocess.run(["kubectl", *pod, "-c", "ide", "--", "cat", file], capture_output=True, text=True, timeout=30).stdout


def open_vs_code(page: Page) -> Page:
    with page.context.expect_page() as opening:
        page.get_by_role("button", name="Open", exact=True).click()
    tab = opening.value
    tab.locator(".monaco-workbench").wait_for(timeout=START * 1000)
    return tab


def test_vs_code_from_the_wizard_to_delete(page_as: PAGES, lab: Lab) -> None:
    page = page_as()
    subject = walk_the_wizard(page, lab, "code")
    runs_on_the_cluster(subject)
    tab = open_vs_code(page)
    assert tab.url.startswith(lab.stack.session_url(subject.host))
    run_in_the_terminal(tab, subject, "echo $((6 * 7)) > ~/hello.txt", "/home/coder/hello.txt", "42\n")
    tab.close()

    pause(page, subject)
    page.get_by_role("button", name="Resume").click()
    phase(page, "Running", START)
    tab = open_vs_code(page)
    run_in_the_terminal(tab, subject, "cat ~/hello.txt ~/hello.txt > ~/twice.txt", "/home/coder/twice.txt", "42\n42\n")
    tab.close()

    delete(page, subject)
