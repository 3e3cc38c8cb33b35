"""Search with features and a value of your own: anything that can evaluate positions will do."""

import numpy as np

from alphatriangle.config import EnvConfig, SearchConfig
from alphatriangle.game.geometry import ACTIONS
from alphatriangle.game.players import mobility
from alphatriangle.rl import play_episodes
from alphatriangle.utils.types import Evaluation


class OpenPlaces:
    """No network: a position is worth what it leaves open, and all moves are alike at first."""

    def evaluate(self, boards: np.ndarray, slots: np.ndarray) -> Evaluation:
        """[N, 2] boards and [N, 3] slots to logits [N, 360] and values [N]."""
        values = np.array([0.3 * mobility(lo, hi) for lo, hi in boards], np.float32)
        return Evaluation(np.zeros((len(boards), ACTIONS), np.float32), values)


games = play_episodes(
    OpenPlaces(),
    SearchConfig(num_simulations=48, max_considered_actions=48),
    EnvConfig(),
    episodes=list(range(10)),
    seed=1,
    gamma=0.98,
)
print(f"mean score of {len(games)} games: {np.mean([game.score for game in games]):.1f}")
