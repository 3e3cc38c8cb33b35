"""What is kept no more goes, by and by, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphatriangle.data.errors import FencedError
from alphatriangle.data.replica.garbage import GRACE_SECONDS, GarbageCollector
from alphatriangle.data.replica.layout import Layout, ObjectPlace
from tests.data.replica.helpers import RUN, Machine, Recorded, digest_at, record, restored
from tests.data.stores.memory_store import Entry, MemoryStore

COMMITS = 6


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"), COMMITS)


@pytest.fixture
def machine(tmp_path: Path, recorded: Recorded) -> Machine:
    """Four commits are replicated, two of them kept."""
    machine = Machine(tmp_path / "a", MemoryStore())
    machine.lay_out(recorded)
    for index in range(4):
        machine.appear(recorded, index)
        assert machine.catch_up(1)
    return machine


def store_of(machine: Machine) -> MemoryStore:
    assert isinstance(machine.store, MemoryStore)
    return machine.store


def collector_of(machine: Machine) -> GarbageCollector:
    assert machine.session is not None
    return machine.session.collector()


def test_nothing_goes_before_its_hour(machine: Machine) -> None:
    store = store_of(machine)
    before = store.keys()
    assert collector_of(machine).collect(least=1) == 0
    store.seconds += GRACE_SECONDS - 1
    assert collector_of(machine).collect(least=1) == 0
    assert store.keys() == before
    store.seconds += 2
    removed = collector_of(machine).collect(least=1)
    assert removed
    assert len(store.keys("/objects/")) == len([k for k in before if "/objects/" in k]) - removed
    assert len(store.keys("/commits/")) == 4, "numbers of the own epoch stay"


def test_what_goes_is_not_listed_any_more(
    tmp_path: Path, machine: Machine, recorded: Recorded
) -> None:
    store = store_of(machine)
    assert machine.collect()
    machine.appear(recorded, 4)
    before = len(store.operations)
    assert machine.catch_up(1)
    assert not any(what.startswith("list") for what in store.operations[before:])
    assert machine.session is not None
    assert machine.session._publisher is not None
    assert {d.number for d in machine.session._publisher.dropped} == {2, 3}, "the best until now"
    assert restored(tmp_path / "b", store).rejected == []
    assert digest_at(tmp_path / "b") == recorded.digests[5]


def test_it_goes_in_few_requests(machine: Machine) -> None:
    store = store_of(machine)
    before = len(store.operations)
    machine.collect()
    assert [what.split()[0] for what in store.operations[before:]] == ["get", "get", "delete"]


def test_a_round_reads_few_commits_that_it_does_not_know(
    machine: Machine, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica may keep thousands; each round reads some, and what is due goes when all are."""
    monkeypatch.setattr("alphatriangle.data.replica.garbage._READS", 1)
    store = store_of(machine)
    machine.boot()
    machine.appear(recorded, 4)
    assert machine.catch_up(1)
    store.seconds += 2 * GRACE_SECONDS
    collector_of(machine)._records.clear()
    rounds = []
    for _ in range(4):
        before = len(store.operations)
        removed = collector_of(machine).collect(least=1)
        reads = [w for w in store.operations[before:] if "/commits/" in w and w.startswith("get")]
        assert len(reads) <= 3, "one that is kept, one that is due, and a look for others"
        rounds.append(removed)
    assert rounds[0] == 0
    assert any(rounds)


def test_a_kept_commit_that_cannot_be_read_is_not_asked_for_each_time(
    machine: Machine, recorded: Recorded
) -> None:
    store = store_of(machine)
    machine.boot()
    machine.appear(recorded, 4)
    assert machine.catch_up(1)
    assert machine.session is not None
    assert machine.session._publisher is not None
    for held in machine.session._publisher.holds:
        store.objects[Layout(RUN).commit(held.position)] = Entry(b"rot", 0)
    collector_of(machine)._records.clear()
    store.seconds += 2 * GRACE_SECONDS
    assert collector_of(machine).collect(least=1) == 0
    before = len(store.operations)
    assert collector_of(machine).collect(least=1) == 0
    assert len(store.operations) == before


def test_without_permission_everything_stays_and_nothing_fails(
    machine: Machine, recorded: Recorded
) -> None:
    store = store_of(machine)
    store.may_delete = False
    before = store.keys()
    assert machine.collect() == 0
    assert store.keys() == before
    assert collector_of(machine).is_denied
    machine.collect()
    machine.appear(recorded, 4)
    assert machine.catch_up(1)
    assert machine.session is not None
    assert machine.session._publisher is not None
    assert {d.number for d in machine.session._publisher.dropped} == {2, 3}, "it does not grow"


def test_who_is_fenced_removes_nothing(tmp_path: Path, machine: Machine) -> None:
    store = store_of(machine)
    restored(tmp_path / "b", store)
    assert Machine(tmp_path / "b", store).catch_up(1)
    before = store.keys()
    with pytest.raises(FencedError):
        machine.collect()
    assert store.keys() == before


def test_what_an_earlier_process_dropped_is_as_old_as_its_end(
    machine: Machine, recorded: Recorded
) -> None:
    """By the store's time: also where no process lives for an hour."""
    store = store_of(machine)
    machine.boot()
    machine.appear(recorded, 4)
    assert machine.catch_up(1)
    assert collector_of(machine).collect(least=1) == 0
    store.seconds += GRACE_SECONDS - 1
    machine.boot()
    machine.appear(recorded, 5)
    assert machine.catch_up(1)
    assert collector_of(machine).collect(least=1) == 0, "the claim that ended it is younger"
    store.seconds += 2
    machine.boot()
    machine.removed(recorded, 0)
    assert machine.catch_up(1)
    assert collector_of(machine).collect(least=1) == 0, "its epoch has but one commit"


def test_a_sweep_removes_what_nobody_names(
    tmp_path: Path, machine: Machine, recorded: Recorded
) -> None:
    store, layout = store_of(machine), Layout(RUN)
    machine.boot()
    machine.appear(recorded, 4)
    assert machine.catch_up(1)
    orphans = [layout.object(ObjectPlace(epoch, "0" * 64)) for epoch in (1, 2, 3)]
    for key in orphans:
        store.objects[key] = Entry(b"...", int(store.seconds * 1e9))
    store.seconds += 2 * GRACE_SECONDS
    store.overwrite(layout.head, store.objects[layout.head].content)
    swept = collector_of(machine).sweep()
    assert (len(swept.objects), swept.missing) == (1, [])
    assert [key for key in orphans if key in store.objects] == [orphans[0], orphans[2]]
    store.seconds += 8 * 86_400
    store.overwrite(layout.head, store.objects[layout.head].content)
    assert collector_of(machine).sweep().objects
    assert [key for key in orphans if key in store.objects] == [orphans[2]], "a newer writer's"
    assert restored(tmp_path / "b", store).rejected == []
    assert digest_at(tmp_path / "b") == recorded.digests[5]


def test_a_sweep_of_a_damaged_replica_removes_nothing(machine: Machine) -> None:
    store = store_of(machine)
    assert machine.session is not None
    assert machine.session._publisher is not None
    assert machine.session._publisher.last is not None
    place = next(iter(machine.session._publisher.last.sizes()))
    del store.objects[Layout(RUN).object(place)]
    before = store.keys()
    store.seconds += 30 * 86_400
    assert collector_of(machine).sweep().missing == [Layout(RUN).object(place)]
    assert store.keys() == before
