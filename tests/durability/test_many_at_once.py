"""Readers, pruning and forking beside a real training process; clocks that jump; reused pids."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data import DataManager
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.pruning import carry_out_pruning, plan_pruning
from alphatriangle.data.errors import CheckpointNotFoundError, DataError, RunLockedError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.runs.inspection import check_files
from alphatriangle.data.runs.summary import summarize_run
from tests.conftest import tiny_config
from tests.data.helpers import Training, reload, started
from tests.durability.budget import budget, report
from tests.training.command import alphatriangle, show, start, train_arguments

LOOKS = budget(60, 1500)


def test_everything_beside_a_training_process(tmp_path: Path) -> None:
    """Load, verify, prune, fork and summarize as fast as can be, while every step is saved."""
    # Enough commits that a reader is not overtaken by all of them, however busy the machine is.
    frequent = ["--set", "persistence.save_freq_steps=1", "--set", "persistence.keep_last=8"]
    arguments = train_arguments(tmp_path, "--workers", "0", *frequent, steps=1_000_000)
    log = tmp_path / "output.txt"
    with log.open("w") as file:
        process = start(arguments, file)
    config = PersistenceConfig(root_data_dir=tmp_path)
    paths = PathManager(config, "r")
    try:
        # The first save ends with its links; from then on they always lead somewhere.
        while not paths.latest_buffer.exists():
            assert process.poll() is None, log.read_text()
        newest = 0
        for i in range(LOOKS):
            state = load_for_reading(config, "r")
            assert state.commit is not None
            assert state.commit.global_step >= newest, "a reader never sees time run backwards"
            newest = state.commit.global_step
            assert state.checkpoint_data is not None
            assert state.checkpoint_data.global_step == newest
            assert summarize_run(config, "r").state == "running"
            for link in (paths.latest_checkpoint, paths.latest_buffer):
                assert link.exists(), "a link always leads somewhere"
            match i % 3:
                case 0:
                    carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=5))
                case 1:
                    known = list_commits(paths)
                    there = {s.path for s in known.commits}
                    for check in check_files(paths, known):
                        gone = there - {s.path for s in list_commits(paths).commits}
                        assert check.problem is None or gone, check.problem
                case 2 if i % 15 == 2:
                    _fork(config, f"fork{i}")
        assert process.poll() is None, "the trainer goes on"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    output = log.read_text()
    assert process.returncode == 0, output
    assert "SAVE FAILED" not in output
    assert alphatriangle("runs", "verify", "r", "--data-dir", str(tmp_path)).returncode == 0
    assert show(tmp_path)["rejected_commits"] == []
    report("looks beside a trainer", looks=LOOKS, lost=0)


def _fork(config: PersistenceConfig, name: str) -> None:
    """A fork may lose the race with retention; then it says so and leaves nothing."""
    try:
        commit = fork_run(config, "r", name)
    except DataError:
        with pytest.raises(DataError):
            load_for_reading(config, name)
        return
    state = load_for_reading(config, name)
    assert state.commit is not None
    assert state.commit.global_step == commit.global_step


def test_of_two_trainers_one_is_refused_and_nothing_is_hurt(config: Config) -> None:
    first = started(config)
    first.commit()
    for _ in range(3):
        with pytest.raises(RunLockedError, match=f"process {os.getpid()}"):
            DataManager(config.persistence, config.train).load_initial_state()
    first.commit()
    first.manager.close()
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 2


def test_a_clock_that_jumps_back_decides_nothing(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits of a run follow their sequence, whatever the clock says."""
    training = started(config)
    training.commit()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() - 10**18)
    training.commit()
    training.manager.close()
    again = Training(config)
    state = again.manager.load_initial_state()
    assert state.commit is not None
    assert state.commit.global_step == 2
    again.step = 2
    again.commit()
    again.manager.close()
    state = reload(config)
    assert state.commit is not None
    assert (state.commit.global_step, state.commit.sequence) == (3, 3)


def test_a_lock_note_with_the_pid_of_another_process_is_only_a_note(config: Config) -> None:
    """The dead trainer's pid may be somebody else's by now; the lock itself is what counts."""
    training = started(config)
    training.commit()
    owner = training.manager.paths.run / ".lock-owner.json"
    note = owner.read_bytes()
    training.manager.close()
    owner.write_bytes(json.dumps({**json.loads(note), "pid": os.getppid()}).encode())
    state = reload(config)
    assert state.commit is not None


def test_a_run_without_a_commit_is_nothing_to_read(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    training = started(config)
    with pytest.raises(CheckpointNotFoundError, match="no commit yet"):
        load_for_reading(config.persistence, "tiny")
    training.manager.close()
