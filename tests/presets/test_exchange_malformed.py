"""Whatever is uploaded: an import or a refusal that names the place, never a crash."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compute.errors import Refused
from presets.exchange import MAX_BYTES, Options, Source, preview
from presets.exchange.reading import read
from presets.exchange.sources import drafts_of
from presets.variables import is_understood, render
from tests.presets.exchange import kind
from tests.presets.test_exchange_export import PROXY, RICH
from tests.presets.test_exchange_jupyterhub import VALUES
from tests.presets.test_exchange_kubeflow import alpha

LIGHT = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["0", "1e999", "{{", "$(", "/", "-1", "9" * 50]),
)
junk = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)), max_leaves=6
)


def outcome(text: str) -> list[Any]:
    """The drafts; none when the text is refused, which must name what and where."""
    try:
        return drafts_of([Source("x.yaml", text)], Options(ide="jupyterlab"))
    except Refused as refused:
        problems = refused.problems
    assert problems
    assert all(problem.field.startswith("x.yaml") and problem.message and problem.code for problem in problems)
    return []


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += places(item, (*path, key))
    return found


@LIGHT
@given(data=st.data(), document=st.sampled_from([RICH, PROXY, alpha(), kind(), VALUES]), value=junk)
def test_anything_anywhere_in_a_document_is_read_or_refused(data: st.DataObject, document: Any, value: Any) -> None:
    broken = deepcopy(document)
    *above, last = data.draw(st.sampled_from(places(broken)[1:]))
    parent = broken
    for key in above:
        parent = parent[key]
    parent[last] = value
    outcome(yaml.safe_dump(broken))


@LIGHT
@given(st.text(st.sampled_from("{}[]:,-&*!|>'\"#%@ \n\tab0<?"), max_size=60) | st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    outcome(text)


@LIGHT
@given(st.text(max_size=200) | st.text(st.sampled_from('{}.-` "PathPrefixhtl'), max_size=200))
def test_any_value_can_be_rendered(value: str) -> None:
    if "{{" not in value:
        assert render(value) == value and is_understood(value)


@pytest.mark.parametrize(
    ("value", "rendered"),
    [
        ('{{ httpPathPrefix "a" }}', "/"),
        ("{{httpPathPrefix `a`}}lab", "/lab"),
        ('x {{- httpPathPrefix "a" -}}  y', "x/y"),
        ("a{{ .PathPrefix }}b{{ .PathPrefix }}c", "a/b/c"),
    ],
)
def test_path_prefixes_are_the_root(value: str, rendered: str) -> None:
    assert render(value) == rendered


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 10)}]\n" for n in range(9)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join([f'*{chr(97 + n)}'] * 10)}]}}\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "x.yaml"),
        ("---\n---\n", "x.yaml"),
        ("a: [", "x.yaml, line 1"),
        ("a: 1\nb: {c: 1, c: 2}", "x.yaml, line 2"),
        ("a: !!python/object/apply:os.system [id]", "x.yaml, line 1"),
        ("a: &a [*a]", "x.yaml, document 1, a.[0].[0].[0].[0].[0]"),
        ("a: .inf", "x.yaml, document 1, a"),
        ('a: "\\0"', "x.yaml, document 1, a"),
        ('a: "\\ud800"', "x.yaml, document 1, a"),
        ("1: a", "x.yaml, document 1"),
        ("a: !!binary aGk=", "x.yaml, document 1, a"),
        ("a: !!set {b}", "x.yaml, document 1, a"),
        ("text", "x.yaml, document 1"),
        ("[" * 5000, "x.yaml"),
        ("a: " + "9" * 5000, "x.yaml"),
        (BOMB, "x.yaml, document 1"),
        (MERGES, "x.yaml, line"),
        ("a: " + "x" * MAX_BYTES, "x.yaml"),
        ("kind: Pod", "x.yaml, document 1, kind"),
        ("kind: {a: b}", "x.yaml, document 1, kind"),
        ("apiVersion: kubeflow.org/v1\nkind: WorkspaceKind", "x.yaml, document 1, apiVersion"),
        ("kind: List\nitems: [1]", "x.yaml, document 1, items[0]"),
    ],
)
def test_a_refusal_names_the_place(text: str, place: str) -> None:
    with pytest.raises(Refused) as refused:
        drafts_of([Source("x.yaml", text)], Options())
    assert refused.value.problems[0].field.startswith(place)


def test_dates_are_text_as_for_kubernetes() -> None:
    (document,) = read(Source("x.yaml", "a: 2026-11-02\nb: 12:30"))
    assert document.content["a"] == "2026-11-02"


@pytest.mark.django_db
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=junk)
def test_what_was_read_the_catalog_takes_or_refuses(data: st.DataObject, value: Any) -> None:
    broken = deepcopy(data.draw(st.sampled_from([RICH, PROXY, VALUES])))
    *above, last = data.draw(st.sampled_from(places(broken)[1:]))
    parent = broken
    for key in above:
        parent = parent[key]
    parent[last] = value
    with suppress(Refused):
        preview([Source("x.yaml", yaml.safe_dump(broken))], Options(ide="jupyterlab"))
