"""Files of released formats stay loadable, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from alphatriangle.config import PersistenceConfig, TrainConfig, build
from alphatriangle.data import DataManager, Saver, Serializer
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.path_manager import existing_run
from alphatriangle.data.runs.inspection import check_files
from alphatriangle.features import rows_from_experiences
from alphatriangle.rl import ExperienceBuffer
from alphatriangle.training.learning.batches import restore_learner
from tests.data.helpers import Training
from tests.golden import make_v2, make_v3

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.mark.parametrize(
    ("name", "steps"), [("run_v1", [3, 2, 1]), ("run_v2", [5, 4]), ("run_v3", [7, 6, 5, 4])]
)
def test_a_run_is_read_as_it_was_written(name: str, steps: list[int]) -> None:
    config = PersistenceConfig(root_data_dir=GOLDEN / name)
    paths = existing_run(config, "golden")
    known = list_commits(paths)
    assert [s.commit.global_step for s in known.commits] == steps
    assert known.unreadable == []
    assert [c.problem for c in check_files(paths, known) if c.problem] == []
    state = load_for_reading(config, "golden")
    assert state.checkpoint_data is not None
    digest = state_digest(state.checkpoint_data, state.buffer_data)
    assert digest == (GOLDEN / f"{name}.digest").read_text().strip()


def test_a_run_of_format_1_goes_on(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "run_v1", tmp_path / "data", symlinks=True)
    config = PersistenceConfig(root_data_dir=tmp_path / "data", mlflow=False)
    state = load_for_reading(config, "golden")
    assert state.checkpoint_data is not None
    settings = build(state.checkpoint_data.config | {"persistence": config.model_dump(mode="json")})
    training = Training(settings)
    loaded = training.manager.load_initial_state()
    training.step = restore_learner(loaded, training.network, training.trainer, training.buffer)
    assert training.step == 3
    # Its schedule was torch's own: the rate goes on where it was, and is that of the next step.
    (rate,) = state.checkpoint_data.components["scheduler"]["_last_lr"]
    assert training.trainer.optimizer.learning_rate == rate
    assert training.buffer.beta == ExperienceBuffer(settings.train).beta
    training.commit()
    training.manager.close()
    again = DataManager(config, TrainConfig(run_name="golden"))
    final = again.load_initial_state()
    again.close()
    assert final.commit is not None
    assert final.commit.global_step == 4


def test_the_columns_of_format_2_are_what_they_were() -> None:
    """Every row, by the numbers that the files were made of; merged ones among them."""
    state = load_for_reading(PersistenceConfig(root_data_dir=GOLDEN / "run_v2"), "golden")
    saved = state.buffer_data
    assert saved is not None
    assert state.commit is not None
    segments = [(f.first, f.end) for f in state.commit.of_kind("segment")]
    assert segments == [(0, 10), (10, 16), (16, 22), (22, 28)]
    assert (saved.format_version, saved.oldest, saved.total_added) == (2, 4, 28)
    expected = make_v2.rows(4, 28), make_v2.mutable(4, 28, step=5)
    for found, columns in zip((saved.buffer_list.columns(), saved.mutable), expected, strict=True):
        assert list(found) == list(columns)
        for name, column in columns.items():
            assert (found[name].dtype, found[name].shape) == (column.dtype, column.shape)
            assert found[name].tobytes() == column.tobytes(), name


def test_a_run_of_format_2_goes_on(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "run_v2", tmp_path, symlinks=True, dirs_exist_ok=True)
    env: dict[str, int] = {}
    for step in (5, 6):
        ring, model = make_v2.ring(), torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
        parts = {"model": model, "optimizer": optimizer, "env": env}
        with Saver(tmp_path, "golden", replay=ring, signals=False) as saver:
            assert saver.restore(parts) == step
            assert env == {"position": 50}
            first = ring.total_added
            ring.add(make_v2.rows(first, first + 3) | make_v2.mutable(first, first + 3, step))
            saver.save(step + 1)
    expected = make_v2.rows(10, 34)
    for name, column in expected.items():
        assert ring[name][ring.positions()].tobytes() == column.tobytes()


def test_commits_of_format_2_name_files_with_checksums_and_older_ones_without() -> None:
    known = list_commits(existing_run(PersistenceConfig(root_data_dir=GOLDEN / "run_v3"), "golden"))
    versions = [stored.commit.format_version for stored in known.commits]
    assert versions == [2, 2, 1, 1]
    old = {file.path for stored in known.commits[2:] for file in stored.commit.files}
    for stored in known.commits:
        for file in stored.commit.files:
            assert (file.xxh3 is None) == (file.path in old)
    assert old & {file.path for file in known.commits[0].commit.files}
    # Rows of both kinds of segments: with zstd, which no byte of a row survives, and without.
    folder = GOLDEN / "run_v3/runs/golden"
    for file in known.commits[0].commit.of_kind("segment"):
        actions = make_v2.rows(file.first or 0, file.end or 0)["actions"]
        stands_there = actions.tobytes() in (folder / file.path).read_bytes()
        assert stands_there == (file.path not in old)


def test_a_run_of_commits_of_format_2_goes_on(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "run_v3", tmp_path, symlinks=True, dirs_exist_ok=True)
    make_v3.go_on(tmp_path, steps=(8, 9))
    settings = PersistenceConfig(root_data_dir=tmp_path, mlflow=False)
    state = load_for_reading(settings, "golden")
    assert state.commit is not None
    assert (state.commit.global_step, state.rejected) == (9, [])
    assert state.buffer_data is not None
    rows = state.buffer_data.buffer_list.columns()
    for name, column in make_v2.rows(16, 40).items():
        assert rows[name].tobytes() == column.tobytes()


def test_a_buffer_of_the_known_project_is_read() -> None:
    buffer = Serializer().load_buffer(GOLDEN / "known_project_buffer.pkl")
    assert len(buffer) == 2
    state, policy, value = buffer.experiences[1]
    np.testing.assert_array_equal(state["grid"].ravel(), np.arange(120))
    assert len(policy) == 360
    assert value == 2.5
    # Its grid is another one, so there is nothing here that could be trained on.
    with pytest.raises(ValueError, match="grid"):
        rows_from_experiences(buffer.experiences)
