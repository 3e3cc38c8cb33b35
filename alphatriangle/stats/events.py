"""What can be measured: the names, and how values of an interval become points of a curve."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Aggregation = Literal["mean", "sum", "rate", "latest", "min", "max", "std", "count"]


class Event(NamedTuple):
    """One value measured at a training step."""

    name: str
    value: float
    step: int


# A metric's first aggregation keeps its name; the others append theirs, as "episode/score_max".
METRICS: Final[dict[str, tuple[Aggregation, ...]]] = {
    "loss/total": ("mean",),
    "loss/policy": ("mean",),
    "loss/value": ("mean",),
    "train/policy_entropy": ("mean",),
    "train/gradient_norm": ("mean", "max"),
    "train/learning_rate": ("latest",),
    "train/td_error": ("mean",),
    "train/rows": ("rate",),
    "buffer/rows": ("latest",),
    "buffer/beta": ("latest",),
    "episode/score": ("mean", "min", "max", "std", "count"),
    "episode/placements": ("mean",),
    "search/simulations": ("rate", "sum"),
    "search/positions": ("rate",),
    "search/moves": ("rate",),
    "search/batch_fill": ("mean",),
    "search/distinct": ("mean",),
    "search/depth": ("mean",),
    "search/policy_entropy": ("mean",),
    "search/value_error": ("mean",),
    # Seconds of a core, per second: shares of the time, summed over workers.
    "search/network_seconds": ("rate",),
    "search/features_seconds": ("rate",),
    "search/tree_seconds": ("rate",),
    "train/learner_seconds": ("rate",),
    "persistence/save_seconds": ("latest",),
    "persistence/blocked_seconds": ("latest",),
    "persistence/bytes_written": ("latest",),
    "gate/score": ("latest",),
    "gate/best_score": ("latest",),
    "gate/gain": ("latest",),
    "gate/cpu_seconds": ("latest",),
}


def is_known(name: str) -> bool:
    """Whether ``name`` is a metric."""
    return name in METRICS
