"""A self-play worker: one process, one thread, one pool of games.

Its libraries are imported where it runs: the supervisor, which knows this class by name, needs none
of them.
"""

from __future__ import annotations

import os
import pickle
from typing import Any, NamedTuple


class Played(NamedTuple):
    """What the supervisor has to know of a call, and the rest of it, pickled."""

    episodes: list[int]
    """Those that have finished."""
    rows: int
    process_id: int
    pickled: bytes
    """The ``PlayResult``."""


class SelfPlayWorker:
    """Use as ``ray.remote(SelfPlayWorker)``."""

    def __init__(self, config_fields: dict[str, Any], device: str) -> None:
        import torch

        from alphatriangle.config import Config
        from alphatriangle.nn import NeuralNetwork
        from alphatriangle.training.play.source import make_self_play
        from alphatriangle.utils.environment import keep_freed_memory

        keep_freed_memory()
        torch.set_num_threads(1)
        config = Config.model_validate(config_fields)
        self._network = NeuralNetwork(config.model, device)
        self._self_play = make_self_play(self._network, config)
        self._weights_version = -1

    def play(self, episodes: list[int], version: int, weights: bytes, min_rows: int) -> Played:
        """Take these episodes and weights, play at least ``min_rows`` rows."""
        if version != self._weights_version:
            self._network.set_weights(unpickle_weights(weights))
            self._weights_version = version
        self._self_play.add_episodes(episodes)
        result = self._self_play.play(min_rows)
        finished = [e.episode for e in result.episodes]
        rows = len(result.rows.returns)
        return Played(finished, rows, os.getpid(), pickle.dumps(result, protocol=5))


def pickle_weights(weights: dict[str, Any]) -> bytes:
    """Weights on the CPU, by name, as arrays."""
    return pickle.dumps({name: tensor.numpy() for name, tensor in weights.items()}, protocol=5)


def unpickle_weights(pickled: bytes) -> dict[str, Any]:
    """The tensors of :func:`pickle_weights`."""
    import torch

    return {name: torch.from_numpy(array) for name, array in pickle.loads(pickled).items()}
