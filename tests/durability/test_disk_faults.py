"""The disk says no at every operation: the run goes on, keeps what it had, and saves again."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from alphatriangle.config import Config
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import (
    DataError,
    DataFolderError,
    FileUnavailableError,
    SaveFailedError,
)
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import RunInfo
from alphatriangle.data.runs.archive import restore_run, write_archive
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.storage.disk import disk
from tests.conftest import tiny_config
from tests.data.helpers import AnyTraining, assert_same_replay, over_all_kinds, started
from tests.durability.budget import places, places_below, report
from tests.durability.faulty_disk import Fault, failing, unreadable
from tests.durability.test_crash_points import digest_of

ERRORS = {
    "disk full": errno.ENOSPC,
    "quota": errno.EDQUOT,
    "i/o error": errno.EIO,
    "too many open files": errno.EMFILE,
    "read-only": errno.EROFS,
    "interrupted": errno.EINTR,
}


class Run:
    """A training in a folder of its own, saved a few times, retention and merging at work."""

    def __init__(self, folder: Path, kind: type[AnyTraining]) -> None:
        self.config = tiny_config(folder, persistence={"keep_last": 2})
        self.training = started(self.config, kind)
        for _ in range(4):
            self.training.commit(rows=20)

    def found(self) -> tuple[int, str]:
        state = load_for_reading(self.config.persistence, "tiny")
        assert state.commit is not None
        assert not state.rejected, "a save that failed leaves no commit that is not whole"
        return state.commit.global_step, digest_of(state)

    def end(self) -> None:
        self.training.manager.close()


def save_with(run: Run, fault: Fault) -> bool:
    """One save while the disk fails so; whether it is said to have worked."""
    run.training.advance(20)
    with failing(fault):
        run.training.save()
        try:
            return run.training.manager.flush() is not None
        except SaveFailedError:
            return False


def operations(tmp_path: Path, kind: type[AnyTraining]) -> int:
    run = Run(tmp_path / "count", kind)
    fault = Fault(-1, 0)
    assert save_with(run, fault)
    run.end()
    return fault.count


# The operating system's EINTR is retried by Python itself: for ever, if it lasts.
@over_all_kinds
@pytest.mark.parametrize(
    ("name", "lasting"),
    [(name, False) for name in ERRORS] + [(name, True) for name in ERRORS if name != "interrupted"],
)
def test_an_error_at_every_operation_of_a_save(
    tmp_path: Path, name: str, lasting: bool, kind: type[AnyTraining]
) -> None:
    count = operations(tmp_path, kind)
    assert count > 50
    # One error after the other in the same run: nothing of a failed save may hinder the next.
    run = Run(tmp_path / "run", kind)
    thorough = name in ("disk full", "i/o error") and not lasting
    failed = tried = 0
    before = run.found()
    for at in places_below(count, 1 if thorough else 7, kind.share):
        fault = Fault(at, ERRORS[name], lasting=lasting)
        saved = save_with(run, fault)
        tried += 1
        found = run.found()
        if saved:
            assert found[0] == run.training.step
        else:
            failed += 1
            assert fault.struck
            # Where the disk takes nothing back either, what is there all the same is whole.
            assert found == before or (lasting and found[0] == run.training.step)
        run.training.commit(rows=20)
        before = run.found()
        assert before[0] == run.training.step, "saves again when it can"
    state = load_for_reading(run.config.persistence, "tiny")
    assert_same_replay(state, run.training.buffer)
    run.end()
    assert failed > tried / 3
    report(f"faults: {name}, {kind.kind}", faults=tried, failed_saves=failed, lost=0)


@over_all_kinds
def test_short_writes_are_completed(tmp_path: Path, kind: type[AnyTraining]) -> None:
    count = operations(tmp_path, kind)
    run = Run(tmp_path / "run", kind)
    struck = 0
    for at in places_below(count, 1, kind.share):
        fault = Fault(at, 0, short=True)
        assert save_with(run, fault)
        struck += fault.struck
        assert run.found()[0] == run.training.step
    run.end()
    assert struck > 10 * kind.share
    report(f"faults: short writes, {kind.kind}", faults=struck, lost=0)


@over_all_kinds
def test_a_disk_that_lies_is_caught_before_anything_older_goes(
    tmp_path: Path, kind: type[AnyTraining]
) -> None:
    """What was written is read back: a save of other bytes than meant is a failed save."""
    count = operations(tmp_path, kind)
    run = Run(tmp_path / "run", kind)
    tried = caught = 0
    for at in places_below(count, 1, kind.share):
        before = run.found()
        saved = save_with(run, Fault(at, 0, lying=True))
        assert run.found()[0] == (run.training.step if saved else before[0])
        # A lie in what was merged for the next save comes to light with that one.
        run.training.advance(20)
        run.training.save()
        try:
            run.training.manager.flush()
        except SaveFailedError:
            assert saved
            saved = False
        tried += 1
        caught += not saved
        assert saved or run.found()[0] >= before[0]
        run.training.commit(rows=20)
        assert run.found()[0] == run.training.step, "and the next save is sound"
    state = load_for_reading(run.config.persistence, "tiny")
    assert_same_replay(state, run.training.buffer)
    run.end()
    assert caught > 5 * kind.share
    report(f"faults: lies, {kind.kind}", faults=tried, caught=caught, lost=0)


@over_all_kinds
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EMFILE, errno.EIO])
def test_an_error_at_every_operation_of_a_start(
    tmp_path: Path, error: int, kind: type[AnyTraining]
) -> None:
    """A start that fails says so as one of ours and damages nothing; the next one works."""
    run = Run(tmp_path / "run", kind)
    run.end()
    before = run.found()
    at = started_anyway = 0
    while True:
        fault = Fault(at, error)
        training = kind(run.config)
        with failing(fault):
            try:
                state = training.manager.load_initial_state()
                assert state.commit is not None
                # Only a medium that fails makes a start pass over the newest commit, and say so.
                is_newest = state.commit.global_step == before[0]
                assert is_newest or (error == errno.EIO and state.rejected)
                started_anyway += 1
            except DataError:
                pass
        training.manager.close()
        if not fault.struck:
            break
        assert run.found() == before
        at += 1
    assert at > 5
    assert started_anyway > 0
    report(f"faults: start, {kind.kind}", faults=at, lost=0)


@over_all_kinds
def test_a_file_that_cannot_be_read_now_stops_the_start(
    tmp_path: Path, kind: type[AnyTraining]
) -> None:
    """However often it is asked for: it may be the newest, and is not taken for damaged."""
    run = Run(tmp_path / "run", kind)
    run.end()
    before = run.found()
    state = load_for_reading(run.config.persistence, "tiny")
    assert state.commit is not None
    assert state.source is not None
    needed = [f for f in state.commit.files if f.kind != "episodes"]
    folder = PathManager(run.config.persistence, "tiny").run
    for path in [Path(state.source), *(folder / f.path for f in needed)]:
        training = kind(run.config)
        with unreadable(path, errno.EMFILE), pytest.raises(FileUnavailableError, match=path.name):
            training.manager.load_initial_state()
        training.manager.close()
        assert run.found() == before
    report(f"faults: files out of reach, {kind.kind}", faults=1 + len(needed), lost=0)


@over_all_kinds
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EMLINK])
@pytest.mark.parametrize("work", ["fork", "restore"])
def test_an_error_at_every_operation_of_a_new_run(
    tmp_path: Path, error: int, work: str, kind: type[AnyTraining]
) -> None:
    run = Run(tmp_path / "run", kind)
    run.end()
    before = run.found()
    archive = tmp_path / "tiny.tar"
    paths = PathManager(run.config.persistence, "tiny")
    write_archive(paths, list_commits(paths).commits[0].commit, archive)
    tried = 0
    for at in places(1, kind.share):
        fault = Fault(at, error)
        with failing(fault):
            try:
                if work == "fork":
                    fork_run(run.config.persistence, "tiny", "new")
                else:
                    restore_run(run.config.persistence, archive, "new")
                state = load_for_reading(run.config.persistence, "new")
                assert digest_of(state) == before[1], "also where it had to copy"
            except DataError:
                pass
        assert run.found() == before
        shutil.rmtree(run.config.persistence.root_data_dir / "runs" / "new", ignore_errors=True)
        if not fault.struck:
            break
        tried += 1
    assert tried > 20 * kind.share
    report(f"faults: {work}, {kind.kind}", faults=tried, lost=0)


def test_a_file_system_that_cannot_sync_folders_is_noted_and_trained_on(
    config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """CIFS and others answer EINVAL; whatever else goes wrong with a folder is an error."""
    answer = errno.EINVAL
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(answer, os.strerror(answer))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(disk, "_without_folder_sync", set())
    training = started(config)
    training.commit()
    training.commit()
    info = RunInfo(run_name="tiny", created_at="", target_steps=1, steps_per_round=1)
    training.manager.write_run_info(info)
    assert training.manager.run_info is not None
    assert not training.manager.run_info.syncs_folders
    assert sum("does not sync folders" in r.message for r in caplog.records) == 1
    answer = errno.EIO
    with pytest.raises(SaveFailedError, match="could not be saved"):
        training.commit()
    training.manager.close()
    other = tiny_config(config.persistence.root_data_dir / "other")
    with pytest.raises(DataFolderError, match=r"cannot make .*other"):
        started(other)
