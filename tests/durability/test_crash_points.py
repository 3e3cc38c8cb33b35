"""Cut the power after every single change of the disk: the old state or the new one, never less.

Scenarios of saves are recorded; for every prefix of the record, every disk that the cut could have
left (or a sample, where there are too many) is built and loaded.
"""

from __future__ import annotations

import errno
import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data import state_digest
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.newest import noted_newest
from alphatriangle.data.elsewhere.mlflow_uploads import read_log, uploaded_files
from alphatriangle.data.errors import CheckpointNotFoundError, RunNotFoundError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import RunInfo
from alphatriangle.data.runs.archive import restore_run, write_archive
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.schemas import LoadedTrainingState
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk
from tests.conftest import tiny_config
from tests.data.helpers import (
    AnyTraining,
    Training,
    assert_same_replay,
    check_sound,
    over_all_kinds,
    started,
)
from tests.durability.budget import budget, report
from tests.durability.crash_disk import (
    Log,
    RecordingDisk,
    Tree,
    Volume,
    read_tree,
    recording,
    write_tree,
)

CONTINUED_EVERY = budget(40, 10)


def digest_of(state: LoadedTrainingState) -> str:
    assert state.checkpoint_data is not None
    return state_digest(state.checkpoint_data, state.buffer_data)


class Scenario:
    """A training whose every save is known: which states may be found, and from when on."""

    def __init__(self, config: Config, log: Log, kind: type[AnyTraining] = Training) -> None:
        self.config = config
        self.log = log
        self.digests: dict[int, str] = {}
        self.training = started(config, kind)
        self.training.manager.write_run_info(
            RunInfo(run_name="tiny", created_at="", target_steps=99, steps_per_round=99)
        )
        self.training.manager.save_run_config({"train": {"seed": 0}})

    def save(self, rows: int = 40, *, same_step: bool = False, best: bool = False) -> None:
        if same_step:
            # Another state, or writing it over the first would go unnoticed.
            self.training.counter.value += 1000
        else:
            self.training.advance(rows)
        self.log.mark(("started", len(self.digests) + 1))
        self.training.save(is_best=best)
        assert self.training.manager.flush() is not None
        state = load_for_reading(self.config.persistence, "tiny")
        assert state.commit is not None
        self.digests[state.commit.sequence] = digest_of(state)
        self.log.mark(("acknowledged", state.commit.sequence))


def first_saves(s: Scenario) -> None:
    s.save()
    s.save(best=True)


def the_same_step_twice(s: Scenario) -> None:
    s.save()
    s.save(same_step=True)
    s.save(same_step=True)


def retention(s: Scenario) -> None:
    for _ in range(5):
        s.save()


def a_step_again_whose_commit_is_gone(s: Scenario) -> None:
    """The names of the commits come to be those that they have been, with another newest."""
    s.save()
    s.save()
    s.save()
    paths = s.training.manager.paths
    fs.remove(paths.commit(1))
    disk.sync_folder(paths.commits)
    s.training.step = 0
    s.save()


def merging(s: Scenario) -> None:
    for _ in range(8):
        s.save(rows=20)


SCENARIOS: dict[str, tuple[Callable[[Scenario], None], int]] = {
    "first saves": (first_saves, 5),
    "the same step twice": (the_same_step_twice, 5),
    "retention": (retention, 2),
    "a step again whose commit is gone": (a_step_again_whose_commit_is_gone, 5),
    "merging": (merging, 3),
}


def crash_states(log: Log, known: Callable[[object], None], share: float = 1.0) -> Iterator[Tree]:
    """Every distinct disk, with the marks before it told to ``known`` first."""
    volume = Volume(log.base)
    rng = random.Random(1)
    seen: set[bytes] = set()
    states_per_point = budget(6, 200, share)
    for op in [None, *log.ops]:
        if op is not None and op.kind == "mark":
            # What was acknowledged must be found from here on, also on a disk seen before.
            known(op.mark)
            seen.clear()
        elif op is not None:
            volume.apply(op)
        for tree in volume.crashes(states_per_point, rng):
            key = hashlib.sha256(repr(sorted(tree.items())).encode()).digest()
            if key not in seen:
                seen.add(key)
                yield tree


def config_in(root: Path) -> Config:
    return tiny_config(persistence={"root_data_dir": str(root)})


