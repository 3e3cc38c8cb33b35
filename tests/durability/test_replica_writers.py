"""Two who write to one replica: at most one goes on, and nothing that was acknowledged is lost."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import pytest

from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.errors import DivergedError, FencedError
from alphatriangle.data.replica.layout import Layout
from tests.data.helpers import check_sound
from tests.data.replica.helpers import RUN, Machine, digest_at, restored, train_on
from tests.data.stores.memory_store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def a(tmp_path: Path, store: MemoryStore) -> Machine:
    """A machine with two commits that are acknowledged."""
    machine = Machine(tmp_path / "a", store)
    for _ in range(2):
        train_on(machine.root)
        assert machine.catch_up(1)
    assert machine.acknowledged_step == 2
    return machine


def taken_over(tmp_path: Path, store: MemoryStore) -> Machine:
    """Another machine that has restored the run."""
    restored(tmp_path / "b", store)
    return Machine(tmp_path / "b", store)


def assert_restores(tmp_path: Path, store: MemoryStore, digest: str) -> None:
    found = restored(tmp_path / "found", store)
    assert found.rejected == found.damaged == []
    assert digest_at(tmp_path / "found") == digest
    shutil.rmtree(tmp_path / "found")


def assert_whole(machine: Machine) -> None:
    known = list_commits(machine.paths)
    assert known.commits
    for stored in known.commits:
        check_sound(machine.paths.run, stored)


def test_a_zombie_is_fenced(tmp_path: Path, store: MemoryStore, a: Machine) -> None:
    b = taken_over(tmp_path, store)
    for _ in range(4):
        digest = train_on(b.root, rows=33)
        assert b.catch_up(1)
        b.collect()
    train_on(a.root)
    with pytest.raises(FencedError, match=r"taken over.* by process .*fork tiny NEW"):
        a.catch_up(1)
    with pytest.raises(FencedError):
        a.catch_up(1)
    assert a.acknowledged_step == 2
    assert_whole(a)
    assert_restores(tmp_path, store, digest)
    a.boot()
    with pytest.raises(DivergedError, match=r"another history.* newest commit is of step 6"):
        a.catch_up(1)
    train_on(b.root)
    assert b.catch_up(1), "who has diverged does not stop the other"


@pytest.mark.parametrize("at", ["put", "create", "get tiny/epochs/000002"])
def test_a_take_over_in_the_middle_of_a_commit(
    tmp_path: Path, store: MemoryStore, a: Machine, at: str
) -> None:
    """Until its commit counts it may be fenced; what has been acknowledged is there either way."""
    digest = digest_at(a.root)
    train_on(a.root)
    others: list[Machine] = []

    def meanwhile(what: str) -> None:
        if what.startswith(at):
            store.before_each = lambda what: None
            others.append(taken_over(tmp_path, store))
            assert others[0].catch_up(1)

    store.before_each = meanwhile
    with pytest.raises(FencedError):
        a.catch_up(1)
    assert a.acknowledged_step == 2
    if not at.startswith("get"):
        assert_restores(tmp_path, store, digest)
    digest = train_on(others[0].root, rows=33)
    assert others[0].catch_up(1)
    assert_restores(tmp_path, store, digest)


def test_a_commit_that_comes_in_while_another_claims(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    """It may have been acknowledged: so the other, which lacks it, must not go on."""
    b = taken_over(tmp_path, store)
    digest = train_on(a.root)

    def meanwhile(what: str) -> None:
        if what.startswith("create tiny/epochs/000002"):
            store.before_each = lambda what: None
            assert a.catch_up(1)

    store.before_each = meanwhile
    with pytest.raises(DivergedError):
        b.catch_up(1)
    assert a.acknowledged_step == 3
    assert_restores(tmp_path, store, digest)


def test_who_was_fenced_by_nobodys_commit_may_start_again(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    b = taken_over(tmp_path, store)
    assert b.catch_up(1)
    train_on(a.root)
    with pytest.raises(FencedError):
        a.catch_up(1)
    a.boot()
    digest = train_on(a.root)
    assert a.catch_up(1)
    train_on(b.root, rows=33)
    with pytest.raises(FencedError):
        b.catch_up(1)
    assert_restores(tmp_path, store, digest)


def test_a_folder_that_was_rolled_back_stops_nobody(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    old = a.clone(tmp_path / "old")
    digest = train_on(a.root, 2)
    assert a.catch_up(1)
    train_on(old.root, 3, rows=33)
    with pytest.raises(DivergedError, match="restore"):
        old.catch_up(1)
    assert store.keys("epochs/") == [Layout(RUN).epoch(1)], "nobody was fenced"
    assert_whole(old)
    assert_restores(tmp_path, store, digest)
    digest = train_on(a.root)
    assert a.catch_up(1)
    assert_restores(tmp_path, store, digest)


def test_of_a_folder_and_its_copy_one_goes_on(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    c = a.clone(tmp_path / "c")
    digest = train_on(c.root, rows=33)
    assert c.catch_up(1)
    train_on(a.root)
    with pytest.raises(FencedError):
        a.catch_up(1)
    assert_restores(tmp_path, store, digest)


@pytest.mark.parametrize("lead", [1, 3])
def test_of_a_process_and_its_copy_one_goes_on(
    tmp_path: Path, store: MemoryStore, a: Machine, lead: int
) -> None:
    """A virtual machine that is copied while it runs: the same epoch, the same everything."""
    c = a.clone(tmp_path / "c")
    assert a.session is not None
    same = {id(store): store, id(a.paths): c.paths, id(a.session._run): KnownCommits(c.paths)}
    c.session = copy.deepcopy(a.session, same)  # type: ignore[arg-type]
    for _ in range(lead):
        digest = train_on(a.root)
        assert a.catch_up(1)
        a.collect()
    train_on(c.root, rows=33)
    with pytest.raises(DivergedError, match="another writer has put commit 1/3"):
        c.catch_up(1)
    assert_restores(tmp_path, store, digest)


def test_an_old_folder_without_any_memory_of_its_replica_goes_on(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    shutil.rmtree(a.paths.replica)
    digest = train_on(a.root)
    a.boot()
    assert a.catch_up(1)
    assert_restores(tmp_path, store, digest)


def test_another_run_of_the_same_name_is_left_alone(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    digest = digest_at(a.root)
    other = Machine(tmp_path / "other", store)
    train_on(other.root, rows=33)
    with pytest.raises(DivergedError):
        other.catch_up(1)
    assert_restores(tmp_path, store, digest)


def test_a_new_run_does_not_begin_where_a_replica_is(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    with pytest.raises(DivergedError):
        Machine(tmp_path / "empty", store).catch_up(1)


def test_what_was_acknowledged_and_removed_here_is_remembered(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    """After an outage that is longer than local retention."""
    store.is_down = True
    digest = train_on(a.root, 5)
    assert not a.catch_up(1)
    assert all(s.commit.global_step > 2 for s in list_commits(a.paths).commits)
    a.boot()
    store.is_down = False
    assert a.catch_up(1)
    assert a.acknowledged_step == 7
    assert_restores(tmp_path, store, digest)


def test_what_was_put_when_the_process_ended_is_known_to_the_next(
    tmp_path: Path, store: MemoryStore, a: Machine
) -> None:
    """It was never acknowledged to the run, which has removed the commit since."""

    def end(what: str) -> None:
        if what.startswith("get tiny/epochs/000002"):
            raise KeyboardInterrupt

    train_on(a.root)
    store.before_each = end
    with pytest.raises(KeyboardInterrupt):
        a.catch_up(1)
    store.before_each = lambda what: None
    digest = train_on(a.root, 5)
    a.boot()
    assert a.catch_up(1)
    assert_restores(tmp_path, store, digest)
