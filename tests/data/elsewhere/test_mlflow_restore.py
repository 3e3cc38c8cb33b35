"""What MLflow was given is enough to go on from, and what is damaged there is noticed."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.elsewhere import mlflow_restore
from alphatriangle.data.elsewhere.mlflow_restore import restore_from_mlflow
from alphatriangle.data.elsewhere.mlflow_uploads import read_log
from alphatriangle.data.errors import (
    CheckpointNotFoundError,
    CommitNotFoundError,
    CorruptRunInfoError,
    MlflowUnavailableError,
    NoSoundCommitError,
    RunExistsError,
    RunNotFoundError,
)
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import RunInfo
from alphatriangle.data.runs.summary import read_configs, read_run_info
from alphatriangle.data.storage import fs
from tests.conftest import tiny_config
from tests.data.helpers import Training, flip_bit, started
from tests.helpers.mlflow_server import Server


def trained(config: Config, steps: int = 3) -> str:
    """Train so many steps; the MLflow run."""
    training = started(config)
    training.manager.save_run_config({"train": {"seed": 5, "run_name": "tiny"}})
    training.manager.write_run_info(
        RunInfo(run_name="tiny", created_at="", target_steps=99, steps_per_round=9, num_threads=2)
    )
    for _ in range(steps):
        training.commit()
    training.manager.close()
    assert training.manager.uploads_left == 0
    run_id = read_log(training.manager.paths.uploads).run_id
    assert run_id is not None
    return run_id


def digest(config: PersistenceConfig, step: int | None = None, name: str = "tiny") -> str:
    state = load_for_reading(config, name, step)
    return state_digest(state.checkpoint_data, state.buffer_data)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return tiny_config(tmp_path, persistence={"mlflow": True})


def artifacts(config: Config, run_id: str) -> Path:
    return config.persistence.root_data_dir / "mlruns" / "artifacts" / run_id / "artifacts"


def lose_the_run(config: Config) -> None:
    shutil.rmtree(config.persistence.root_data_dir / "runs")


def test_a_run_is_made_again_of_what_mlflow_was_given(config: Config) -> None:
    run_id = trained(config)
    before = digest(config.persistence)
    lose_the_run(config)
    commit, rejected = restore_from_mlflow(config.persistence, run_id)
    assert (commit.run_name, commit.global_step, commit.sequence) == ("tiny", 3, 1)
    assert not rejected
    assert digest(config.persistence) == before
    paths = PathManager(config.persistence, "tiny")
    assert read_configs(paths) == {"train": {"seed": 5, "run_name": "tiny"}}
    info = read_run_info(paths)
    assert info is not None
    assert (info.target_steps, info.num_threads) == (99, 2)
    assert len(commit.of_kind("episodes")) == 3
    assert not list(config.persistence.root_data_dir.glob(".restore-*"))


def test_it_goes_on_as_if_nothing_had_been_lost(tmp_path: Path, config: Config) -> None:
    never_lost = tiny_config(tmp_path / "never lost", persistence={"mlflow": True})
    trained(never_lost, 5)
    run_id = trained(config, 3)
    lose_the_run(config)
    restore_from_mlflow(config.persistence, run_id)
    training = Training(config)
    training.step = training.restore(training.manager.load_initial_state())
    training.counter.value = training.step
    for _ in range(2):
        training.commit()
    training.manager.close()
    assert digest(config.persistence) == digest(never_lost.persistence)


def test_a_step_may_be_chosen_and_a_name(config: Config) -> None:
    run_id = trained(config)
    commit, _ = restore_from_mlflow(config.persistence, run_id, "again", step=2)
    assert (commit.run_name, commit.global_step) == ("again", 2)
    assert digest(config.persistence, name="again") == digest(config.persistence, 2)
    with pytest.raises(CommitNotFoundError, match="of steps: 3, 2, 1"):
        restore_from_mlflow(config.persistence, run_id, "other", step=7)
    with pytest.raises(RunExistsError):
        restore_from_mlflow(config.persistence, run_id)


def test_a_database_that_was_moved_with_its_artifacts_will_do(
    config: Config, tmp_path: Path
) -> None:
    run_id = trained(config)
    before = digest(config.persistence)
    config.persistence.root_data_dir.rename(tmp_path / "another machine")
    moved = config.persistence.model_copy(update={"root_data_dir": tmp_path / "another machine"})
    shutil.rmtree(moved.root_data_dir / "runs")
    restore_from_mlflow(moved, run_id)
    assert digest(moved) == before


def damage(path: Path, how: str) -> None:
    if how == "flipped":
        flip_bit(path, path.stat().st_size // 2)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path.unlink()


def test_of_damaged_commits_the_newest_sound_one_is_taken_and_the_others_are_named(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = trained(config)
    before = digest(config.persistence, 2)
    lose_the_run(config)
    for name in (
        "commits/step_3.json",
        "checkpoints/checkpoint_step_3.pkl",
        "buffers/buffer_step_3.pkl",
        "buffers/segments/80-119.arrow",
    ):
        path = artifacts(config, run_id) / name
        content = path.read_bytes()
        for how in ("flipped", "cut", "missing"):
            damage(path, how)
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                new_name = f"{how}.{path.name}"
                commit, rejected = restore_from_mlflow(config.persistence, run_id, new_name)
            assert commit.global_step == 2
            assert digest(config.persistence, name=commit.run_name) == before
            if (path.name, how) != ("step_3.json", "missing"):
                assert [Path(r.path).name for r in rejected] == ["step_3.json"]
            fs.remove(path)  # it may be a link to that of a run made of it
            path.write_bytes(content)
    assert restore_from_mlflow(config.persistence, run_id, "mended").commit.global_step == 3


def test_what_retention_removes_meanwhile_is_no_damage(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest goes under its reader's eyes, and a newer one is there: nothing older is taken."""
    run_id = trained(config, 3)
    newest = digest(config.persistence)
    lose_the_run(config)
    folder = artifacts(config, run_id)
    aside = tmp_path / "to come"
    aside.mkdir()
    commit = folder / "commits/step_3.json"
    commit.rename(aside / commit.name)
    going = next(folder.rglob("checkpoint_step_2.pkl"))
    real = mlflow_restore.make_run

    def make_run(*arguments: object) -> object:
        if going.exists():
            going.unlink()
            (aside / commit.name).rename(commit)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(mlflow_restore, "make_run", make_run)
    found = restore_from_mlflow(config.persistence, run_id)
    assert found.commit.global_step == 3
    assert not found.rejected
    assert digest(config.persistence) == newest


