"""Kernels are compiled before training needs them, some of them in a process of its own meanwhile:
for convolutional networks self-play's, which takes long, for n-tuple networks those of the saves.

    python -m alphatriangle.training.compiling KIND

compiles these and ends. Others get them from the cache of kernels.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from alphatriangle.config import Config
from alphatriangle.data.replay.arrow import stored_of, table_of
from alphatriangle.features.experience import fill_ragged
from alphatriangle.features.replay_codec import CODEC
from alphatriangle.game.geometry import ACTIONS, SLOTS
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer
from alphatriangle.rl import lanes as ln
from alphatriangle.search import tree as tr
from alphatriangle.training.play.source import make_self_play
from alphatriangle.utils.kernel_files import cache_folders
from alphatriangle.utils.kernels import is_on_disk
from alphatriangle.utils.machine import core_count
from alphatriangle.utils.processes import start_beside
from alphatriangle.utils.types import Rows

_LOOK_SECONDS: Final = 0.1

WaitForKernels = Callable[[Callable[[], None]], None]


@contextlib.contextmanager
def compiling_beside(config: Config) -> Iterator[WaitForKernels]:
    """Let another process compile meanwhile, where there is something to compile, a core for it and
    a cache that hands it over. What is yielded waits for it, asking ``check`` now and then.
    """
    process = None
    needed = fill_ragged if config.model.kind == "ntuple" else ln.next_leaves
    if not is_on_disk(needed) and cache_folders() and core_count() > 1:
        process = start_beside("alphatriangle.training.compiling", config.model.kind)

    def wait(check: Callable[[], None]) -> None:
        while process is not None:
            check()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
                return

    try:
        yield wait
    finally:
        if process is not None:
            process.kill()
            process.wait()


def compile_saves() -> None:
    """Compile what codes rows for files and back: the first save may be the one that somebody who
    stops training waits for."""
    # By the way of a file, whose arrays are read-only.
    CODEC.decode(stored_of(table_of(CODEC.encode(Rows.zeros(1).columns()))))


def compile_learner(config: Config) -> None:
    """Compile every kernel that the learner uses, on rows that are thrown away."""
    small = config.train.model_copy(
        update={"buffer_capacity": 16, "batch_size": 2, "min_buffer_size_to_train": 2}
    )
    buffer = ExperienceBuffer(small)
    buffer.add_rows(Rows.zeros(2))
    batch = buffer.sample(2, 0)
    buffer.update_priorities(batch.indices, np.zeros(2, np.float32))


def compile_answers(config: Config) -> None:
    """Compile what takes the network's answers in self-play, on none."""
    train = config.train
    search = tr.params_from_config(config.search, train.gamma, noise=True)
    play = ln.PlayParams(train.seed, train.n_step_returns, config.env.max_moves_per_episode, True)
    ln.distinct_rows(np.empty((0, 2), np.uint64), np.empty((0, SLOTS), np.int8))
    ln.give_evaluations(
        ln.make_lanes(1, play),
        tr.make_tree(1, search),
        search,
        play,
        np.empty(0, np.int64),
        np.empty((0, ACTIONS), np.float32),
        np.empty(0, np.float32),
    )


def compile_self_play(config: Config) -> None:
    """Compile what is left of self-play's kernels, on games that are thrown away."""
    network = NeuralNetwork(config.model, "cpu")
    small = config.train.model_copy(update={"games_per_worker": 2})
    self_play = make_self_play(network, config.model_copy(update={"train": small}))
    self_play.add_episodes(range(2))
    self_play.play(1, max_rounds=1)


if __name__ == "__main__":
    if sys.argv[1:] == ["ntuple"]:
        compile_saves()
    else:
        # Without episodes the lanes are empty: nothing is asked of a network.
        make_self_play(None, Config()).play(1)  # type: ignore[arg-type]
