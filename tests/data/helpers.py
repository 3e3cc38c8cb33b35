"""A small training state to save, and ways to look at what was saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from alphatriangle.config import Config
from alphatriangle.data import DataManager, Serializer
from alphatriangle.data.commits.files import StoredCommit
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.schemas import LoadedTrainingState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, Trainer
from alphatriangle.utils.types import Episode, Rows
from tests.conftest import make_network
from tests.features.test_encoder import random_rows


class Counter:
    """A component with state of its own."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "array": np.arange(self.value)}


class Training:
    """Network, optimizer and buffer that change with every step, and their DataManager."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.network: NeuralNetwork = make_network(config)
        self.trainer = Trainer(self.network, config.train)
        self.buffer = ExperienceBuffer(config.train)
        self.counter = Counter()
        self.step = 0
        self.manager = DataManager(config.persistence, config.train)

    def advance(self, rows: int = 40) -> None:
        self.step += 1
        self.counter.value += 1
        self.buffer.add_rows(random_rows(rows, seed=self.step))
        batch = self.buffer.sample(16, self.step)
        _, errors = self.trainer.train_step(batch)
        self.buffer.update_priorities(batch.indices, errors)

    def save(self, **more: Any) -> None:
        episode = Episode(self.step, 7, np.array([1, 2, 300], np.int16), 1.5, 12, False)
        self.manager.save_training_state(
            self.network,
            self.trainer.optimizer,
            None,
            self.buffer,
            self.step,
            10 * self.step,
            100 * self.step,
            components={"scheduler": self.trainer.scheduler, "counter": self.counter},
            episodes=[episode],
            **more,
        )

    def commit(self, rows: int = 40, **more: Any) -> None:
        self.advance(rows)
        self.save(**more)
        self.manager.flush()

    def rows(self) -> Rows:
        return self.buffer.rows(self.buffer.oldest, self.buffer.total_added)


def started(config: Config) -> Training:
    training = Training(config)
    training.manager.load_initial_state()
    return training


def reload(config: Config) -> LoadedTrainingState:
    """Load as a new process would."""
    manager = DataManager(config.persistence, config.train)
    try:
        return manager.load_initial_state()
    finally:
        manager.close()


def rows_of(state: LoadedTrainingState) -> Rows:
    assert state.buffer_data is not None
    items = state.buffer_data.buffer_list
    assert isinstance(items, SegmentedRows)
    return Rows(**items.columns())


def check_sound(run: Path, stored: StoredCommit) -> None:
    """Training could go on from it."""
    state = read_sound(run, stored.path, stored.commit, Serializer())
    assert not state.damaged_recordings


def flip_bit(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << (position % 8)
    path.write_bytes(bytes(data))
