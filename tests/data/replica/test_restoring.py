"""A restore takes every byte as it was put, or says what is wrong."""

from __future__ import annotations

import errno
import hashlib
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.errors import (
    CommitNotFoundError,
    DataFolderError,
    ExportError,
    ReplicaNotFoundError,
    ReplicaUnavailableError,
    RunExistsError,
    SaveFailedError,
)
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.replica.layout import Layout
from alphatriangle.data.replica.restoring import restore_weights
from alphatriangle.data.runs.summary import read_run_info
from alphatriangle.data.serializer import Serializer
from tests.data.replica.helpers import (
    RUN,
    Machine,
    Recorded,
    config_of,
    digest_at,
    record,
    restored,
)
from tests.data.stores.memory_store import Entry, MemoryStore, flipped
from tests.durability.budget import budget, places
from tests.durability.crash_disk import Volume, recording, write_tree
from tests.durability.faulty_disk import Fault, failing

COMMITS = 4


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("recorded"), COMMITS)


@pytest.fixture(scope="module")
def full(recorded: Recorded, tmp_path_factory: pytest.TempPathFactory) -> MemoryStore:
    store = MemoryStore()
    machine = Machine(tmp_path_factory.mktemp("machine"), store, keep_last=3)
    machine.lay_out(recorded)
    for index in range(COMMITS):
        machine.appear(recorded, index)
        assert machine.catch_up(1)
    return store


@pytest.fixture
def store(full: MemoryStore) -> MemoryStore:
    return full.copy()


def test_a_restore_that_is_cut_off_goes_on(
    tmp_path: Path, store: MemoryStore, recorded: Recorded
) -> None:
    paths = PathManager(config_of(tmp_path), RUN)
    downloads: list[str] = []

    def stop(what: str) -> None:
        downloads.extend([what] if what.startswith("download") else [])
        store.is_down = len(downloads) > 3

    store.before_each = stop
    with pytest.raises(ReplicaUnavailableError, match="nothing older was taken in its place"):
        restored(tmp_path, store)
    known = list_commits(paths)
    assert known.commits == known.unreadable == []
    before = {path.name for path in paths.run.rglob("*.arrow")}
    assert before
    store.before_each, store.is_down = lambda what: None, False
    downloads.clear()
    store.before_each = lambda what: downloads.extend([what] if "download" in what else [])
    found = restored(tmp_path, store)
    assert found.rejected == []
    assert len(downloads) == len(found.commit.files) - 3, "what was there has not come again"
    assert digest_at(tmp_path) == recorded.digests[COMMITS]


@pytest.mark.parametrize("kind", ["download", "get"])
def test_one_bad_read_is_asked_again(
    tmp_path: Path, store: MemoryStore, recorded: Recorded, kind: str
) -> None:
    """Each key reads damaged the first time."""
    seen: dict[str, Entry] = {}

    def damage(what: str) -> None:
        verb, key = what.split(" ", 1)
        for other, entry in seen.items():
            store.objects[other] = entry
        if verb == kind and key in store.objects and key not in seen:
            seen[key] = store.objects[key]
            store.objects[key] = Entry(flipped(seen[key].content), 0)

    # One after the other: what is damaged now is mended by the next operation.
    store.before_each = damage
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alphatriangle.data.replica.fetching._AT_A_TIME", 1)
        found = restored(tmp_path, store)
    assert seen
    assert found.rejected == found.damaged == []
    assert digest_at(tmp_path) == recorded.digests[COMMITS]


def test_one_step_of_those_that_are_kept(
    tmp_path: Path, store: MemoryStore, recorded: Recorded
) -> None:
    found = restored(tmp_path / "a", store, step=3)
    assert found.commit.global_step == 3
    assert digest_at(tmp_path / "a") == recorded.digests[3]
    with pytest.raises(CommitNotFoundError, match="its commits are of steps: 4, 3, 2"):
        restored(tmp_path / "b", store, step=9)


def test_a_restore_under_another_name_is_a_run_of_its_own(
    tmp_path: Path, store: MemoryStore, recorded: Recorded
) -> None:
    restored(tmp_path, store, new_name="other")
    assert digest_at(tmp_path, "other") == recorded.digests[COMMITS]
    info = read_run_info(PathManager(config_of(tmp_path), "other"))
    assert info is not None
    assert info.started_from == f"{RUN} at step {COMMITS}"
    machine = Machine(tmp_path, store)
    machine.paths = PathManager(machine.config, "other")
    assert machine.catch_up(1)
    assert store.keys("other/epochs/") == ["other/epochs/000001.json"]


