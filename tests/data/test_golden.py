"""Files of released formats stay loadable, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from alphatriangle.config import PersistenceConfig, TrainConfig, build
from alphatriangle.data import DataManager, Serializer
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.path_manager import existing_run
from alphatriangle.data.runs.inspection import check_files
from alphatriangle.features import rows_from_experiences
from alphatriangle.rl import ExperienceBuffer
from alphatriangle.training.setup import restore_learner
from tests.data.helpers import Training

GOLDEN = Path(__file__).parent.parent / "golden"


def test_a_run_of_format_1_is_read_as_it_was_written() -> None:
    config = PersistenceConfig(root_data_dir=GOLDEN / "run_v1")
    paths = existing_run(config, "golden")
    known = list_commits(paths)
    assert [s.commit.global_step for s in known.commits] == [3, 2, 1]
    assert known.unreadable == []
    assert [c.problem for c in check_files(paths, known) if c.problem] == []
    state = load_for_reading(config, "golden")
    assert state.checkpoint_data is not None
    digest = state_digest(state.checkpoint_data, state.buffer_data)
    assert digest == (GOLDEN / "run_v1.digest").read_text().strip()


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
