"""The state that the persistence benchmarks save: real rows, and the network of the preset
``convolutional-laptop``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alphatriangle.config import Config, build, merge, preset
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, SelfPlay, Trainer
from alphatriangle.utils.types import Rows

NEW_ROWS = 2_000
"""Rows added between two saves."""
_REAL_ROWS = 4_000


def make_config(folder: Path, capacity: int) -> Config:
    """Prioritised replay, because only that has priorities to save."""
    layer = {
        "train": {"run_name": "bench", "buffer_capacity": capacity, "use_per": True},
        "persistence": {"root_data_dir": str(folder), "mlflow": False, "keep_last": 3},
    }
    return build(merge(preset("convolutional-laptop"), layer))


def make_rows(config: Config, count: int) -> Rows:
    """Rows of real games, repeated, with policies and returns changed a little in every copy.

    Playing so many takes long; without the change, compression would find the copies.
    """
    network = NeuralNetwork(config.model, "cpu")
    player = SelfPlay(network, config.search, config.env, games=64, gamma=0.99, n_step=3, seed=1)
    player.add_episodes(range(10_000))
    real = player.play(_REAL_ROWS).rows
    chosen = real[np.arange(count) % len(real)]
    noise = np.random.default_rng(0)
    for start in range(0, count, 50_000):
        part = slice(start, start + 50_000)
        factor = noise.uniform(0.9, 1.1, chosen.policies[part].shape).astype(np.float32)
        chosen.policies[part] *= factor
        chosen.policies[part] /= np.maximum(chosen.policies[part].sum(1, keepdims=True), 1e-9)
        chosen.returns[part] += noise.normal(0, 0.1, len(chosen.returns[part])).astype(np.float32)
    return chosen


def save_rows(rows: Rows, path: Path) -> None:
    """For the processes that measure."""
    np.savez(path, b=rows.boards, s=rows.slots, p=rows.policies, r=rows.returns)


def load_rows(path: Path) -> Rows:
    """What :func:`save_rows` wrote."""
    with np.load(path) as f:
        return Rows(f["b"], f["s"], f["p"], f["r"])


class TrainingState:
    """Network, optimizer with its moments, and a full buffer."""

    def __init__(self, config: Config, rows: Rows) -> None:
        self.config = config
        self.network = NeuralNetwork(config.model, "cpu")
        self.trainer = Trainer(self.network, config.train)
        self.buffer = ExperienceBuffer(config.train)
        self.rows = rows
        while len(self.buffer) < config.train.buffer_capacity:
            self.buffer.add_rows(rows)
        self.small_batch = self.buffer.sample(32, 0)
        self.trainer.train_step(self.small_batch)

    def advance(self, i: int) -> None:
        """What happens between two saves: new rows, and a step that moves weights and caches."""
        start = i * NEW_ROWS % (len(self.rows) - NEW_ROWS)
        self.buffer.add_rows(self.rows[start : start + NEW_ROWS])
        _, errors = self.trainer.train_step(self.small_batch)
        self.buffer.update_priorities(self.small_batch.indices, errors)
