"""The counters and scores of a run: what the loop itself remembers from step to step."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from alphatriangle.utils.types import Episode

RECENT_GAMES: Final = 100


class Progress:
    """Part of every commit. The same for every way of interrupting the run."""

    def __init__(self) -> None:
        self.episodes_played = 0
        self.total_simulations = 0
        self.recent_scores: deque[float] = deque(maxlen=RECENT_GAMES)
        self.evaluation_before: dict[str, Any] | None = None
        """The agent before training, for the table at the end."""

    def add(self, episodes: Sequence[Episode], simulations: float) -> None:
        """Count finished games."""
        self.episodes_played += len(episodes)
        self.total_simulations += int(simulations)
        self.recent_scores.extend(e.score for e in episodes)

    @property
    def score(self) -> float | None:
        """Mean of the recent games; None before the first has finished."""
        return sum(self.recent_scores) / len(self.recent_scores) if self.recent_scores else None

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return {
            "episodes_played": self.episodes_played,
            "total_simulations": self.total_simulations,
            "recent_scores": list(self.recent_scores),
            "evaluation_before": self.evaluation_before,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned."""
        self.episodes_played = int(state["episodes_played"])
        self.total_simulations = int(state["total_simulations"])
        self.recent_scores = deque(state["recent_scores"], maxlen=RECENT_GAMES)
        self.evaluation_before = state["evaluation_before"]
