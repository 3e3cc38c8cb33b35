"""Somebody else's run: said so, never taken for an empty one, and in nobody's way."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphatriangle.config import PersistenceConfig
from alphatriangle.data import DataManager
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import DataFolderError, FileUnavailableError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import RunInfo
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.runs.summary import latest_run, read_run_info, summarize_run, summarize_runs
from tests.conftest import tiny_config
from tests.data.helpers import started

NOBODY = 65534


@pytest.fixture
def config() -> Iterator[PersistenceConfig]:
    """Two runs in a folder that everybody may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        config = tiny_config(Path(folder))
        training = started(config)
        training.manager.write_run_info(
            RunInfo(run_name="tiny", created_at="", target_steps=9, steps_per_round=9)
        )
        training.commit()
        training.manager.close()
        fork_run(config.persistence, "tiny", "other")
        yield config.persistence


@contextlib.contextmanager
def closed(path: Path) -> Iterator[None]:
    """Nobody but root may use ``path``, and this process is not root."""
    mode = path.stat().st_mode
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
@pytest.mark.parametrize("what", ["", "commits", "commits/step_1.json", "run.json"])
def test_what_cannot_be_read_is_not_taken_for_empty(config: PersistenceConfig, what: str) -> None:
    path = PathManager(config, "other").run / what
    with closed(path):
        with pytest.raises(FileUnavailableError, match="cannot be read now: Permission denied"):
            summarize_run(config, "other")
        with pytest.raises(FileUnavailableError):
            latest_run(config)
        states = {run.name: run.state for run in summarize_runs(config, unreadable_too=True)}
        assert states == {"tiny": "unfinished", "other": "unreadable"}
        state = load_for_reading(config, "tiny")
        assert state.commit is not None


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
@pytest.mark.parametrize("what", ["", "commits"])
def test_nothing_begins_over_it(config: PersistenceConfig, what: str) -> None:
    paths = PathManager(config, "other")
    train = tiny_config(config.root_data_dir).train.model_copy(update={"run_name": "other"})
    inheriting = train.model_copy(update={"auto_resume_latest": True})
    with closed(paths.run / what):
        with pytest.raises(FileUnavailableError):
            fork_run(config, "tiny", "other")
        with pytest.raises(FileUnavailableError):
            DataManager(config, inheriting).load_initial_state()
        with pytest.raises(DataFolderError, match="Permission denied"):
            DataManager(config, train).load_initial_state()
    assert len(list_commits(paths).commits) == 1
    info = read_run_info(paths)
    assert info is not None
    assert info.started_from == "tiny at step 1"


def test_a_folder_of_runs_that_is_gone_is_empty(config: PersistenceConfig) -> None:
    shutil.rmtree(config.root_data_dir / "runs")
    assert summarize_runs(config) == []
