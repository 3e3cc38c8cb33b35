"""What has rotted in a replica is found, and put again where the run still has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphatriangle.data.replica.layout import Layout, ObjectPlace, Position
from alphatriangle.data.replica.session import ReplicaSession
from tests.data.replica.helpers import RUN, Machine, digest_at, restored, train_on
from tests.data.stores.memory_store import Entry, MemoryStore, flipped


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "a", MemoryStore())
    for _ in range(2):
        train_on(machine.root)
        assert machine.catch_up(1)
    return machine


def session_of(machine: Machine) -> tuple[ReplicaSession, MemoryStore]:
    assert machine.session is not None
    assert isinstance(machine.store, MemoryStore)
    return machine.session, machine.store


def shared_object(store: MemoryStore, machine: Machine) -> str:
    """Of the first rows, which all commits need."""
    session, _ = session_of(machine)
    assert session._publisher is not None
    assert session._publisher.last is not None
    first = session._publisher.last.commit.of_kind("segment")[0]
    return Layout(RUN).object(ObjectPlace(1, first.sha256))


def test_a_sound_replica_is_said_to_be(machine: Machine) -> None:
    session, store = session_of(machine)
    verified = session.verify()
    assert (verified.commits, verified.damaged) == (2, [])
    sizes = [len(entry.content) for key, entry in store.objects.items() if "/objects/" in key]
    assert (verified.objects, verified.bytes_read) == (len(sizes), sum(sizes))
    assert 0 < session.verify(read_share=0.01).bytes_read < sum(sizes)
    assert session.verify(read_share=0.0).bytes_read == 0


def test_a_flipped_byte_is_found_and_mended(tmp_path: Path, machine: Machine) -> None:
    session, store = session_of(machine)
    key = shared_object(store, machine)
    store.objects[key] = Entry(flipped(store.objects[key].content), 0)
    assert [damage.key for damage in session.verify().damaged] == [key]
    assert machine.catch_up(1)
    assert session.verify().damaged == []
    assert restored(tmp_path / "b", store).rejected == []
    assert digest_at(tmp_path / "b") == digest_at(machine.root)


def test_what_a_list_lacks_is_put_again_at_the_next_start(tmp_path: Path, machine: Machine) -> None:
    """Else every commit to come would name what is not there."""
    _, store = session_of(machine)
    key = shared_object(store, machine)
    del store.objects[key]
    machine.boot()
    digest = train_on(machine.root)
    assert machine.catch_up(1)
    assert restored(tmp_path / "b", store).rejected == []
    assert digest_at(tmp_path / "b") == digest


def test_a_commit_that_is_gone_is_put_again(machine: Machine) -> None:
    session, store = session_of(machine)
    del store.objects[Layout(RUN).commit(Position(1, 2))]
    assert [damage.place for damage in session.verify().damaged] == [Position(1, 2)]
    assert machine.catch_up(1)
    assert session.verify().damaged == []
