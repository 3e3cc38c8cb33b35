"""A small training state to save, and ways to look at what was saved."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Any, ClassVar, TypeVar, overload

import numpy as np
import numpy.typing as npt
import pytest
import torch

from alphatriangle.config import Config
from alphatriangle.data import DataManager, Ring, Serializer
from alphatriangle.data.commits.capture import Stateful
from alphatriangle.data.commits.files import StoredCommit
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.replay.source import ReplaySource
from alphatriangle.data.schemas import LoadedTrainingState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, Trainer
from alphatriangle.training.learning.batches import restore_learner
from alphatriangle.utils.columns import joined
from alphatriangle.utils.global_rng import seed_everything
from alphatriangle.utils.types import Episode, Rows
from tests.conftest import make_network
from tests.features.test_encoder import random_rows


class Counter:
    """A component with state of its own."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "array": np.arange(self.value)}


class AnyTraining(abc.ABC):
    """Network, optimizer and a replay of one kind of rows that change with every step, and their
    DataManager."""

    kind: ClassVar[str]
    share: ClassVar[float]
    """Of what is tried in the short form of the durability tests: see ``budget``."""
    network: Stateful
    optimizer: Stateful
    buffer: Any
    """A :class:`ReplaySource`."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.counter = Counter()
        self.step = 0
        self.manager = DataManager(config.persistence, config.train)

    def advance(self, rows: int = 40) -> None:
        """One step that adds so many rows; everything that is saved follows from the step."""
        self.step += 1
        self.counter.value += 1
        self.add_and_learn(rows)

    @abc.abstractmethod
    def add_and_learn(self, rows: int) -> None:
        """Add rows of this step, and change weights and mutable columns."""

    @abc.abstractmethod
    def restore(self, state: LoadedTrainingState) -> int:
        """Become what was saved; returns its step."""

    def components(self) -> dict[str, Stateful]:
        return {"counter": self.counter}

    def save(self, stats: Any = None, **more: Any) -> None:
        episode = Episode(self.step, 7, np.array([1, 2, 300], np.int16), 1.5, 12, False)
        self.manager.save_training_state(
            self.network,
            self.optimizer,
            stats,
            self.buffer,
            self.step,
            10 * self.step,
            100 * self.step,
            components=self.components(),
            episodes=[episode],
            **more,
        )

    def commit(self, rows: int = 40, **more: Any) -> None:
        self.advance(rows)
        self.save(**more)
        self.manager.flush()


class Training(AnyTraining):
    """Of the puzzle: rows of format version 1."""

    kind = "puzzle"
    share = 1.0
    buffer: ExperienceBuffer

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.network: NeuralNetwork = make_network(config)
        self.trainer = Trainer(self.network, config.train)
        self.optimizer = self.trainer.optimizer
        self.buffer = ExperienceBuffer(config.train)

    def add_and_learn(self, rows: int) -> None:
        self.buffer.add_rows(random_rows(rows, seed=self.step))
        batch = self.buffer.sample(16, self.step)
        _, errors = self.trainer.train_step(batch)
        self.buffer.update_priorities(batch.indices, errors)

    def restore(self, state: LoadedTrainingState) -> int:
        return restore_learner(state, self.network, self.trainer, self.buffer)

    def components(self) -> dict[str, Stateful]:
        return {**super().components(), "scheduler": self.trainer.scheduler}

    def rows(self) -> Rows:
        return self.buffer.rows(self.buffer.oldest, self.buffer.total_added)


class GenericTraining(AnyTraining):
    """Of anybody's columns: rows of format version 2, two columns of which change."""

    kind = "generic"
    share = 1 / 3
    buffer: Ring

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        seed_everything(1)
        self.network: torch.nn.Linear = torch.nn.Linear(30, 2)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.buffer = Ring(
            config.train.buffer_capacity,
            {
                "observations": ("uint8", (6, 5)),
                "actions": "int64",
                "rewards": "float32",
                "done": "bool",
            },
            mutable={"priorities": "float32", "values": ("float16", (2,))},
        )

    def add_and_learn(self, rows: int) -> None:
        chance, ring = np.random.default_rng(self.step), self.buffer
        ring.add(generic_rows(rows, chance))
        chosen = chance.choice(ring.positions(), 16)
        seen = torch.from_numpy(ring["observations"][chosen]).flatten(1) / 255
        values = self.network(seen)
        self.optimizer.zero_grad()
        values.square().mean().backward()
        self.optimizer.step()
        ring["values"][chosen] = values.detach().numpy()
        ring["priorities"][chosen] = chance.random(16)

    def restore(self, state: LoadedTrainingState) -> int:
        checkpoint, saved = state.checkpoint_data, state.buffer_data
        if checkpoint is None or saved is None:
            return 0
        self.network.load_state_dict(checkpoint.model_state_dict)
        self.optimizer.load_state_dict(checkpoint.optimizer_state_dict)
        self.buffer.load_state_dict(saved.buffer_state(), saved.buffer_list.pieces())
        return checkpoint.global_step


def generic_rows(count: int, chance: np.random.Generator) -> dict[str, npt.NDArray[Any]]:
    """Rows for the ring of :class:`GenericTraining`, numbers that are none among them."""
    rewards = chance.standard_normal(count, np.float32)
    rewards[::7] = np.nan
    rewards[3::7] = -np.inf
    return {
        "observations": chance.integers(0, 256, (count, 6, 5), np.uint8),
        "actions": chance.integers(-(2**63), 2**63 - 1, count, np.int64),
        "rewards": rewards,
        "done": chance.random(count) < 0.1,
        "priorities": np.ones(count, np.float32),
        "values": chance.standard_normal((count, 2)).astype(np.float16),
    }


KINDS: dict[str, type[AnyTraining]] = {t.kind: t for t in (Training, GenericTraining)}
over_all_kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
"""What is promised of rows is promised of rows of every kind."""
_AnyTraining = TypeVar("_AnyTraining", bound=AnyTraining)


@overload
def started(config: Config) -> Training: ...
@overload
def started(config: Config, kind: type[_AnyTraining]) -> _AnyTraining: ...
def started(config: Config, kind: type[AnyTraining] = Training) -> AnyTraining:
    training = kind(config)
    training.manager.load_initial_state()
    return training


def assert_same_replay(state: LoadedTrainingState, replay: ReplaySource) -> None:
    """Every row and every mutable column, bit for bit."""
    saved = state.buffer_data
    assert saved is not None
    mutable = saved.mutable if saved.format_version > 1 else {"priorities": saved.priorities}
    found = {**saved.buffer_list.columns(), **mutable}
    views = replay.mutable_views().items()
    there = {
        **joined(replay.row_views(replay.oldest, replay.total_added)),
        **{name: np.concatenate(pieces) for name, pieces in views},
    }
    if not views:
        found = {name: column for name, column in found.items() if column is not None}
    assert list(found) == list(there)
    for name, column in there.items():
        assert (found[name].dtype, found[name].shape) == (column.dtype, column.shape)
        assert found[name].tobytes() == column.tobytes(), name


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
