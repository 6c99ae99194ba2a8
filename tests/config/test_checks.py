"""Each way to misconfigure Slipway has a check with an id, and the demo's and a sound production's settings have none."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks

from compute.models import Cluster
from config.checks import is_this_machine

PUBLIC = {"SLIPWAY_URL": "https://slipway.example.com", "SLIPWAY_APPS_URL": "https://apps.slipway.example.com"}


def ids(databases: list[str] | None = None) -> set[str]:
    return {message.id for message in run_checks(databases=databases) if message.id and message.id.startswith("slipway.")}


@pytest.mark.parametrize("host", ["localhost", "abc.apps.localhost", "127.0.0.1", "127.1.2.3", "::1"])
def test_only_this_machines_browsers_mean_these_hosts(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize("host", ["slipway.example.com", "localhost.example.com", "10.0.0.4", "notlocalhost", ""])
def test_others_may_mean_these_hosts(host: str) -> None:
    assert not is_this_machine(host)


def test_the_demos_settings_are_sound(settings: Any, cluster: Cluster) -> None:
    settings.SLIPWAY_DEMO = True
    assert not ids(["default"])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"SLIPWAY_ENCRYPTION_KEYS": ["not-a-key"]}, "slipway.E001"),
        ({"SECRET_KEY": "short"}, "slipway.E002"),
        ({"SECRET_KEY": "a" * 80}, "slipway.E002"),
        ({"SLIPWAY_URL": "https://a.example.com", "SLIPWAY_APPS_URL": "https://a.example.com"}, "slipway.E003"),
        ({"SLIPWAY_URL": "https://a.example.com", "SLIPWAY_APPS_URL": "https://example.com"}, "slipway.E003"),
        ({**PUBLIC, "DEBUG": True}, "slipway.E004"),
        ({**PUBLIC, "SLIPWAY_DEMO": True}, "slipway.E005"),
    ],
)
def test_a_misconfiguration_is_named(settings: Any, overrides: dict[str, Any], expected: str) -> None:
    for name, value in overrides.items():
        setattr(settings, name, value)
    assert expected in ids()


def test_a_wrong_key_is_not_shown(settings: Any) -> None:
    settings.SLIPWAY_ENCRYPTION_KEYS = ["half-of-a-secret"]
    assert not any("half-of-a-secret" in str(message) for message in run_checks())


def test_the_local_driver_is_refused_behind_a_public_host(settings: Any, cluster: Cluster) -> None:
    settings.SLIPWAY_URL, settings.SLIPWAY_APPS_URL = PUBLIC.values()
    assert "slipway.E006" in ids(["default"])
    settings.SLIPWAY_LOCAL_ALLOW_PUBLIC = True
    assert "slipway.E006" not in ids(["default"])


def test_a_disabled_local_cluster_is_no_danger(settings: Any, cluster: Cluster) -> None:
    settings.SLIPWAY_URL, settings.SLIPWAY_APPS_URL = PUBLIC.values()
    Cluster.objects.update(enabled=False)
    assert "slipway.E006" not in ids(["default"])
