"""Looking after runs: pins, pruning, forks and exports."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file

from alphatriangle.config import Config
from alphatriangle.data import Serializer
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.commits.pruning import carry_out_pruning, find_commit, plan_pruning, set_pin
from alphatriangle.data.commits.retention import CommitFacts, sequences_to_delete
from alphatriangle.data.errors import (
    CommitNotFoundError,
    CorruptCheckpointError,
    CorruptConfigsError,
    CorruptPinsError,
    ExportError,
    RunExistsError,
    RunNotFoundError,
    SaveFailedError,
)
from alphatriangle.data.path_manager import PathManager, existing_run
from alphatriangle.data.runs.export import export_state
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.runs.inspection import check_files, describe_run
from alphatriangle.data.storage.fs import point_link
from alphatriangle.features import rows_from_experiences
from tests.conftest import tiny_config
from tests.data.helpers import Training, check_sound, flip_bit, reload, rows_of, started
from tests.features.test_encoder import assert_same_rows


def trained(config: Config, commits: int = 4) -> Training:
    training = started(config)
    for _ in range(commits):
        training.commit()
    return training


def steps(paths: PathManager) -> list[int]:
    return [s.commit.global_step for s in list_commits(paths).commits]


def test_pruning_leaves_the_files_that_an_unreadable_commit_may_name(config: Config) -> None:
    training = started(config)
    for _ in range(4):
        training.commit(rows=150)  # so that the first rows leave the ring
    paths = training.manager.paths
    stored = list_commits(paths).commits[2]
    content = stored.path.read_bytes()
    stored.path.write_bytes(content[:-9])
    carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=1))
    assert steps(paths) == [4]
    stored.path.write_bytes(content)
    check_sound(paths.run, stored)
    training.manager.close()


def test_what_the_links_lead_to_stays_until_they_move(config: Config) -> None:
    """Between a commit and its links, pruning beside the trainer must not leave them hanging."""
    training = trained(config, 2)
    paths = training.manager.paths
    training.manager.close()
    point_link(paths.latest_checkpoint, paths.checkpoint(1))
    carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=1))
    assert steps(paths) == [2, 1]
    point_link(paths.latest_checkpoint, paths.checkpoint(2))
    carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=1))
    assert steps(paths) == [2]


def test_a_verdict_that_comes_late_makes_an_older_commit_the_best(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, persistence={"keep_last": 1})
    training = started(config)
    training.commit(is_best=True)
    training.commit()
    paths = training.manager.paths
    training.manager.held = {2}
    training.commit()
    assert steps(paths) == [3, 2, 1], "held and the best so far"
    training.manager.mark_best(2)
    training.manager.held = set()
    assert paths.best_checkpoint.readlink().name == "checkpoint_step_1.pkl"
    training.commit()
    assert paths.best_checkpoint.readlink().name == "checkpoint_step_2.pkl"
    training.commit()
    assert steps(paths) == [5, 2]
    training.manager.close()
    paths.best_checkpoint.unlink()  # as if a crash had come between commit and link

    again = Training(config)
    state = again.manager.load_initial_state()
    assert state.commit is not None
    assert state.commit.best_sequence == 2
    again.step = 5
    again.commit()
    assert steps(paths) == [6, 2]
    assert paths.best_checkpoint.readlink().name == "checkpoint_step_2.pkl"
    again.commit(is_best=True)
    again.commit()
    assert steps(paths) == [8, 7]
    assert paths.best_checkpoint.readlink().name == "checkpoint_step_7.pkl"
    with pytest.raises(CommitNotFoundError, match="step 2"):
        again.manager.mark_best(2)
    again.manager.close()


def test_a_fork_of_the_best_commit_has_a_best_one(config: Config) -> None:
    training = trained(config, 1)
    training.commit(is_best=True)
    training.commit()
    training.manager.close()
    fork_run(config.persistence, "tiny", "of-best", 2)
    fork_run(config.persistence, "tiny", "of-latest", 3)
    best, latest = (PathManager(config.persistence, name) for name in ("of-best", "of-latest"))
    assert best.best_checkpoint.readlink().name == "checkpoint_step_2.pkl"
    assert not latest.best_checkpoint.is_symlink()
    assert list_commits(latest).commits[0].commit.best_sequence is None


def test_a_fork_goes_without_recordings_that_are_damaged(config: Config) -> None:
    training = trained(config, 2)
    training.manager.close()
    flip_bit(training.manager.paths.episodes / "episodes_step_1.arrow", 40)
    commit = fork_run(config.persistence, "tiny", "copy")
    assert [f.path for f in commit.of_kind("episodes")] == ["episodes/episodes_step_2.arrow"]
    assert load_for_reading(config.persistence, "copy").damaged_recordings == []


def test_pinned_commits_survive_retention_and_pruning(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, persistence={"keep_last": 2})
    training = started(config)
    training.commit()
    paths = training.manager.paths
    set_pin(paths, find_commit(paths, 1).commit.sequence, pinned=True)
    for _ in range(4):
        training.commit()
    assert steps(paths) == [5, 4, 1]
    carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=1))
    assert steps(paths) == [5, 1]
    set_pin(paths, find_commit(paths, 1).commit.sequence, pinned=False)
    carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=1))
    assert steps(paths) == [5]
    rows = training.rows()
    training.manager.close()
    assert_same_rows(rows_of(reload(config)), rows)


def test_a_plan_says_what_goes_and_touches_nothing(config: Config) -> None:
    training = trained(config)
    paths = training.manager.paths
    before = {p for p in paths.run.rglob("*") if p.is_file()}
    plan = plan_pruning(KnownCommits(paths), keep_last=1)
    assert {p for p in paths.run.rglob("*") if p.is_file()} == before
    assert [s.commit.global_step for s in plan.removed] == [3, 2, 1]
    size = sum(p.stat().st_size for p in before)
    carry_out_pruning(paths, plan)
    left = sum(p.stat().st_size for p in paths.run.rglob("*") if p.is_file())
    assert 0 < plan.freed_bytes <= size - left, "the commit files themselves come on top"
    assert not any((paths.run / f).exists() for f in plan.files)
    training.manager.close()


def test_pruning_while_training_goes_on(config: Config) -> None:
    """A save in flight builds on the newest commit, which stays: what comes of it is sound."""
    training = trained(config)
    for _ in range(6):
        training.advance()
        training.save()
        paths = training.manager.paths
        carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=1))
        training.manager.flush()
    rows = training.rows()
    training.manager.close()
    state = reload(config)
    assert state.rejected == []
    assert_same_rows(rows_of(state), rows)


def test_damaged_pins_stop_pruning(config: Config) -> None:
    training = trained(config)
    training.manager.close()
    training.manager.paths.pins.write_text("{")
    with pytest.raises(CorruptPinsError):
        plan_pruning(KnownCommits(training.manager.paths), keep_last=1)


def test_young_commits_can_be_kept() -> None:
    now = time.time_ns()
    commits = [CommitFacts(i, i, False, now - age) for i, age in ((1, 500), (2, 300), (3, 100))]
    gone = sequences_to_delete(commits, keep_last=1, keep_newer_than_ns=now - 300)
    assert gone == {1}


def test_a_commit_that_is_not_there_is_said_with_those_that_are(config: Config) -> None:
    training = trained(config, 2)
    training.manager.close()
    with pytest.raises(CommitNotFoundError, match=r"no commit of step 9.*steps: 2, 1"):
        find_commit(training.manager.paths, 9)


def test_a_fork_shares_the_files_and_goes_its_own_way(config: Config, tmp_path: Path) -> None:
    training = trained(config)
    commit = fork_run(config.persistence, "tiny", "branch", step=3)
    assert commit.global_step == 3
    source, fork = training.manager.paths, PathManager(config.persistence, "branch")
    for file in commit.files:
        assert (fork.run / file.path).samefile(source.run / file.path), "a link, not a copy"
    # What the source removes, the fork keeps.
    carry_out_pruning(source, plan_pruning(KnownCommits(source), keep_last=1))
    branch = tiny_config(tmp_path, train={"run_name": "branch"})
    state = reload(branch)
    assert state.commit is not None
    assert state.commit.global_step == 3
    # What the fork saves, the source does not see.
    other = Training(branch)
    other.manager.load_initial_state()
    other.buffer.load_state_dict(state.buffer_data.buffer_state(), rows_of(state))  # type: ignore[union-attr]
    other.step = 3
    other.commit()
    other.manager.close()
    rows = training.rows()
    training.manager.close()
    assert_same_rows(rows_of(reload(config)), rows)
    assert steps(fork) == [4, 3]
    assert describe_run(config.persistence, "branch")["step"] == 4


def test_a_run_whose_commits_are_damaged_is_not_forked_over(config: Config) -> None:
    training = trained(config, 2)
    fork_run(config.persistence, "tiny", "branch")
    paths = PathManager(config.persistence, "branch")
    for path in (paths.commit(2), paths.run_info):
        path.write_bytes(path.read_bytes()[:-9])
    before = {p: p.stat().st_mtime_ns for p in paths.run.rglob("*")}
    with pytest.raises(RunExistsError):
        fork_run(config.persistence, "tiny", "branch")
    assert {p: p.stat().st_mtime_ns for p in paths.run.rglob("*")} == before
    training.manager.close()


def test_a_fork_from_damaged_settings_is_refused(config: Config) -> None:
    training = trained(config, 1)
    training.manager.close()
    for text in ("{", "[1]", '{"train": 1}'):
        training.manager.paths.configs.write_text(text)
        with pytest.raises(CorruptConfigsError, match="every checkpoint holds the settings"):
            fork_run(config.persistence, "tiny", "branch")
    assert PathManager(config.persistence, "tiny").run_names() == ["tiny"]


def test_forks_that_cannot_be_leave_nothing_behind(config: Config) -> None:
    training = trained(config, 2)
    training.manager.close()
    runs = config.persistence.root_data_dir / "runs"
    with pytest.raises(RunExistsError):
        fork_run(config.persistence, "tiny", "tiny")
    with pytest.raises(RunNotFoundError, match="did you mean 'tiny'"):
        fork_run(config.persistence, "tini", "branch")
    with pytest.raises(CommitNotFoundError):
        fork_run(config.persistence, "tiny", "branch", step=7)
    flip_bit(training.manager.paths.checkpoint(2), 99)
    with pytest.raises(CorruptCheckpointError):
        fork_run(config.persistence, "tiny", "branch")
    training.manager.paths.checkpoint(2).unlink()
    with pytest.raises(SaveFailedError):
        fork_run(config.persistence, "tiny", "branch")
    assert [p.name for p in runs.iterdir()] == ["tiny"]


def test_every_byte_of_a_run_is_checked(config: Config) -> None:
    training = trained(config)
    training.manager.close()
    paths = existing_run(config.persistence, "tiny")
    assert all(check.problem is None for check in check_files(paths, list_commits(paths)))
    flip_bit(paths.segment(40, 79), 500)
    paths.buffer(2).unlink()
    problems = {c.path for c in check_files(paths, list_commits(paths)) if c.problem}
    assert problems == {"buffers/segments/40-79.arrow", "buffers/buffer_step_2.pkl"}


def test_exports_hold_what_was_saved(config: Config, tmp_path: Path) -> None:
    training = trained(config)
    training.manager.close()
    state = load_for_reading(config.persistence, "tiny")
    rows = rows_of(state)
    export_state(state, "weights", tmp_path / "w.safetensors")
    weights = load_file(tmp_path / "w.safetensors")
    for name, tensor in training.network.get_weights().items():
        assert torch.equal(weights[name], tensor)
    export_state(state, "replay", tmp_path / "r.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "r.parquet")
    assert table["n_step_return"].to_pylist() == rows.returns.tolist()
    assert table["board_lo"].to_pylist() == rows.boards[:, 0].tolist()
    export_state(state, "buffer", tmp_path / "b.pkl")
    alone = Serializer().load_buffer(tmp_path / "b.pkl")
    fresh = Training(config)
    fresh.buffer.load_state_dict(alone.buffer_state(), rows_from_experiences(alone.experiences))
    assert_same_rows(fresh.rows(), rows)
    with pytest.raises(ExportError, match="exists"):
        export_state(state, "weights", tmp_path / "b.pkl")
    with pytest.raises(ExportError, match="cannot write"):
        export_state(state, "weights", tmp_path / "nowhere" / "w")
