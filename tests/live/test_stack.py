"""Whatever part of Slipway is killed comes back, and nothing of it outlives it. (All of it at once: test_faults.py.)"""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil
import pytest

from sessions import heartbeat
from tests.browser import Browser
from tests.laboratory import wait_until
from tests.stack import Stack


def is_alive(process: psutil.Process) -> bool:
    """Not so a zombie: it is dead, and waits for its new parent (the machine's init) to take note."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tasks_are_done(seconds: float) -> None:
    row = heartbeat.queue_beat()
    wait_until(lambda: heartbeat.is_done(row), seconds, "a task that was queued is done")


def serves(browser: Browser) -> bool:
    try:
        return browser.get("/healthz").response.ok
    except (AssertionError, OSError):
        return False


@pytest.mark.parametrize("program", ["web", "relay", "worker", "controller", "nginx"])
def test_a_killed_program_is_started_again(stack: Stack, browser_as: Callable[..., Browser], program: str) -> None:
    children = psutil.Process(stack.pid(program)).children(recursive=True)
    killed = stack.kill(program)
    wait_until(lambda: stack.pid(program) != killed, 10, f"{program} is started again")
    wait_until(lambda: not any(is_alive(child) for child in children), 10, "what the old one started is gone")
    wait_until(lambda: serves(browser_as()), 30, "Slipway answers")


@pytest.mark.parametrize(
    "kind", ["an idle worker", "all idle workers", "the pusher", "the monitor", "the sentinel", "the cluster", "the watchdog"]
)
def test_tasks_go_on_after_a_part_of_the_worker_was_killed(stack: Stack, kind: str) -> None:
    tasks_are_done(90)
    time.sleep(1)  # until the watchdog, too, has seen that this worker works: from then on it waits for less
    watchdog = psutil.Process(stack.pid("worker"))
    (cluster,) = watchdog.children()
    (sentinel,) = cluster.children()
    # As django-q2 starts them: the pool, then the monitor, then the pusher.
    *pool, monitor, pusher = sorted(sentinel.children(), key=lambda child: child.pid)
    victims = {
        "an idle worker": [pool[0]],
        # One of them waits for the next task with the queue's lock in its hand: nobody gets that back.
        "all idle workers": pool,
        "the pusher": [pusher],
        "the monitor": [monitor],
        "the sentinel": [sentinel],
        "the cluster": [cluster],
        "the watchdog": [watchdog],
    }
    for victim in victims[kind]:
        victim.kill()
    tasks_are_done(90)
    orphans = [child for child in (cluster, sentinel, *pool, monitor, pusher) if is_alive(child) and child.ppid() == 1]
    assert not orphans


def test_a_busy_queue_is_no_reason_to_start_the_worker_again(stack: Stack) -> None:
    tasks_are_done(90)
    (before,) = psutil.Process(stack.pid("worker")).children()
    from django_q.tasks import async_task

    for _ in range(8):
        async_task("time.sleep", 5)
    tasks_are_done(90)
    (after,) = psutil.Process(stack.pid("worker")).children()
    assert after == before
