"""Commits go to the replica and come back as they were, whatever a store does once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from alphatriangle.data.errors import ReplicaUnavailableError
from alphatriangle.data.replica.garbage import GRACE_SECONDS
from alphatriangle.data.stores.store import StoreError
from tests.data.replica.helpers import RUN, Machine, Recorded, digest_at, record, restored
from tests.data.stores.memory_store import FAULTS, Fault, FaultKind, MemoryStore
from tests.durability.budget import places_below, report

COMMITS = 5


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"), COMMITS)


def test_what_is_acknowledged_is_restored_elsewhere(tmp_path: Path, recorded: Recorded) -> None:
    store = MemoryStore()
    machine = Machine(tmp_path / "a", store)
    machine.lay_out(recorded)
    for index in range(COMMITS):
        step = machine.appear(recorded, index)
        before = len(store.operations)
        assert machine.catch_up(1)
        assert machine.acknowledged_step == step
        made = store.operations[before:]
        if index:
            assert len(made) <= 8
            assert not any(what.startswith("list") for what in made)
    found = restored(tmp_path / "b", store)
    assert found.rejected == found.damaged == []
    assert digest_at(tmp_path / "b") == recorded.digests[COMMITS]
    for name in ("run.json", "configs.json", f"commits/step_{COMMITS}.json"):
        here = (tmp_path / "b/runs" / RUN / name).read_bytes()
        assert here == (machine.paths.run / name).read_bytes()


def life(folder: Path, recorded: Recorded, store: MemoryStore) -> int:
    """One machine that is started twice, is lost, and another that goes on; garbage goes.

    Returns how many operations of the store that took.
    """
    first = Machine(folder / "a", store)
    first.lay_out(recorded)
    for index in range(4):
        step = first.appear(recorded, index)
        if index == 2:
            first.boot()
        assert first.catch_up()
        assert first.acknowledged_step == step
        store.seconds += 2 * GRACE_SECONDS
        collect(first)
    shutil.rmtree(first.root)
    for _ in range(4):
        try:
            found = restored(folder / "b", store)
            break
        except ReplicaUnavailableError:
            continue
    assert found.rejected == found.damaged == []
    assert found.commit.global_step == 4
    assert digest_at(folder / "b") == recorded.digests[4]
    second = Machine(folder / "b", store)
    second.complete(recorded)
    assert second.catch_up()
    second.appear(recorded, 4)
    assert second.catch_up()
    store.seconds += 2 * GRACE_SECONDS
    collect(second)
    assert second.acknowledged_step == COMMITS
    operations = len(store.operations)
    store.fault = None
    found = restored(folder / "c", store)
    assert found.rejected == found.damaged == []
    assert digest_at(folder / "c") == recorded.digests[COMMITS]
    return operations


def collect(machine: Machine) -> None:
    assert machine.session is not None
    for _ in range(3):
        try:
            machine.session.collector().collect(least=1)
        except StoreError:
            continue
        return


def test_a_life_without_faults(tmp_path: Path, recorded: Recorded) -> None:
    store = MemoryStore()
    life(tmp_path, recorded, store)
    kept = store.keys("/commits/")
    assert len(store.keys("/objects/")) < 5 * COMMITS, "garbage has been removed"
    assert store.keys("epochs/") == [f"{RUN}/epochs/{n:06d}.json" for n in (1, 2, 3)]
    assert kept


@pytest.mark.parametrize("kind", FAULTS)
def test_any_operation_may_fail_in_any_way(
    tmp_path: Path, recorded: Recorded, kind: FaultKind
) -> None:
    operations = life(tmp_path / "calm", recorded, MemoryStore())
    tries = 0
    for at in places_below(operations, 16):
        fault = Fault(at, kind)
        life(tmp_path / str(at), recorded, MemoryStore(fault))
        shutil.rmtree(tmp_path / str(at))
        assert fault.struck
        tries += 1
    report(f"replica: {kind}", tries=tries, lost=0)