def test_the_model_of_the_disk_is_the_disk(tmp_path: Path) -> None:
    """With everything durable, what the model holds is what is there."""
    (tmp_path / "data").mkdir()
    with recording(tmp_path / "data") as log:
        scenario = Scenario(tiny_config(tmp_path, persistence={"keep_last": 2}), log)
        retention(scenario)
        merging(scenario)
        scenario.training.manager.close()
    volume = Volume(log.base)
    for op in log.ops:
        volume.apply(op)
    for folder in volume.folders.values():
        folder.durable, folder.pending = dict(folder.current), []
    (whole,) = volume.crashes(1, random.Random(0))
    assert whole == read_tree(tmp_path / "data")


@over_all_kinds
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_crash_point_of_saving(tmp_path: Path, name: str, kind: type[AnyTraining]) -> None:
    work, keep_last = SCENARIOS[name]
    (tmp_path / "data").mkdir()
    with recording(tmp_path / "data") as log:
        config = tiny_config(tmp_path, persistence={"keep_last": keep_last})
        scenario = Scenario(config, log, kind)
        work(scenario)
        scenario.training.manager.close()
    assert len(scenario.digests) >= 2
    oldest = newest = tried = 0

    def known(mark: object) -> None:
        nonlocal oldest, newest
        match mark:
            case ("started", int(sequence)):
                newest = sequence
            case ("acknowledged", int(sequence)):
                oldest = sequence

    root = tmp_path / "crashed"
    for tree in crash_states(log, known, kind.share):
        tried += 1
        root.mkdir()
        write_tree(root, tree)
        config = config_in(root)
        try:
            state = load_for_reading(config.persistence, "tiny")
        except (CheckpointNotFoundError, RunNotFoundError):
            assert oldest == 0, f"save {oldest} was acknowledged and is gone"
        else:
            assert state.commit is not None
            found = state.commit.sequence
            assert oldest <= found <= newest
            assert digest_of(state) == scenario.digests[found], "a mixture"
            paths = PathManager(config.persistence, "tiny")
            commits = list_commits(paths).commits
            for stored in commits:
                check_sound(root / "runs/tiny", stored)  # older ones are whole as well
            assert noted_newest(paths) in (None, commits[0])
        if tried % CONTINUED_EVERY == 0:
            _go_on(config, oldest, kind)
        shutil.rmtree(root)
    assert tried > 50
    report(f"crash points: {name}, {kind.kind}", states=tried, lost=0)


def _go_on(config: Config, oldest: int, kind: type[AnyTraining]) -> None:
    """A start after the crash loads, cleans up, and saves again."""
    training = kind(config)
    state = training.manager.load_initial_state()
    assert (0 if state.commit is None else state.commit.sequence) >= oldest
    if state.buffer_data is not None and oldest % 2:
        training.restore(state)
    training.step = 50
    training.commit()
    paths = training.manager.paths
    training.manager.close()
    named = {f.path for s in list_commits(paths).commits for f in s.commit.files}
    # Beside what the commits name there may be files that were merged for the next commit.
    for folder in (paths.checkpoints, paths.buffers, paths.episodes):
        files = [p for p in folder.iterdir() if p.is_file() and not p.is_symlink()]
        left = {paths.relative(p) for p in files} - named
        assert all(path.startswith("episodes/episodes_to_step_") for path in left)
        assert len(left) <= 1
    again = load_for_reading(config.persistence, "tiny")
    assert again.commit is not None
    assert again.commit.global_step == 51
    assert_same_replay(again, training.buffer)


def _write(root: Path) -> None:
    fs.write_bytes(root / "file", b"content")


def _overwrite(root: Path) -> None:
    fs.write_bytes(root / "old", b"content")


def _append(root: Path) -> None:
    fs.append_line(root / "log", "first")
    fs.append_line(root / "log", "second")


def _link(root: Path) -> None:
    fs.point_link(root / "link", root / "other")


def _share(root: Path) -> None:
    fs.share(root / "old", root / "file")
    disk.sync_folder(root)