def test_recordings_of_games_may_be_lost(config: Config) -> None:
    run_id = trained(config)
    before = digest(config.persistence)
    lose_the_run(config)
    (artifacts(config, run_id) / "episodes/episodes_step_2.arrow").unlink()
    flip_bit(artifacts(config, run_id) / "episodes/episodes_step_3.arrow", 100)
    commit, rejected = restore_from_mlflow(config.persistence, run_id, "again")
    assert commit.global_step == 3
    assert len(commit.of_kind("episodes")) == 1
    assert not rejected
    assert digest(config.persistence, name="again") == before


def test_without_a_sound_commit_there_is_no_run(config: Config) -> None:
    run_id = trained(config)
    lose_the_run(config)
    for path in (artifacts(config, run_id) / "checkpoints").iterdir():
        flip_bit(path, 1000)
    with pytest.raises(NoSoundCommitError, match="3 commits and none is sound"):
        restore_from_mlflow(config.persistence, run_id)
    with pytest.raises(NoSoundCommitError, match="1 commits and none is sound"):
        restore_from_mlflow(config.persistence, run_id, step=2)
    assert not PathManager(config.persistence, "tiny").run.exists()
    shutil.rmtree(artifacts(config, run_id) / "commits")
    with pytest.raises(CheckpointNotFoundError, match="no commit"):
        restore_from_mlflow(config.persistence, run_id)


def test_damaged_settings_are_not_made_up(config: Config) -> None:
    run_id = trained(config)
    (artifacts(config, run_id) / "run.json").write_text("{")
    with pytest.raises(CorruptRunInfoError):
        restore_from_mlflow(config.persistence, run_id, "again")


def test_an_mlflow_run_that_is_not_there(config: Config, tmp_path: Path) -> None:
    trained(config, 1)
    with pytest.raises(RunNotFoundError, match="no MLflow run"):
        restore_from_mlflow(config.persistence, "0" * 32)
    nowhere = config.persistence.model_copy(update={"root_data_dir": tmp_path / "nowhere"})
    with pytest.raises(RunNotFoundError, match="no database"):
        restore_from_mlflow(nowhere, "0" * 32)
    assert not (tmp_path / "nowhere").exists()


def test_a_run_is_made_again_of_what_a_server_was_given(
    tmp_path: Path, mlflow_server: Server
) -> None:
    config = tiny_config(
        tmp_path, persistence={"mlflow": True, "mlflow_tracking_uri": mlflow_server.uri}
    )
    run_id = trained(config)
    before = {step: digest(config.persistence, step) for step in (2, 3)}
    lose_the_run(config)
    assert restore_from_mlflow(config.persistence, run_id).commit.global_step == 3
    assert digest(config.persistence) == before[3]
    lose_the_run(config)
    [checkpoint] = mlflow_server.folder.rglob("checkpoint_step_3.pkl")
    flip_bit(checkpoint, 1000)
    commit, rejected = restore_from_mlflow(config.persistence, run_id)
    assert (commit.global_step, len(rejected)) == (2, 1)
    assert digest(config.persistence) == before[2]
    with pytest.raises(RunNotFoundError, match="no MLflow run"):
        restore_from_mlflow(config.persistence, "0" * 32)
    mlflow_server.stop()
    with pytest.raises(MlflowUnavailableError, match="nothing was changed"):
        restore_from_mlflow(config.persistence, run_id, "other")
    assert not PathManager(config.persistence, "other").run.exists()
