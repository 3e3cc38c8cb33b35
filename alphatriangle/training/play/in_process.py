"""Self-play in the training process: deterministic."""

from __future__ import annotations

from typing import Any

from alphatriangle.config import Config
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult
from alphatriangle.rl.games import unpack_games
from alphatriangle.training.play.episodes import open_episodes
from alphatriangle.training.play.source import Ledger, make_self_play, sorted_episodes


class InProcessPlay:
    """Plays between training steps, deterministically, with the newest weights."""

    # So many network calls a visit: short enough to keep the display and Ctrl-C alive.
    ROUNDS = 16

    def __init__(self, network: NeuralNetwork, config: Config) -> None:
        self._network = network
        self._ledger = Ledger()
        self._self_play = make_self_play(network, config, refill=self._ledger.take)
        self._is_playing = False

    def wait_until_ready(self, seconds: float) -> bool:
        """It always can."""
        return True

    def collect(self, wanted_rows: int) -> list[PlayResult]:
        """Play until the rows are there, or for a while."""
        if wanted_rows <= 0:
            return []
        self._is_playing = True
        result = self._self_play.play(wanted_rows, self.ROUNDS)
        self._is_playing = False
        return [result]

    def update_weights(self) -> None:
        """Evaluate with the newest weights from now on."""
        self._network.refresh()

    def state_dict(self) -> dict[str, Any]:
        """Ledger and games in flight; those that an error stopped in the middle of a round are
        played again."""
        return {
            "next_episode": self._ledger.next_episode,
            "unfinished": sorted_episodes(self._self_play.unfinished(), self._ledger.returned),
            "games": None if self._is_playing else self._self_play.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the games in flight, where the state has them; replay what else is unfinished.

        Raises:
            ValueError: the games in flight do not fit the configuration.
        """
        unfinished, rows = open_episodes(state)
        self._ledger.next_episode = int(state["next_episode"])
        games = state["games"] or {}
        if "lanes" in games:
            self._self_play.load_state_dict(games)
        # Ray workers had these.
        self._self_play.leave_out(rows)
        for packed in games.get("packed", ()):
            self._self_play.adopt(unpack_games(packed, only=unfinished.tolist()))
        taken = set(self._self_play.unfinished())
        self._ledger.give_back([int(e) for e in unfinished if int(e) not in taken])

    def begin(self) -> None:
        """It plays when it is asked."""

    def take_wish_to_save(self) -> bool:
        """Nothing can be lost but with this process."""
        return False

    @property
    def problem(self) -> str | None:
        """Nothing that does not end training."""
        return None

    def facts(self) -> dict[str, Any] | None:
        """There are no workers."""
        return None

    def close(self, *, wait: bool = True) -> None:
        """Nothing to stop."""
