"""Run names and paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data.errors import DataError, DataFolderError, InvalidRunNameError
from alphatriangle.data.path_manager import PathManager, check_run_name, unused
from tests.data.helpers import started


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