def _folders(root: Path) -> None:
    fs.make_folder(root / "a" / "b" / "c")


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
@pytest.mark.parametrize("work", [_write, _overwrite, _append, _link, _share, _folders])
def test_what_has_returned_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Path], None], links: bool
) -> None:
    """Each way of changing the disk, also where the file system has no links."""
    for name in ("old", "other"):
        (tmp_path / name).write_bytes(b"old content")
    (tmp_path / "link").symlink_to("old")

    def refuse(self: object, *names: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not links:
        monkeypatch.setattr(RecordingDisk, "symbolic_link", refuse)
        monkeypatch.setattr(RecordingDisk, "hard_link", refuse)
    with recording(tmp_path) as log:
        work(tmp_path)
    volume = Volume(log.base)
    states: list[list[Tree]] = []
    for op in log.ops:
        volume.apply(op)
        states.append(list(volume.crashes(50, random.Random(0))))
    assert states[-1] == [read_tree(tmp_path)], "nothing is left to chance"
    for tree in [tree for point in states for tree in point]:
        assert tree["old"] in (b"old content", b"content"), "the old or the new, in every state"
        assert tree["link"] in ("old", "other", b"old content"), "it always leads somewhere"


def _fork(config: PersistenceConfig, archive: Path, name: str) -> None:
    fork_run(config, "tiny", name)


def _restore(config: PersistenceConfig, archive: Path, name: str) -> None:
    restore_run(config, archive, name)


@over_all_kinds
@pytest.mark.parametrize("make", [_fork, _restore], ids=["fork", "restore"])
def test_every_crash_point_of_a_new_run(
    tmp_path: Path,
    make: Callable[[PersistenceConfig, Path, str], None],
    kind: type[AnyTraining],
) -> None:
    """Made of another run, or of an archive of it: it is there, whole, or it is not."""
    config = tiny_config(tmp_path)
    training = started(config, kind)
    training.commit()
    training.commit()
    training.manager.close()
    expected = digest_of(load_for_reading(config.persistence, "tiny"))
    archive = tmp_path / "tiny.tar"
    paths = training.manager.paths
    write_archive(paths, list_commits(paths).commits[0].commit, archive)
    with recording(tmp_path / "data") as log:
        make(config.persistence, archive, "new")
        log.mark("acknowledged")
    acknowledged = False

    def known(mark: object) -> None:
        nonlocal acknowledged
        acknowledged = True

    root = tmp_path / "crashed"
    tried = found = 0
    for tree in crash_states(log, known, kind.share):
        tried += 1
        root.mkdir()
        write_tree(root, tree)
        crashed = config_in(root).persistence
        assert digest_of(load_for_reading(crashed, "tiny")) == expected, "the source is untouched"
        try:
            assert digest_of(load_for_reading(crashed, "new")) == expected
            found += 1
        except (CheckpointNotFoundError, RunNotFoundError):
            assert not acknowledged
            make(crashed, archive, "new")
            assert digest_of(load_for_reading(crashed, "new")) == expected
        shutil.rmtree(root)
    assert found > 0
    report(f"crash points: {make.__name__.strip('_')}, {kind.kind}", states=tried, lost=0)


def test_every_crash_point_of_uploading(tmp_path: Path) -> None:
    """What the log of uploads says has been uploaded; what was acknowledged is never forgotten."""
    config = tiny_config(tmp_path, persistence={"mlflow": True})
    training = started(config)
    manager = training.manager
    manager.write_run_info(
        RunInfo(run_name="tiny", created_at="", target_steps=99, steps_per_round=99)
    )
    manager.start_mlflow()
    uploads = manager._mlflow
    assert uploads is not None
    assert uploads.drain(60)
    with recording(tmp_path / "data") as log:
        for _ in range(2):
            training.commit()
            assert uploads.drain(60)
            log.mark(uploaded_files(manager.paths.uploads))
    manager.close()
    everything = uploaded_files(manager.paths.uploads)
    assert len(everything) >= 6
    artifacts_folder = Path(str(read_log(manager.paths.uploads).artifacts)).relative_to(
        tmp_path / "data"
    )
    acknowledged: dict[str, str] = {}

    def known(mark: object) -> None:
        assert isinstance(mark, dict)
        acknowledged.update(mark)

    root = tmp_path / "crashed"
    tried = 0
    for tree in crash_states(log, known):
        tried += 1
        root.mkdir()
        write_tree(root, tree)
        file = root / "runs" / "tiny" / "mlflow_uploads.jsonl"
        done = uploaded_files(file)
        assert acknowledged.items() <= done.items() <= everything.items()
        artifacts = root / artifacts_folder
        for path, sha256 in done.items():
            assert fs.digest_of(artifacts / path).sha256 == sha256, "what is written down is there"
        if file.parent.exists():
            # The next start adds to it, also where the last line is torn.
            fs.append_line(file, json.dumps({"path": "next", "sha256": "0"}))
            assert uploaded_files(file) == {**done, "next": "0"}
        shutil.rmtree(root)
    report("crash points: uploading", states=tried, lost=0)
