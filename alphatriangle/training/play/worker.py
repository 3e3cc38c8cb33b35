"""A self-play worker: one process, one thread, one pool of games.

Its libraries are imported where it runs: the supervisor, which knows this class by name, needs none
of them.
"""

from __future__ import annotations

import contextlib
import cProfile
import os
import pickle
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.training.play.forgotten import EndsWhenForgotten


class Orders(NamedTuple):
    """What a worker is given with a call."""

    episodes: list[int]
    """To play from their beginnings, after those that it has."""
    rows: dict[int, int]
    """Of episodes given, rows that have been handed out before."""
    homes: list[tuple[bytes, list[int]]]
    """Packed games, and the episodes in them that it shall play on."""
    version: int
    """Of the weights."""
    min_rows: int
    bring_home: bool
    """Whether to hand over the games in flight with the rows."""


class Played(NamedTuple):
    """What the supervisor has to know of a call, and the rest of it, pickled."""

    episodes: list[int]
    """Those that have finished."""
    rows: int
    process_id: int
    flying: npt.NDArray[np.int64]
    """[K, 2]: see ``SelfPlay.flying``."""
    games: bytes | None
    games_of: list[int]
    """The episodes in ``games``."""
    pickled: bytes
    """The ``PlayResult``."""
    profile: bytes | None = None
    """Where its time has gone so far, of a worker that is asked."""


class SelfPlayWorker:
    """Use as ``ray.remote(SelfPlayWorker)``."""

    def __init__(self, config_fields: dict[str, Any], device: str, profile: bool) -> None:
        """``profile``: whether to hand over with each result where its time has gone."""
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
        self._profile = cProfile.Profile() if profile else None
        self._life = EndsWhenForgotten()

    def hello(self) -> tuple[int, str]:
        """Its process, and the arithmetic that its processor has made it choose."""
        with self._life.call():
            return os.getpid(), str(self._network.arithmetic().inference_dtype)

    def play(self, orders: Orders, weights: bytes) -> Played:
        """Take episodes, games and weights, play at least ``min_rows`` rows."""
        from alphatriangle.training.profiling import packed

        with self._life.call(), self._profile or contextlib.nullcontext():
            played = self._do(orders, weights)
        return played._replace(profile=packed(self._profile)) if self._profile else played

    def _do(self, orders: Orders, weights: bytes) -> Played:
        from alphatriangle.rl.games import unpack_games

        if orders.version != self._weights_version:
            self._network.set_weights(unpickle_weights(weights))
            self._weights_version = orders.version
        self._self_play.leave_out(orders.rows)
        for packed, episodes in orders.homes:
            self._self_play.adopt(unpack_games(packed, only=episodes))
        self._self_play.add_episodes(orders.episodes)
        result = self._self_play.play(orders.min_rows)
        finished = [e.episode for e in result.episodes]
        games, games_of = self.games() if orders.bring_home else (None, [])
        return Played(
            finished,
            len(result.rows),
            os.getpid(),
            self._self_play.flying(),
            games,
            games_of,
            pickle.dumps(result, protocol=5),
        )

    def games(self) -> tuple[bytes, list[int]]:
        """The games in flight, packed, and their episodes."""
        from alphatriangle.rl.games import pack_games

        with self._life.call():
            games = self._self_play.games_in_flight()
            return pack_games(games), [game.episode for game in games]


def pickle_weights(weights: dict[str, Any]) -> bytes:
    """Weights on the CPU, by name, as arrays."""
    return pickle.dumps({name: tensor.numpy() for name, tensor in weights.items()}, protocol=5)


def unpickle_weights(pickled: bytes) -> dict[str, Any]:
    """The tensors of :func:`pickle_weights`."""
    import torch

    return {name: torch.from_numpy(array) for name, array in pickle.loads(pickled).items()}
