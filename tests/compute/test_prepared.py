"""A compiled query answers as the queryset that it was made of does, and always from the database."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, connections, transaction
from django.db.models import Q, QuerySet
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from compute.models import Cluster, ComputePool, Workspace
from compute.prepared import insert, padded, prepared

pytestmark = pytest.mark.django_db

made = 0


@prepared
def pools(workspace: int, name: str) -> QuerySet[ComputePool]:
    global made
    made += 1
    allowed = Q(workspaces=None) | Q(workspaces=workspace)
    return ComputePool.objects.filter(allowed, name=name).distinct().select_related("cluster").order_by("name")


@prepared
def names(cluster: int) -> QuerySet[Workspace, str]:
    return Workspace.objects.filter(cluster=cluster).order_by("name").values_list("name", flat=True)


@prepared
def named(name: str) -> QuerySet[Workspace]:
    return Workspace.objects.filter(name=name)


@prepared
def among(since: datetime, *found: str) -> QuerySet[Workspace]:
    return Workspace.objects.filter(created_at__gt=since, name__in=found).order_by("name")


@prepared
def locked(name: str) -> QuerySet[Workspace]:
    return Workspace.objects.filter(name=name).select_for_update()


@pytest.fixture
def two(workspace: Workspace) -> tuple[ComputePool, ComputePool]:
    """A pool that everybody may use, and one that is another workspace's."""
    other = Workspace.objects.create(name="other", display_name="Other", cluster=workspace.cluster, namespace="other")
    free = ComputePool.objects.create(cluster=workspace.cluster, name="free", display_name="Free", node_selector={"disk": "ssd"})
    kept = ComputePool.objects.create(cluster=workspace.cluster, name="kept", display_name="Kept")
    kept.workspaces.set([other])
    return free, kept


def test_each_call_puts_its_own_values_in(workspace: Workspace, two: tuple[ComputePool, ComputePool]) -> None:
    other = Workspace.objects.get(name="other")
    for _ in range(2):
        assert pools(workspace.pk, "free") == pools(other.pk, "free") == [two[0]]
        assert pools(workspace.pk, "kept") == []
        assert pools(other.pk, "kept") == [two[1]]
    assert pools(workspace.pk, "free")[0].node_selector == {"disk": "ssd"}, "values are converted as always"
    assert names(workspace.cluster_id) == ["other", workspace.name]


def test_it_is_compiled_once_and_always_asks(workspace: Workspace, two: tuple[ComputePool, ComputePool]) -> None:
    pools(workspace.pk, "free")
    before = made
    ComputePool.objects.filter(pk=two[0].pk).update(display_name="Renamed")
    with CaptureQueriesContext(connection) as queries:
        found = pools(workspace.pk, "free")
        assert found[0].cluster.name == workspace.cluster.name
    assert (found[0].display_name, len(queries), made) == ("Renamed", 1, before)


def test_the_sql_is_djangos_own(workspace: Workspace) -> None:
    pools(workspace.pk, "free")
    with CaptureQueriesContext(connection) as queries:
        pools(workspace.pk, "free")
        allowed = Q(workspaces=None) | Q(workspaces=workspace)
        list(ComputePool.objects.filter(allowed, name="free").distinct().select_related("cluster").order_by("name"))
    assert queries[0]["sql"] == queries[1]["sql"]


def test_values_that_look_like_others_stay_apart(cluster: Cluster) -> None:
    """Also those that are the same, and one that looks like a stand-in."""
    for name in ("1", "slipway-argument-0", "slipway-argument-1", "'; --"):
        made_of_it = ComputePool.objects.create(cluster=cluster, name=name[:63], display_name=name)
        assert pools(1, name) == [made_of_it]


@pytest.mark.django_db(transaction=True)
def test_rows_are_locked_only_in_a_transaction(workspace: Workspace) -> None:
    with transaction.atomic():
        assert locked(workspace.name) == [workspace]
    with pytest.raises(TransactionManagementError):
        locked(workspace.name)


@pytest.mark.parametrize("value", [None, 1.5, ["a"]])
def test_other_kinds_of_arguments_are_refused(value: Any) -> None:
    @prepared
    def one(name: str) -> QuerySet[Workspace]:
        return Workspace.objects.filter(name=name)

    with pytest.raises(TypeError, match="neither an int nor a str nor a time"):
        one(value)


