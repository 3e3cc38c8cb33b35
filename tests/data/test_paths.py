"""Run names and paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alphatriangle.config import Config, ConfigError, PersistenceConfig
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import DataError, DataFolderError, InvalidRunNameError
from alphatriangle.data.path_manager import PathManager, check_run_name, unused
from alphatriangle.data.runs.archive import restore_run, write_archive
from alphatriangle.data.runs.fork import fork_run
from tests.conftest import tiny_config
from tests.data.helpers import reload, rows_of, started
from tests.features.test_encoder import assert_same_rows


@pytest.mark.parametrize(
    "name",
    ["", " ", "a/b", "a\\b", "..", ".", ".hidden", "../up", "a\nb", "a\0b", "x" * 101, " a", "a:b"],
)
def test_unsafe_names_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidRunNameError) as error:
        check_run_name(name)
    assert repr(name) in str(error.value)


@given(st.text(max_size=120))
def test_a_name_that_is_accepted_is_one_folder_below_runs(name: str) -> None:
    config = PersistenceConfig(root_data_dir=Path("/data"))
    try:
        paths = PathManager(config, name)
    except InvalidRunNameError:
        return
    assert paths.run.parent == Path("/data/runs")
    assert os.path.normpath(paths.run) == str(paths.run)


def test_naming_a_path_makes_nothing(tmp_path: Path) -> None:
    paths = PathManager(PersistenceConfig(root_data_dir=tmp_path / "data"), "run")
    assert paths.checkpoint(3).name == "checkpoint_step_3.pkl"
    assert paths.run_names() == []
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    paths = PathManager(PersistenceConfig(root_data_dir=tmp_path / "file" / "data"), "run")
    with pytest.raises(DataFolderError, match="--data-dir") as error:
        paths.make_folders()
    assert isinstance(error.value, DataError)
    assert error.value.__cause__ is not None


def test_unused_names_never_name_a_file(tmp_path: Path) -> None:
    path = tmp_path / "step_1.json"
    names = []
    for _ in range(3):
        free = unused(path)
        names.append(free.name)
        free.write_text("taken")
    assert names == ["step_1.json", "step_1.r2.json", "step_1.r3.json"]


def test_the_settings_name_the_links_and_the_run_finds_those_before_it(config: Config) -> None:
    names = {
        "latest_checkpoint_filename": "newest.pkl",
        "best_checkpoint_filename": "champion.pkl",
        "latest_buffer_filename": "replay.pkl",
    }
    persistence = config.persistence.model_copy(update=names)
    training = started(config.model_copy(update={"persistence": persistence}))
    training.commit(is_best=True)
    training.manager.close()
    paths = training.manager.paths
    assert paths.latest_checkpoint.name == "newest.pkl"
    for link in (paths.latest_checkpoint, paths.best_checkpoint, paths.latest_buffer):
        assert link.resolve().name.endswith("_step_1.pkl")
    assert not (paths.checkpoints / "latest.pkl").exists()
    assert PathManager(persistence, "next").previous_runs() == [paths.run_name]
    assert paths.previous_runs() == []


@pytest.mark.parametrize(
    "change",
    [
        {"latest_checkpoint_filename": "../x.pkl"},
        {"latest_buffer_filename": "buffer.bin"},
        {"latest_checkpoint_filename": "best.pkl"},
        {"best_checkpoint_filename": "checkpoint_step_1.pkl"},
    ],
)
def test_a_link_has_a_name_of_its_own(change: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        PersistenceConfig.model_validate(change)


def test_the_configuration_names_folders_and_files(tmp_path: Path) -> None:
    """Training, resuming, forking and an archive work under other names than the usual ones."""
    names = {
        "runs_dir_name": "trainings",
        "mlflow_dir_name": "tracking",
        "checkpoint_dir_name": "weights",
        "buffer_dir_name": "replay",
        "log_dir_name": "messages",
        "tensorboard_dir_name": "curves",
        "config_filename": "settings.json",
        "latest_checkpoint_filename": "newest.pkl",
        "best_checkpoint_filename": "champion.pkl",
        "latest_buffer_filename": "rows.pkl",
    }
    config = tiny_config(tmp_path, persistence=names)
    training = started(config)
    training.manager.save_run_config({})
    training.commit(is_best=True)
    training.commit()
    training.manager.close()
    run = tmp_path / "data/trainings/tiny"
    assert {p.name for p in run.iterdir() if not p.name.startswith(".")} == {
        "commits", "curves", "episodes", "messages", "newest.json", "replay", "settings.json",
        "weights"
    }  # fmt: skip
    assert (run / "weights/newest.pkl").resolve().name == "checkpoint_step_2.pkl"
    assert (run / "weights/champion.pkl").resolve().name == "checkpoint_step_1.pkl"
    assert (run / "replay/rows.pkl").resolve().name == "buffer_step_2.pkl"
    assert (tmp_path / "data/tracking").is_dir()
    assert_same_rows(rows_of(reload(config)), training.rows())
    fork_run(config.persistence, "tiny", "other")
    state = load_for_reading(config.persistence, "other")
    assert_same_rows(rows_of(state), training.rows())
    usual = tiny_config(tmp_path / "elsewhere").persistence
    assert state.commit is not None
    write_archive(PathManager(config.persistence, "other"), state.commit, tmp_path / "run.tar")
    restore_run(usual, tmp_path / "run.tar", "other")
    assert_same_rows(rows_of(load_for_reading(usual, "other")), training.rows())
    links = PathManager(usual, "other").run / "weights"
    assert (links / "latest.pkl").resolve().parent == links.resolve()


def test_everything_in_a_run_has_a_name_of_its_own(tmp_path: Path) -> None:
    """No folder can be given the name of what a run's folder holds besides."""
    paths = PathManager(tiny_config(tmp_path).persistence, "r")
    inside = {
        getattr(paths, name).name
        for name, value in vars(PathManager).items()
        if isinstance(value, property) and getattr(getattr(paths, name), "parent", 0) == paths.run
    }
    assert {"commits", "run.json", "checkpoints"} <= inside
    for name in inside:
        for field in ("checkpoint_dir_name", "buffer_dir_name"):
            if PersistenceConfig.model_fields[field].default == name:
                continue
            with pytest.raises(ConfigError, match=r"name of a run's own|_dir_name|config_filename"):
                tiny_config(persistence={field: name})


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"checkpoint_dir_name": "../x"}, "checkpoint_dir_name"),
        ({"buffer_dir_name": "a/b"}, "buffer_dir_name"),
        ({"log_dir_name": ".hidden"}, "log_dir_name"),
        ({"config_filename": "settings.toml"}, "config_filename"),
        ({"checkpoint_dir_name": "commits"}, "a name of a run's own"),
        ({"checkpoint_dir_name": "same", "buffer_dir_name": "same"}, "is checkpoint_dir_name"),
        ({"runs_dir_name": "mlruns"}, "are the same"),
        ({"runs_dir_name": "MLruns"}, "are the same"),
        ({"checkpoint_dir_name": "Commits"}, "a name of a run's own"),
        ({"log_dir_name": "Buffers"}, "buffer_dir_name"),
        ({"best_checkpoint_filename": "Latest.pkl"}, "are the same"),
    ],
)
def test_names_that_cannot_be_are_refused(names: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        tiny_config(persistence=names)
