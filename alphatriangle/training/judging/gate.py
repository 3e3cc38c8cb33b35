"""Which checkpoint is the best: decided by games on the same deals, not by a lucky stretch.

A candidate takes the place of the best when it scores more in the same games, by more than chance
explains: the 95% interval of the mean paired difference lies above zero. Pure; the games are played
in :mod:`alphatriangle.training.judging.evaluator`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from alphatriangle.training.judging.evaluation import Difference, difference


class Verdict(NamedTuple):
    """What the games of a candidate said."""

    step: int
    mean: float
    better: bool
    gain: Difference | None  # against the best before; none against nobody


class Gate:
    """The scores of the best checkpoint so far, and the candidate whose games are being played.

    Checkpoints are named by their step. Part of every commit, so that a run that goes on knows the
    best and plays the games of its candidate again.
    """

    def __init__(self) -> None:
        self.best_step: int | None = None
        self.best_scores: list[float] = []
        self.candidate_step: int | None = None
        self.last_step = 0
        """Of the last candidate."""

    @property
    def best_mean(self) -> float | None:
        """Mean score of the best; None before the first verdict."""
        return float(np.mean(self.best_scores)) if self.best_scores else None

    def propose(self, step: int) -> None:
        """The checkpoint of this step is the next candidate."""
        self.candidate_step = self.last_step = step

    def judge(self, scores: Sequence[float]) -> Verdict:
        """The candidate's games are over: compare it with the best, whose place it may take."""
        assert self.candidate_step is not None
        step, self.candidate_step = self.candidate_step, None
        gain = None
        # Another number of games is another setting: whoever comes first under it is the best.
        if len(self.best_scores) == len(scores):
            gain = difference(scores, self.best_scores)
        verdict = Verdict(step, float(np.mean(scores)), gain is None or gain.low > 0.0, gain)
        if verdict.better:
            self.best_step, self.best_scores = step, [float(s) for s in scores]
        return verdict

    def forget_best(self) -> None:
        """There is none; the next candidate will be."""
        self.best_step, self.best_scores = None, []

    def forget_scores(self) -> None:
        """Games are played in another way from now on: as with another number of them."""
        self.best_scores = []

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return {**vars(self), "best_scores": list(self.best_scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned."""
        self.best_step = state["best_step"]
        self.best_scores = list(state["best_scores"])
        self.candidate_step = state["candidate_step"]
        self.last_step = state["last_step"]