def test_an_argument_that_is_changed_on_its_way_is_refused() -> None:
    @prepared
    def starting(stem: str) -> QuerySet[Workspace]:
        return Workspace.objects.filter(name__startswith=stem)

    with pytest.raises(TypeError, match="does not go into the query as it is"):
        starting("a")


def test_a_time_that_is_no_argument_is_refused() -> None:
    @prepared
    def since(hour_ago: datetime) -> QuerySet[Workspace]:
        return Workspace.objects.filter(created_at__gt=hour_ago, created_at__lt=timezone.now())

    if connection.vendor == "postgresql":  # elsewhere times are text by then
        with pytest.raises(TypeError, match="would be the same for ever"):
            since(timezone.now())


def test_times_and_any_number_of_arguments(workspace: Workspace) -> None:
    for number in range(1, 6):
        Workspace.objects.create(name=f"w{number}", display_name="W", cluster=workspace.cluster, namespace=f"w{number}")
    now, hour = timezone.now(), timedelta(hours=1)
    everything = [f"w{number}" for number in range(1, 6)]
    for since, wanted in ((now - hour, everything), (now + hour, [])):
        for number in range(1, 6):
            assert [one.name for one in among(since, *everything[:number])] == wanted[:number]
    assert [one.name for one in among(now - hour, "w2", "w2", "w1")] == ["w1", "w2"]


@pytest.mark.parametrize(("values", "wanted"), [([], ""), ("a", "a"), ("ab", "ab"), ("abc", "abcc"), ("abcde", "abcdeeee")])
def test_padded_to_a_power_of_two(values: str, wanted: str) -> None:
    assert padded(list(values)) == list(wanted)


@pytest.mark.django_db(transaction=True)
def test_every_thread_has_its_own(workspace: Workspace) -> None:
    found: list[list[str]] = []

    def ask() -> None:
        try:
            found.extend(names(workspace.cluster_id) for _ in range(20))
        finally:
            connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[workspace.name]] * 80


def test_threads_that_share_a_connection_get_their_own_rows(cluster: Cluster) -> None:
    shared, wrong = connections[DEFAULT_DB_ALIAS], []
    stems = ["w", "x", "y", "z"]
    for stem in stems:
        Workspace.objects.create(name=stem, display_name=stem, cluster=cluster, namespace=stem)

    def ask(stem: str) -> None:
        connections[DEFAULT_DB_ALIAS] = shared
        wrong.extend(found for _ in range(100) if (found := [one.name for one in named(stem)]) != [stem])

    threads = [threading.Thread(target=ask, args=(stem,)) for stem in stems]
    shared.inc_thread_sharing()
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        shared.dec_thread_sharing()
    assert wrong == []


def test_rows_are_inserted_as_by_bulk_create(cluster: Cluster) -> None:
    def pool(name: str) -> ComputePool:
        return ComputePool(cluster=cluster, name=name, display_name=name.title(), node_selector={"disk": name}, price_cpu=Decimal("0.125"))

    insert([])
    for names_ in (["a"], ["b", "c"], ["d", "e"]):
        rows = [pool(name) for name in names_]
        with CaptureQueriesContext(connection) as queries:
            insert(rows)
        assert len(queries) == 1
        for row in rows:
            saved = ComputePool.objects.get(pk=row.pk)
            assert not row._state.adding
            assert (saved.name, saved.node_selector, saved.price_cpu) == (row.name, {"disk": row.name}, Decimal("0.125"))
    (theirs,) = ComputePool.objects.bulk_create([pool("f")])
    mine = pool("g")
    insert([mine])
    alike = ("cluster_id", "description", "tolerations", "gpu_resource", "enabled", "price_memory", "price_gpu")
    found = [ComputePool.objects.filter(pk=one.pk).values(*alike).get() for one in (mine, theirs)]
    assert found[0] == found[1]


def test_a_row_that_the_database_refuses_is_an_error(cluster: Cluster) -> None:
    insert([ComputePool(cluster=cluster, name="twice", display_name="Twice")])
    with pytest.raises(IntegrityError), transaction.atomic():
        insert([ComputePool(cluster=cluster, name="twice", display_name="Twice")])
