"""The thread: it follows, says how it is, and never holds anybody up."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.errors import FencedError
from alphatriangle.data.replica.replicator import Replicator
from tests.data.replica.helpers import Machine, digest_at, restored, train_on
from tests.data.stores.memory_store import MemoryStore

PATIENCE = 30.0


def replicator_of(machine: Machine) -> Replicator:
    return Replicator(KnownCommits(machine.paths), machine.store, machine.rules)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "a", MemoryStore())
    train_on(machine.root)
    return machine


def test_it_follows_and_says_so(tmp_path: Path, machine: Machine) -> None:
    replicator = replicator_of(machine)
    assert replicator.wait_for(1, PATIENCE)
    digest = train_on(machine.root)
    replicator.notify()
    assert replicator.wait_for(2, PATIENCE)
    assert replicator.drain(PATIENCE)
    status = replicator.status
    assert (status.health, status.acknowledged_step, status.epoch) == ("current", 2, 1)
    assert (status.behind_seconds, status.stuck_seconds, status.error) == (0.0, 0.0, None)
    assert replicator.close(PATIENCE)
    assert restored(tmp_path / "b", machine.store).rejected == []
    assert digest_at(tmp_path / "b") == digest


def test_a_store_that_is_down_holds_nobody_up(machine: Machine) -> None:
    assert isinstance(machine.store, MemoryStore)
    machine.store.is_down = True
    replicator = replicator_of(machine)
    assert not replicator.wait_for(1, 0.01)
    assert not replicator.drain(PATIENCE)
    status = replicator.status
    assert status.health == "stuck"
    assert status.error == "the store is down"
    assert status.behind_seconds >= status.stuck_seconds > 0
    machine.store.is_down = False
    assert replicator.drain(PATIENCE), "who waits need not wait for the next try"
    assert replicator.status.health == "current"
    assert replicator.status.stuck_seconds == 0.0
    assert replicator.close(PATIENCE)


def test_a_request_that_hangs_is_left_behind(machine: Machine) -> None:
    assert isinstance(machine.store, MemoryStore)
    hangs, let_go = threading.Event(), threading.Event()

    def hang(what: str) -> None:
        hangs.set()
        let_go.wait(PATIENCE)

    machine.store.before_each = hang
    replicator = replicator_of(machine)
    assert hangs.wait(PATIENCE)
    replicator.notify()
    assert not replicator.close(0.05)
    assert replicator.status.acknowledged_step is None
    let_go.set()


def test_who_is_fenced_says_so_for_good(tmp_path: Path, machine: Machine) -> None:
    replicator = replicator_of(machine)
    assert replicator.drain(PATIENCE)
    restored(tmp_path / "b", machine.store)
    assert Machine(tmp_path / "b", machine.store).catch_up(1)
    train_on(machine.root)
    replicator.notify()
    with pytest.raises(FencedError, match="taken over"):
        replicator.wait_for(2, PATIENCE)
    assert replicator.status.health == "fenced"
    assert replicator.fenced is not None
    assert not replicator.close(PATIENCE)
    assert replicator.status.health == "fenced"


def test_nothing_to_do_is_current(tmp_path: Path) -> None:
    machine = Machine(tmp_path, MemoryStore())
    replicator = replicator_of(machine)
    assert replicator.drain(PATIENCE)
    assert replicator.status.acknowledged_step is None
    assert replicator.close(PATIENCE)
