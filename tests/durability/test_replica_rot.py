"""Every object of a replica flipped, cut or deleted in turn: an older sound commit, or a stop."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import DataError, NoSoundCommitError
from tests.data.replica.helpers import RUN, Machine, config_of, digest_at, restored, train_on
from tests.data.stores.memory_store import Entry, MemoryStore, flipped
from tests.durability.budget import places_below, report
from tests.durability.test_crash_points import digest_of

Damage = Callable[[MemoryStore, str], None]


def delete(store: MemoryStore, key: str) -> None:
    del store.objects[key]


def flip(store: MemoryStore, key: str) -> None:
    _change(store, key, flipped)


def cut(store: MemoryStore, key: str) -> None:
    _change(store, key, lambda content: content[: len(content) // 3])


def lengthen(store: MemoryStore, key: str) -> None:
    _change(store, key, lambda content: content + content)


def nonsense(store: MemoryStore, key: str) -> None:
    _change(store, key, lambda content: b'{"format_version": 1, "epoch": {}, "holds": [[1e400]]}')


def _change(store: MemoryStore, key: str, change: Callable[[bytes], bytes]) -> None:
    entry = store.objects[key]
    store.objects[key] = Entry(change(entry.content), entry.modified_ns)


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, dict[int, str]]:
    """Two machines, each with several commits, and garbage that has gone."""
    folder = tmp_path_factory.mktemp("life")
    store = MemoryStore()
    digests = {}
    machine = Machine(folder / "a", store, keep_last=3)
    for step in range(1, 6):
        digests[step] = train_on(machine.root)
        assert machine.catch_up(1)
        if step == 2:
            restored(folder / "b", store)
            machine = Machine(folder / "b", store, keep_last=3)
            assert machine.catch_up(1)
        assert machine.session is not None
        machine.collect()
    return machine, digests


@pytest.mark.parametrize("damage", [delete, flip, cut, lengthen, nonsense])
def test_every_object_damaged_in_turn(
    tmp_path: Path, life: tuple[Machine, dict[int, str]], damage: Damage
) -> None:
    logging.disable(logging.WARNING)
    machine, digests = life
    assert isinstance(machine.store, MemoryStore)
    outcomes = {"newest": 0, "older": 0, "stop": 0}
    keys = machine.store.keys()
    chosen = set(places_below(len(keys), 6))
    for number, key in enumerate(keys):
        store = machine.store.copy()
        damage(store, key)
        root = tmp_path / str(number)
        try:
            found = restored(root, store)
        except DataError as e:
            assert key.rpartition("/")[2] in str(e)  # noqa: PT017
            outcomes["stop"] += 1
            continue
        step = found.commit.global_step
        assert digest_of_sound(root) == digests[step]
        if step == 5:
            assert found.rejected == []
            outcomes["newest"] += 1
        else:
            assert any(key in r.path or key in r.reason for r in found.rejected), key
            outcomes["older"] += 1
        # The run goes on, here and on the machine that it was restored to, and is replicated.
        if number in chosen:
            for there in (root, machine.root):
                goes_on(tmp_path / "goes-on", there, store.copy())
        shutil.rmtree(root)
    logging.disable(logging.NOTSET)
    assert outcomes["newest"]
    assert outcomes["older"]
    report(f"replica rot: {damage.__name__}", **outcomes)


def digest_of_sound(root: Path) -> str:
    return digest_of(load_for_reading(config_of(root), RUN))


def goes_on(folder: Path, root: Path, store: MemoryStore) -> None:
    """Where the newest stays damaged for it, a look through the replica finds it and mends it."""
    shutil.copytree(root, folder / "writer", symlinks=True)
    writer = Machine(folder / "writer", store, keep_last=3)
    digest = train_on(writer.root)
    assert writer.catch_up(1)
    try:
        is_sound = not restored(folder / "again", store).rejected
    except NoSoundCommitError:
        is_sound = False
    if not is_sound:
        assert writer.session is not None
        verified = writer.session.verify()
        assert verified.damaged
        assert writer.catch_up(1)
        shutil.rmtree(folder / "again", ignore_errors=True)
        assert restored(folder / "again", store).rejected == []
    assert digest_at(folder / "again") == digest
    shutil.rmtree(folder)
