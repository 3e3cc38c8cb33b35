"""What many workers cost the training process: its main thread a result, and the books a commit.

The workers are fake (``fake_supervisor.py``): the messages are real, and so are the pipes.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator

from alphatriangle.config import build
from alphatriangle.data.commits.staging import Staging
from alphatriangle.nn import NeuralNetwork
from alphatriangle.training.play.ray_play import RayPlay
from benchmarks.fake_supervisor import GAMES, WARM_UP

_AT_LEAST = 400


def run() -> Iterator[tuple[str, str, str]]:
    """Rows of the table."""
    for workers in (64, 1000):
        yield from _measure(workers)


def _measure(workers: int) -> Iterator[tuple[str, str, str]]:
    config = build(
        {
            "train": {"games_per_worker": GAMES},
            "model": {"conv_channels": 8, "num_residual_blocks": 1},
        }
    )
    network = NeuralNetwork(config.model, "cpu")
    play = RayPlay(network, config, workers, supervisor="benchmarks.fake_supervisor")
    try:
        play.wait_until_ready(60)
        play.begin()
        for _ in range(WARM_UP * workers):
            play.collect(10_000_000)
        results, spent = 0, 0.0
        while results < max(_AT_LEAST, workers):
            begin = time.thread_time()
            results += len(play.collect(10_000_000))
            spent += time.thread_time() - begin
        staging = Staging()
        for _ in range(2):  # the first save of a run allocates
            begin = time.perf_counter()
            staging.begin()
            state = staging.copy(play.state_dict())
            staging.finish()
            blocked = time.perf_counter() - begin
        begin = time.thread_time()
        for place, late in staging.late:
            place.update(late.formed())
        behind = time.thread_time() - begin
        size = len(pickle.dumps(state, protocol=5))
    finally:
        play.close()
    name = f"{workers} workers of {GAMES} games"
    yield name, f"{spent / results * 1e3:.2f} ms", "main thread's CPU time a result"
    yield name, f"{blocked * 1e3:.1f} ms, {size / 1e6:.2f} MB", "the books of a commit"
    yield name, f"{behind * 1e3:.0f} ms", "CPU time of a commit's own thread for them"
