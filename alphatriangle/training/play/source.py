"""What the training loop asks of self-play, and the ledger of episodes.

Whoever plays hands out rows and finished episodes and numbers episodes from one ledger, so that a
run can go on with another one.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alphatriangle.config import Config
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult, SelfPlay


class PlaySource(Protocol):
    """Where experience comes from."""

    def wait_until_ready(self, seconds: float) -> bool:
        """Whether it can play, after waiting so long for that."""

    def collect(self, wanted_rows: int) -> list[PlayResult]:
        """Some results, soon; not necessarily all the rows wanted.

        With ``wanted_rows`` at 0 or below it returns at once with what there is: so many rows is
        training already behind.
        """

    def update_weights(self) -> None:
        """The network has been trained; self-play may take over its weights."""

    def state_dict(self) -> dict[str, Any]:
        """Which episodes come next or are unfinished, and the games in flight; those of workers as
        they came home last."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; an unfinished episode without its game is played from its seed, its
        first rows, that have come before, left out."""

    def begin(self) -> None:
        """Play ahead, where that takes nothing from this process, until :meth:`collect` asks."""

    @property
    def problem(self) -> str | None:
        """What the person should know of it; None when all is well."""

    def facts(self) -> dict[str, Any] | None:
        """How its workers are, where it has any."""

    def take_wish_to_save(self) -> bool:
        """Whether what there is should be saved now; asked once it is no more."""

    def close(self, *, wait: bool = True) -> None:
        """Stop playing; more than once does no harm. Without ``wait`` it ends by itself, soon."""


class Ledger:
    """Hands out every episode number once; those of lost games again, first."""

    def __init__(self) -> None:
        self.next_episode = 0
        self._returned: list[int] = []

    def take(self, count: int) -> list[int]:
        """The next ``count`` episodes to play."""
        again, self._returned = self._returned[:count], self._returned[count:]
        first = self.next_episode
        self.next_episode += count - len(again)
        return again + list(range(first, self.next_episode))

    @property
    def returned(self) -> list[int]:
        """Given back and not taken again."""
        return list(self._returned)

    def give_back(self, episodes: list[int]) -> None:
        """These were taken and not finished."""
        self._returned = sorted(self._returned + episodes)


def sorted_episodes(*episodes: list[int]) -> npt.NDArray[np.int64]:
    """All of them as one array, ascending."""
    return np.array(sorted(e for part in episodes for e in part), np.int64)


def make_self_play(network: NeuralNetwork, config: Config, **more: Any) -> SelfPlay:
    """Self-play with the settings of the run."""
    train = config.train
    return SelfPlay(
        network,
        config.search,
        config.env,
        games=train.games_per_worker,
        gamma=train.gamma,
        n_step=train.n_step_returns,
        seed=train.seed,
        **more,
    )
