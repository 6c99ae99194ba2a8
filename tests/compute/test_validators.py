"""What is typed is what a cluster accepts: quantities, names, paths, selectors, tolerations."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from compute import validators


def accepts(validator: Callable[[Any], None], value: Any) -> bool:
    """Whether the validator takes the value. Anything but a ValidationError is a defect."""
    try:
        validator(value)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("value", ["10m", "500m", "1", "1.5", "512", "+2", "2e0", ".5"])
def test_cpu_accepts_what_kubernetes_does(value: str) -> None:
    assert accepts(validators.validate_cpu, value)


@pytest.mark.parametrize(
    "value", ["", "0", "-1", "9m", "513", "1_000", "٣", "1e3Gi", "NaN", "Infinity", "1,5", "0x10", "1 m", "1.0001", "1ki", "two", "\x00"]
)
def test_cpu_refuses_what_kubernetes_or_reason_do(value: str) -> None:
    assert not accepts(validators.validate_cpu, value)


@given(st.text(max_size=20))
def test_no_text_crashes_a_quantity(value: str) -> None:
    for validator in (validators.validate_cpu, validators.validate_memory, validators.validate_storage):
        if accepts(validator, value):
            assert value.strip().isascii()
            assert validators.parse_quantity(value.strip()) > 0


@given(st.integers(1, 10**6), st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3"]))
def test_quantities_are_within_their_range_exactly_when_accepted(number: int, suffix: str) -> None:
    amount = validators.parse_quantity(f"{number}{suffix}")
    low, high = validators.parse_quantity("64Mi"), validators.parse_quantity("24Ti")
    assert accepts(validators.validate_memory, f"{number}{suffix}") == (low <= amount <= high)


@given(st.from_regex(r"[a-z]([-a-z0-9]{0,43}[a-z0-9])?", fullmatch=True))
def test_dns_names_of_45_characters_are_names(value: str) -> None:
    assert accepts(validators.validate_name, value)
    assert accepts(validators.validate_dns_label, value)


@given(st.text(max_size=70))
def test_names_are_dns_labels_or_refused(value: str) -> None:
    if accepts(validators.validate_name, value):
        assert accepts(validators.validate_dns_label, value)
        assert re.fullmatch(r"[a-z][-a-z0-9]{0,44}", value)


@given(st.text(alphabet="/.a-_ :é\n", max_size=12))
def test_accepted_paths_are_absolute_and_normalised(value: str) -> None:
    if accepts(validators.validate_mount_path, value):
        assert value.startswith("/")
        assert posixpath.normpath(value) == value
        assert not any(character in value for character in " :é\n")


@pytest.mark.parametrize("value", ["/", "/etc", "/etc/ssl", "/tmp", "/home", "/opt", "/proc/1", "/usr/local", "/home/user"])
def test_the_systems_own_folders_are_reserved(value: str) -> None:
    assert not accepts(validators.validate_mount_path, value)


@pytest.mark.parametrize("value", ["/data", "/data/sales.2026", "/opt/models", "/etcetera", "/mnt/a_b+c@d"])
def test_other_folders_are_free(value: str) -> None:
    assert accepts(validators.validate_mount_path, value)


def test_overlaps_are_equal_or_nested_paths_only() -> None:
    assert validators.overlapping_paths(["/data", "/database", "/other"]) == []
    assert validators.overlapping_paths(["/data/a", "/data"]) == [("/data", "/data/a")]
    assert validators.overlapping_paths(["/data", "/data"]) == [("/data", "/data")]
    assert validators.overlapping_paths(["/data/a", "/data-b", "/data"]) == [("/data", "/data/a")]


@given(st.text(max_size=20))
def test_environment_names_are_what_a_shell_can_export(value: str) -> None:
    if accepts(validators.validate_env_name, value):
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value)
        assert value not in {"HOME", "PATH"}
        assert not value.startswith("SLIPWAY_")


@pytest.mark.parametrize("value", [{}, {"pool": "gpu"}, {"example.com/pool": ""}])
def test_node_selectors_are_label_pairs(value: object) -> None:
    assert accepts(validators.validate_node_selector, value)


@pytest.mark.parametrize(
    "value", [[], "x", {"": "a"}, {"/pool": "a"}, {"a b": "c"}, {"a": 1}, {"a": "b c"}, {"a": "x" * 64}, {"a/b/c": "d"}]
)
def test_other_node_selectors_are_refused(value: object) -> None:
    assert not accepts(validators.validate_node_selector, value)


@pytest.mark.parametrize(
    "item",
    [
        {"operator": "Exists"},
        {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "gpu", "value": "yes"},
        {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
    ],
)
def test_tolerations_are_those_of_kubernetes(item: object) -> None:
    assert accepts(validators.validate_tolerations, [item])


@pytest.mark.parametrize(
    "item",
    [
        "gpu",
        {},
        {"key": "gpu", "operator": "In"},
        {"key": 5, "operator": "Exists"},
        {"key": "gpu", "value": 1},
        {"key": "gpu", "operator": "Exists", "value": "x"},
        {"key": "gpu", "value": "not a label"},
        {"key": "gpu", "value": "x", "effect": "Never"},
        {"key": "gpu", "value": "x", "effect": ["NoSchedule"]},
        {"key": "gpu", "value": "x", "tolerationSeconds": 5},
        {"key": "gpu", "value": "x", "effect": "NoExecute", "tolerationSeconds": True},
        {"key": "gpu", "value": "x", "extra": 1},
        {"key": "a b", "operator": "Exists"},
    ],
)
def test_other_tolerations_are_refused(item: object) -> None:
    assert not accepts(validators.validate_tolerations, [item])


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
)


@given(json)
def test_no_json_crashes_a_selector_or_a_toleration(value: object) -> None:
    accepts(validators.validate_node_selector, value)
    accepts(validators.validate_tolerations, value)
    accepts(validators.validate_tolerations, [{"key": value, "value": value, "effect": value, "tolerationSeconds": value}])


@pytest.mark.parametrize("value", ["nvidia.com/gpu", "example.com/some-thing"])
def test_gpu_resources_have_a_domain(value: str) -> None:
    assert accepts(validators.validate_resource_name, value)
    assert not accepts(validators.validate_resource_name, value.partition("/")[2])


@given(st.text(max_size=30))
def test_no_text_crashes_host_and_port(value: str) -> None:
    accepts(validators.validate_host_ports, value)


@pytest.mark.parametrize(
    ("value", "fine"), [("a:1", True), ("a.b:6817, c:2", True), ("a", False), ("a:0", False), ("a:70000", False), ("a:²", False)]
)
def test_controllers_are_host_and_port(value: str, fine: bool) -> None:
    assert accepts(validators.validate_host_ports, value) is fine
