"""The promises of ``DataManager``: what was saved is what is loaded, or an error says why."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from random import Random

import cloudpickle
import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.config import Config
from alphatriangle.data import DataManager, state_digest
from alphatriangle.data.commits.files import list_commits, write_commit
from alphatriangle.data.errors import (
    BufferNotFoundError,
    CheckpointNotFoundError,
    CorruptCheckpointError,
    NoSoundCommitError,
    RunExistsError,
    RunLockedError,
    SaveFailedError,
)
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import RunInfo
from alphatriangle.data.replay.recordings import read_episodes
from alphatriangle.data.runs.summary import RunSummary, run_to_continue
from alphatriangle.data.schemas import CheckpointData
from alphatriangle.training.learning.batches import restore_learner
from tests.conftest import tiny_config
from tests.data.helpers import Training, flip_bit, reload, rows_of, started
from tests.features.test_encoder import assert_same_rows


def test_a_fresh_run_loads_nothing(config: Config) -> None:
    state = reload(config)
    assert state.checkpoint_data is None
    assert state.buffer_data is None
    assert state.rejected == []


def test_what_was_saved_is_loaded_bit_for_bit(config: Config) -> None:
    training = started(config)
    for _ in range(3):
        training.commit(rows=150)
    torch.manual_seed(123)
    training.advance(rows=70)
    training.save(metrics={"score": 4.5})
    expected_random = torch.rand(3)
    weights = training.network.get_weights()
    optimizer = training.trainer.optimizer.state_dict()["state"]
    rows, buffer_state = training.rows(), training.buffer.state_dict()
    training.manager.close()

    state = reload(config)
    checkpoint, commit = state.checkpoint_data, state.commit
    assert checkpoint is not None
    assert commit is not None
    assert (checkpoint.global_step, checkpoint.episodes_played) == (4, 40)
    assert checkpoint.total_simulations_run == 400
    assert commit.metrics == {"score": 4.5}
    for name, tensor in weights.items():
        assert torch.equal(checkpoint.model_state_dict[name], tensor)
    for key, saved in checkpoint.optimizer_state_dict["state"].items():
        for name, tensor in saved.items():
            assert torch.equal(tensor, optimizer[key][name])
    assert checkpoint.components["counter"]["value"] == 4
    np.testing.assert_array_equal(checkpoint.components["counter"]["array"], np.arange(4))
    assert_same_rows(rows_of(state), rows)
    assert state.buffer_data is not None
    loaded = state.buffer_data.buffer_state()
    for name in ("total_added", "oldest", "max_priority", "batches_sampled"):
        assert loaded[name] == buffer_state[name]
    torch.set_rng_state(checkpoint.rng_state["torch"])
    assert torch.equal(torch.rand(3), expected_random)
    other = Training(config)
    assert restore_learner(state, other.network, other.trainer, other.buffer) == 4
    assert_same_rows(other.rows(), rows)


def test_the_capture_is_of_the_moment_of_the_call(config: Config) -> None:
    """Training goes on while the save is written; nothing of that is in the save."""
    training = started(config)
    training.commit()
    training.advance()
    weights = training.network.get_weights()
    training.save()
    for _ in range(5):
        training.advance()
    training.manager.close()
    state = reload(config)
    assert state.checkpoint_data is not None
    assert state.checkpoint_data.global_step == 2
    for name, tensor in weights.items():
        assert torch.equal(state.checkpoint_data.model_state_dict[name], tensor)
    assert len(rows_of(state)) == 80


def test_a_configuration_may_be_saved_before_anything_else(config: Config) -> None:
    """As a program does that writes down what it was told, and only then looks for a run."""
    settings = {"train": {"seed": 3}}
    for steps in (1, 2):
        manager = DataManager(config.persistence, config.train)
        manager.save_run_config(settings)
        assert json.loads(manager.paths.configs.read_text()) == settings
        state = manager.load_initial_state()
        manager.close()
        assert len(state.rejected) == 0
        assert (state.checkpoint_data is None) == (steps == 1)
        training = started(config)
        training.commit()
        training.manager.close()


def test_the_layout_is_the_documented_one(config: Config) -> None:
    training = started(config)
    training.manager.save_run_config({"train": {"seed": 3}})
    training.commit(is_best=True)
    training.commit()
    paths = training.manager.paths
    training.manager.close()
    run = config.persistence.root_data_dir / "runs" / "tiny"
    assert json.loads((run / "configs.json").read_text()) == {"train": {"seed": 3}}
    for name in (
        "checkpoints/checkpoint_step_1.pkl",
        "checkpoints/checkpoint_step_2.pkl",
        "buffers/buffer_step_2.pkl",
        "buffers/segments/0-39.arrow",
        "buffers/segments/40-79.arrow",
        "commits/step_1.json",
        "commits/step_2.json",
    ):
        assert (run / name).is_file(), name
    assert (run / "checkpoints/latest.pkl").readlink() == Path("checkpoint_step_2.pkl")
    assert (run / "checkpoints/best.pkl").readlink() == Path("checkpoint_step_1.pkl")
    assert (run / "buffers/buffer.pkl").readlink() == Path("buffer_step_2.pkl")
    assert training.manager.get_checkpoint_path(2) == run / "checkpoints/checkpoint_step_2.pkl"
    for latest in ({"is_latest": True}, {}):
        assert training.manager.get_checkpoint_path(**latest) == paths.latest_checkpoint
    assert training.manager.get_checkpoint_path(is_best=True) == paths.best_checkpoint
    assert training.manager.get_buffer_path(2) == run / "buffers/buffer_step_2.pkl"
    assert training.manager.get_buffer_path() == run / "buffers/buffer.pkl"
    with pytest.raises(ValueError, match="step"):
        training.manager.get_checkpoint_path(2, is_best=True)


def test_a_plain_cloudpickle_load_reads_a_checkpoint(config: Config) -> None:
    training = started(config)
    training.commit()
    training.manager.close()
    with training.manager.paths.latest_checkpoint.open("rb") as f:
        checkpoint = cloudpickle.load(f)
    assert isinstance(checkpoint, CheckpointData)
    assert torch.equal(
        checkpoint.model_state_dict["stem.weight"],
        training.network.get_weights()["stem.weight"],
    )


def test_only_new_rows_are_written(config: Config) -> None:
    training = started(config)
    sizes = []
    for _ in range(4):
        training.commit(rows=60)
        commit = training.manager.last_report
        assert commit is not None
        sizes.append([(f.first, f.end) for f in commit.commit.of_kind("segment")])
    assert sizes[0] == [(0, 60)]
    assert sizes[3] == [(0, 60), (60, 120), (120, 180), (180, 240)]
    training.manager.close()
    assert len(list(training.manager.paths.segments.iterdir())) == 4


def test_rows_of_another_buffer_are_not_mixed_with_those_saved(config: Config) -> None:
    """A buffer that was not restored has rows of the same numbers that are other rows."""
    training = started(config)
    training.commit()
    training.manager.close()
    other = Training(config)
    other.manager.load_initial_state()
    other.step = 7
    other.commit(rows=60)
    other.commit(rows=10)
    rows = other.rows()
    other.manager.close()
    assert_same_rows(rows_of(reload(config)), rows)


def test_rows_that_left_the_ring_leave_the_commit(config: Config) -> None:
    """Capacity 400: a save after 1000 more rows holds the newest 400, in new segments only."""
    training = started(config)
    training.commit(rows=300)
    training.commit(rows=200)
    assert training.manager.last_report is not None
    assert [(f.first, f.end) for f in training.manager.last_report.commit.of_kind("segment")] == [
        (0, 300),
        (300, 500),
    ]
    training.commit(rows=1000)
    rows = training.rows()
    training.manager.close()
    state = reload(config)
    assert state.commit is not None
    assert [(f.first, f.end) for f in state.commit.of_kind("segment")] == [(1100, 1500)]
    assert_same_rows(rows_of(state), rows)


def test_the_same_step_saved_twice_overwrites_nothing(config: Config) -> None:
    training = started(config)
    training.commit()
    paths = training.manager.paths
    first = {p: p.read_bytes() for p in paths.run.rglob("*step_1*") if not p.is_symlink()}
    training.buffer.add_rows(random_rows_of_step(99))
    training.counter.value = 55
    training.save()
    training.manager.close()
    for path, content in first.items():
        assert path.read_bytes() == content
    state = reload(config)
    assert state.checkpoint_data is not None
    assert state.checkpoint_data.components["counter"]["value"] == 55
    assert len(rows_of(state)) == 41


def random_rows_of_step(seed: int) -> object:
    from tests.features.test_encoder import random_rows

    return random_rows(1, seed=seed)


def test_retention_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, persistence={"keep_last": 2, "keep_every_steps": 4})
    training = started(config)
    for step in range(1, 9):
        training.commit(is_best=step == 3)
    training.manager.close()
    paths = training.manager.paths
    kept = {3, 4, 7, 8}
    assert {p.name for p in paths.commits.glob("*.json")} == {f"step_{s}.json" for s in kept}
    checkpoints = {p.name for p in paths.checkpoints.glob("checkpoint_*")}
    assert checkpoints == {f"checkpoint_step_{s}.pkl" for s in kept}
    # Every commit that is left loads: its segments and episodes are all there.
    for step in (8, 7, 4, 3):
        state = reload(config)
        assert state.commit is not None
        assert state.commit.global_step == step
        (paths.commits / f"step_{step}.json").unlink()


def test_episodes_are_kept_replayable(config: Config) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    state = reload(config)
    assert state.commit is not None
    files = state.commit.of_kind("episodes")
    episodes = [e for f in files for e in read_episodes(training.manager.paths.run / f.path)]
    assert [e.episode for e in episodes] == [1, 2]
    assert episodes[0].moves.tolist() == [1, 2, 300]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damaged_recordings_cost_no_training_state(config: Config, damage: str) -> None:
    training = started(config)
    training.commit()
    training.commit()
    rows = training.rows()
    training.manager.close()
    paths = training.manager.paths
    first, second = (paths.episodes / f"episodes_step_{step}.arrow" for step in (1, 2))
    if damage == "flip":
        flip_bit(first, 40)
    elif damage == "truncate":
        first.write_bytes(first.read_bytes()[:-1])
    else:
        first.unlink()
    again = Training(config)
    state = again.manager.load_initial_state()
    assert state.commit is not None
    assert state.commit.global_step == 2
    assert state.rejected == []
    assert [first.name in d.reason for d in state.damaged_recordings] == [True]
    assert_same_rows(rows_of(state), rows)
    again.step = 2
    again.commit()
    again.manager.close()
    newest = reload(config)
    assert newest.commit is not None
    assert newest.damaged_recordings == [], "a new commit names sound files only"
    third = paths.episodes / "episodes_step_3.arrow"
    named = [Path(f.path).name for f in newest.commit.of_kind("episodes")]
    assert named == [second.name, third.name]


@pytest.mark.parametrize("kind", ["checkpoint", "buffer", "segment"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_commit_is_passed_over_and_said_so(
    config: Config, kind: str, damage: str
) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    newest = reload(config).commit
    assert newest is not None
    # Of files that both commits share, the newest is the one of the newest commit alone.
    victim = training.manager.paths.run / newest.of_kind(kind)[-1].path  # type: ignore[arg-type]
    if damage == "flip":
        flip_bit(victim, victim.stat().st_size // 2)
    elif damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:-1])
    else:
        victim.unlink()
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 1
    assert len(state.rejected) == 1
    assert victim.name in state.rejected[0].reason


def test_every_flipped_bit_of_a_commit_file_is_found(config: Config) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    path = training.manager.paths.commits / "step_2.json"
    sound = path.read_bytes()
    for position in range(0, len(sound), 7):
        flip_bit(path, position)
        state = reload(config)
        assert state.commit is not None
        assert state.commit.global_step == 1, f"byte {position}"
        path.write_bytes(sound)


def test_going_on_after_a_rejected_commit_keeps_it_and_wins(config: Config) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    flip_bit(paths.checkpoint(2), 100)
    broken = paths.checkpoint(2).read_bytes()

    again = Training(config)
    state = again.manager.load_initial_state()
    again.step = restore_learner(state, again.network, again.trainer, again.buffer)
    assert again.step == 1
    again.commit()
    again.manager.close()
    assert paths.checkpoint(2).read_bytes() == broken, "evidence is not overwritten"
    final = reload(config)
    assert final.commit is not None
    assert final.commit.global_step == 2
    assert final.rejected == []
    assert_same_rows(rows_of(final), again.rows())


def test_commits_that_are_all_damaged_stop_the_start(config: Config) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    for step in (1, 2):
        flip_bit(training.manager.paths.checkpoint(step), 50)
    with pytest.raises(NoSoundCommitError) as error:
        reload(config)
    assert "checkpoint_step_1.pkl" in str(error.value)
    assert "checkpoint_step_2.pkl" in str(error.value)


def test_files_that_no_commit_names_are_removed_by_the_next_first_save(
    config: Config,
) -> None:
    training = started(config)
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    garbage = [
        paths.checkpoints / "checkpoint_step_9.pkl",
        paths.segments / "40-90.arrow",
        paths.buffers / ".buffer_step_9.pkl.4711.tmp",
    ]
    for path in garbage:
        path.write_bytes(b"left behind by a crash")
    training = started(config)
    training.commit()
    training.manager.close()
    assert not any(path.exists() for path in garbage)


def test_garbage_stays_while_a_commit_cannot_be_read(config: Config) -> None:
    """Nobody knows what the unreadable commit names."""
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    paths = training.manager.paths
    paths.commit(2).write_bytes(b"{")
    training = started(config)
    training.step = 2
    training.commit()
    training.manager.close()
    assert paths.checkpoint(2).exists()
    assert reload(config).rejected != []


def test_a_failed_save_is_raised_by_the_next_call_and_loses_nothing(config: Config) -> None:
    training = started(config)
    training.commit()
    blocked = training.manager.paths.checkpoints
    aside = blocked.with_name("aside")
    blocked.rename(aside)
    training.advance()
    training.save()
    with pytest.raises(SaveFailedError, match="step 2"):
        training.manager.flush()
    assert training.manager.last_save_failed
    aside.rename(blocked)
    training.commit()
    assert not training.manager.last_save_failed
    rows = training.rows()
    training.manager.close()
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 3
    assert_same_rows(rows_of(state), rows)
    files = state.commit.of_kind("episodes")
    episodes = [e for f in files for e in read_episodes(training.manager.paths.run / f.path)]
    assert [e.episode for e in episodes] == [1, 2, 3], "those of the failed save come later"


def test_a_failed_save_leaves_nothing_behind(config: Config) -> None:
    """On a full disk, what it had already written would stand in its own way."""
    training = started(config)
    training.commit()
    paths = training.manager.paths
    before = sorted(p for p in paths.run.rglob("*") if p.name.count("step_") or "-" in p.name)
    aside = paths.commits.rename(paths.commits.with_name("aside"))
    paths.commits.write_text("in the way")
    training.advance()
    training.save()
    with pytest.raises(SaveFailedError):
        training.manager.flush()
    paths.commits.unlink()
    aside.rename(paths.commits)
    after = sorted(p for p in paths.run.rglob("*") if p.name.count("step_") or "-" in p.name)
    assert after == before
    training.manager.close()


def test_state_that_cannot_be_saved_is_a_failed_save(config: Config) -> None:
    training = started(config)
    training.commit()
    training.counter.state_dict = lambda: {"generator": (i for i in range(3))}  # type: ignore[method-assign]
    training.advance()
    training.save()
    with pytest.raises(SaveFailedError, match="generator"):
        training.manager.flush()
    with pytest.raises(ValueError, match="metric 'score' is nan"):
        training.save(metrics={"score": float("nan")})
    training.manager.close()
    assert reload(config).commit.global_step == 1  # type: ignore[union-attr]


def test_too_little_space_refuses_the_save(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    training = started(config)
    training.commit()
    usage = shutil.disk_usage("/")._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    training.advance()
    training.save()
    with pytest.raises(SaveFailedError, match="1 MiB free"):
        training.manager.flush()
    monkeypatch.undo()
    training.manager.close()
    assert reload(config).commit.global_step == 1  # type: ignore[union-attr]


def test_one_writer_and_the_second_is_told_who(config: Config) -> None:
    training = started(config)
    second = DataManager(config.persistence, config.train)
    # Within a process the lock object is shared; another holder is another process to it.
    with pytest.raises(RunLockedError, match=r"process \d+ on .* since 20"):
        second.load_initial_state()
    training.manager.close()
    assert second.load_initial_state().commit is None
    second.close()


def test_a_lock_left_by_the_dead_is_taken_over(config: Config) -> None:
    training = started(config)
    training.commit()
    training.manager.close()
    run = training.manager.paths.run
    (run / ".lock").touch()
    (run / ".lock-owner.json").write_text('{"pid": 1, "host": "elsewhere", "since": "2020"}')
    assert reload(config).commit is not None


def test_readers_need_no_lock(config: Config) -> None:
    from alphatriangle.data.commits.loading import load_for_reading

    training = started(config)
    training.commit()
    with FileLock(training.manager.paths.run / "unrelated"):
        state = load_for_reading(config.persistence, "tiny")
    assert state.commit is not None
    training.manager.close()


def test_explicit_paths_that_are_missing_or_damaged_are_errors(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    training = started(config)
    training.commit()
    training.manager.close()
    checkpoint = training.manager.paths.checkpoint(1)

    def start(**fields: str) -> None:
        reload(tiny_config(tmp_path, train={"run_name": "other", **fields}))

    with pytest.raises(CheckpointNotFoundError, match="nowhere"):
        start(load_checkpoint_path=str(tmp_path / "nowhere.pkl"))
    with pytest.raises(BufferNotFoundError, match="nowhere"):
        start(load_buffer_path=str(tmp_path / "nowhere.pkl"))
    flip_bit(checkpoint, 0)
    with pytest.raises(CorruptCheckpointError):
        start(load_checkpoint_path=str(checkpoint))


def test_an_explicit_checkpoint_brings_the_buffer_of_its_commit(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    training = started(config)
    training.commit()
    training.commit()
    rows = training.rows()
    training.manager.close()
    latest = str(training.manager.paths.latest_checkpoint)
    other = tiny_config(tmp_path, train={"run_name": "other", "load_checkpoint_path": latest})
    state = reload(other)
    assert state.checkpoint_data is not None
    assert state.checkpoint_data.global_step == 2
    assert_same_rows(rows_of(state), rows)


def test_a_run_name_begins_where_it_is_new_and_goes_on_where_it_is_not(tmp_path: Path) -> None:
    """Whatever other runs there are, and without a setting."""
    other = started(tiny_config(tmp_path, train={"run_name": "of-another-project"}))
    other.commit()
    other.manager.close()
    config = tiny_config(tmp_path)
    assert reload(config).checkpoint_data is None
    training = started(config)
    training.commit()
    training.manager.close()
    for train in ({}, {"auto_resume_latest": True}):
        state = reload(tiny_config(tmp_path, train=train))
        assert state.commit is not None
        assert (state.commit.run_name, state.commit.global_step) == ("tiny", 1)


def test_a_save_without_a_load_begins_a_run_that_is_new_and_no_other(tmp_path: Path) -> None:
    training = Training(tiny_config(tmp_path))
    training.commit()
    training.commit()
    with pytest.raises(RunLockedError):
        Training(tiny_config(tmp_path)).manager.load_initial_state()
    training.manager.close()
    path = str(training.manager.get_checkpoint_path())
    for train, problem in (
        ({}, "run 'tiny' has commits"),
        ({"run_name": "new", "load_checkpoint_path": path}, "is to be started from"),
        ({"run_name": "new", "auto_resume_latest": True}, "auto_resume_latest is set"),
    ):
        unloaded = Training(tiny_config(tmp_path, train=train))
        with pytest.raises(RunExistsError, match=f"{problem}.*load_initial_state"):
            unloaded.commit()
        assert not unloaded.manager.paths.run.exists() or not train
    assert reload(tiny_config(tmp_path)).commit.global_step == 2  # type: ignore[union-attr]


def test_auto_resume_takes_the_latest_unfinished_run_by_commit_time(tmp_path: Path) -> None:
    """Not by name, and a newer run that died before its first save does not hide it."""
    for name, target in (("zz-first", 10), ("aa-second", 10), ("mm-done", 1)):
        training = started(tiny_config(tmp_path, train={"run_name": name}))
        training.manager.write_run_info(
            RunInfo(run_name=name, created_at="", target_steps=target, steps_per_round=target)
        )
        training.commit()
        training.manager.close()
    dead = started(tiny_config(tmp_path, train={"run_name": "zz-dead"}))
    dead.manager.close()
    unnamed = tiny_config(tmp_path, train={"run_name": None, "auto_resume_latest": True})
    manager = DataManager(unnamed.persistence, unnamed.train)
    assert manager.run_name == "aa-second"
    fresh = tiny_config(tmp_path, train={"run_name": None})
    names = [started(fresh).manager.run_name for _ in range(2)]
    assert all(name.startswith("run-") for name in names)
    assert names[0] != names[1], "also within a second"


def test_auto_resume_into_a_new_name_begins_with_the_latest_run_and_shares_its_files(
    tmp_path: Path,
) -> None:
    old = started(tiny_config(tmp_path, train={"run_name": "old"}))
    old.commit()
    old.commit()
    old.manager.close()
    flip_bit(old.manager.get_checkpoint_path(2), 100)
    asked = {"auto_resume_latest": True}
    state = reload(tiny_config(tmp_path, train={"run_name": "new", **asked}))
    paths = PathManager(old.config.persistence, "new")
    assert state.commit is not None
    assert (state.commit.run_name, state.commit.global_step) == ("new", 1), "the newest sound one"
    for file in state.commit.files:
        assert (paths.run / file.path).samefile(old.manager.paths.run / file.path)
    assert reload(tiny_config(tmp_path, train={"run_name": "afresh"})).commit is None


runs = st.lists(
    st.builds(
        lambda name, state, time: RunSummary(
            name, state, 1, 2, 0, None, None, 0, None, time, 1, None
        ),
        st.text("abc", min_size=1, max_size=3),
        st.sampled_from(["running", "complete", "unfinished", "empty", "damaged"]),
        st.integers(0, 5),
    ),
    unique_by=lambda run: run.name,
)


@given(runs, st.randoms())
def test_the_run_to_continue_is_the_one_committed_to_last(
    known: list[RunSummary], random: Random
) -> None:
    chosen = run_to_continue(known)
    candidates = [r for r in known if r.last_commit_ns and r.state != "complete"]
    assert (chosen is None) == (not candidates)
    assert all(chosen.last_commit_ns >= r.last_commit_ns for r in candidates if chosen)
    random.shuffle(known)
    assert run_to_continue(known) == chosen, "in whatever order they are found"


def test_a_buffer_that_needs_what_its_commit_does_not_name_is_not_sound(config: Config) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    stored = list_commits(training.manager.paths).commits[0]
    segments = stored.commit.of_kind("segment")
    files = [f for f in stored.commit.files if f != segments[0]]
    stored.path.unlink()
    write_commit(training.manager.paths, stored.commit.model_copy(update={"files": files}))
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 1
    assert "which it lacks" in state.rejected[0].reason


def test_a_checkpoint_of_another_step_is_not_sound(config: Config) -> None:
    training = started(config)
    training.commit()
    training.commit()
    training.manager.close()
    stored = list_commits(training.manager.paths).commits[0]
    stored.path.unlink()
    write_commit(training.manager.paths, stored.commit.model_copy(update={"global_step": 9}))
    state = reload(config)
    assert state.commit is not None
    assert state.commit.global_step == 1
    assert "step 9, its checkpoint step 2" in state.rejected[0].reason


def test_the_digest_is_of_the_state_and_of_nothing_else(config: Config, tmp_path: Path) -> None:
    def digest(path: Path, saves: tuple[int, ...], name: str) -> str:
        training = started(tiny_config(path, train={"run_name": name}))
        for step in range(1, 5):
            training.advance()
            if step in saves:
                training.save()
                training.manager.flush()
        training.manager.close()
        state = reload(tiny_config(path, train={"run_name": name}))
        assert state.checkpoint_data is not None
        return state_digest(state.checkpoint_data, state.buffer_data)

    torch.manual_seed(1)
    one = digest(tmp_path / "a", (4,), "one")
    torch.manual_seed(1)
    other = digest(tmp_path / "b", (1, 2, 4), "other")
    assert one == other, "names, times and the cut into segments do not count"
    torch.manual_seed(1)
    assert digest(tmp_path / "c", (1, 3), "third") != one


class Curves:
    """Statistics whose curves are durable when somebody says so."""

    def __init__(self) -> None:
        self.asked, self.durable = threading.Event(), threading.Event()

    def get_state(self) -> dict[str, float]:
        return {}

    def sync(self) -> None:
        self.asked.set()
        assert self.durable.wait(60)


def test_curves_become_durable_behind_training_and_before_the_commit(config: Config) -> None:
    training, curves = started(config), Curves()
    training.advance()
    training.save(stats=curves)
    assert curves.asked.wait(60)
    training.advance()
    assert training.manager.commits.look().commits == []
    curves.durable.set()
    training.manager.close()
    commit = reload(config).commit
    assert commit is not None
    assert commit.global_step == 1