def test_weights_alone(tmp_path: Path, store: MemoryStore, recorded: Recorded) -> None:
    """Only the checkpoint is asked for; one that is damaged is passed over, and reported."""
    path = tmp_path / "weights.safetensors"
    found = restore_weights(config_of(tmp_path), store, RUN, path, pause=lambda _: None)
    assert (found.path, found.step, found.rejected) == (path, COMMITS, [])
    checkpoint = recorded.folder / f"checkpoints/checkpoint_step_{COMMITS}.pkl"
    saved = Serializer().load_checkpoint(checkpoint).model_state_dict
    loaded = load_file(path)
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]
    with pytest.raises(ExportError):
        restore_weights(config_of(tmp_path), store, RUN, path)
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    key = next(k for k in store.keys("/objects/") if k.endswith(sha256))
    store.objects[key] = Entry(flipped(store.objects[key].content), 0)
    path.unlink()
    found = restore_weights(config_of(tmp_path), store, RUN, path, pause=lambda _: None)
    assert found.step == COMMITS - 1
    assert len(found.rejected) == 1


def test_nothing_that_is_here_is_overwritten(tmp_path: Path, store: MemoryStore) -> None:
    restored(tmp_path, store)
    with pytest.raises(RunExistsError):
        restored(tmp_path, store)


def test_what_is_not_there_or_out_of_reach_is_an_error(
    tmp_path: Path, store: MemoryStore, recorded: Recorded
) -> None:
    with pytest.raises(ReplicaNotFoundError, match="there is no replica of run 'tiny'"):
        restored(tmp_path, MemoryStore())
    store.is_down = True
    with pytest.raises(ReplicaUnavailableError, match="the store is down"):
        restored(tmp_path, store)
    assert not (tmp_path / "runs").exists()


def test_recorded_games_and_settings_may_be_lost(
    tmp_path: Path, store: MemoryStore, recorded: Recorded
) -> None:
    commit = restored(tmp_path / "a", store).commit
    games = {file.sha256 for file in commit.of_kind("episodes")}
    lost = [key for key in store.keys("/objects/") if key.rpartition("/")[2] in games]
    settings = (recorded.folder / "configs.json").stat().st_size
    lost += [key for key, entry in store.objects.items() if len(entry.content) == settings]
    assert len(lost) == len(games) + 1
    for key in lost:
        del store.objects[key]
    found = restored(tmp_path / "b", store)
    assert found.rejected == []
    assert len(found.damaged) == len(lost)
    assert digest_at(tmp_path / "b") == recorded.digests[COMMITS]


def test_a_hint_that_leads_nowhere_is_no_harm(
    tmp_path: Path, store: MemoryStore, recorded: Recorded
) -> None:
    head = Layout(RUN).head
    for number, content in enumerate((b"", b"{}", b"\xff" * 1_000_000)):
        store.objects[head] = Entry(content, 0)
        assert restored(tmp_path / str(number), store).commit.global_step == COMMITS


def test_whatever_a_power_cut_leaves_of_a_restore_is_whole_or_goes_on(
    tmp_path: Path, store: MemoryStore, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alphatriangle.data.replica.fetching._AT_A_TIME", 1)
    (tmp_path / "here").mkdir()
    with recording(tmp_path / "here") as log:
        restored(tmp_path / "here", store)
    rng, whole, begun = random.Random(5), 0, 0
    volume = Volume(log.base)
    for number, op in enumerate(log.ops):
        volume.apply(op)
        # The last moments are those of the commit.
        if rng.random() > budget(8, 100) / 100 and number < len(log.ops) - 8:
            continue
        for cut, tree in enumerate(volume.crashes(2, rng)):
            root = tmp_path / f"{number}-{cut}"
            root.mkdir()
            write_tree(root, tree)
            known = list_commits(PathManager(config_of(root), RUN))
            assert not known.unreadable
            if known.commits:
                whole += 1
            else:
                begun += 1
                assert restored(root, store).rejected == []
            assert digest_at(root) == recorded.digests[COMMITS]
            shutil.rmtree(root)
    assert whole
    assert begun


def test_a_disk_that_says_no_leaves_no_commit(
    tmp_path: Path, store: MemoryStore, recorded: Recorded
) -> None:
    """The store is not to blame: nothing older is taken, and the next try goes on."""
    stopped = 0
    for at in places(6):
        root = tmp_path / str(at)
        root.mkdir()
        with failing(Fault(at, errno.ENOSPC)) as fault:
            try:
                found = restored(root, store)
            except (DataFolderError, SaveFailedError) as e:
                assert "No space left" in str(e)  # noqa: PT017
                stopped += 1
            else:
                assert found.commit.global_step == COMMITS
        if not fault.struck:
            break
        if not list_commits(PathManager(config_of(root), RUN)).commits:
            restored(root, store)
        assert digest_at(root) == recorded.digests[COMMITS]
        shutil.rmtree(root)
    assert stopped
