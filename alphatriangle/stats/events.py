"""What can be measured: the names, and how values of an interval become points of a curve."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Aggregation = Literal["mean", "sum", "rate", "latest", "min", "max", "std", "count"]


class Event(NamedTuple):
    """One value measured at a training step."""

    name: str
    value: float
    step: int


class Metric(NamedTuple):
    """What is measured, in which unit, and the points that an interval of it becomes."""

    what: str
    unit: str
    kinds: tuple[Aggregation, ...] = ("latest",)


METRICS: Final[dict[str, Metric]] = {
    "loss/total": Metric("loss of a training step", "nats", ("mean",)),
    "loss/policy": Metric("its part for the policy", "nats", ("mean",)),
    "loss/value": Metric("its part for the value", "nats", ("mean",)),
    "train/policy_entropy": Metric("entropy of the policy on sampled rows", "nats", ("mean",)),
    "train/gradient_norm": Metric("gradient norm before clipping", "1", ("mean", "max")),
    "train/learning_rate": Metric("learning rate", "1"),
    "train/td_error": Metric("|return - expected value| of sampled rows", "score", ("mean",)),
    "train/value_error": Metric("squared error of a chance to survive", "1", ("mean",)),
    "train/rows": Metric("rows trained on", "rows", ("rate",)),
    "train/learner_seconds": Metric("time in training steps", "s", ("rate",)),
    "buffer/rows": Metric("rows in the replay", "rows"),
    "buffer/beta": Metric("exponent of the importance weights", "1"),
    "episode/score": Metric("score of a game", "score", ("mean", "min", "max", "std", "count")),
    "episode/placements": Metric("length of a game", "placements", ("mean",)),
    "episode/games": Metric("games finished", "games", ("rate",)),
    "workers/running": Metric("self-play workers at work", "workers"),
    "search/rows": Metric("rows that have come", "rows", ("rate",)),
    "search/simulations": Metric("simulations", "simulations", ("rate", "sum")),
    "search/deals": Metric("deals played", "deals", ("rate",)),
    "search/positions": Metric("positions given to the network", "positions", ("rate",)),
    "search/moves": Metric("placements decided", "placements", ("rate",)),
    "search/triangles_cleared": Metric("triangles cleared", "triangles", ("rate",)),
    "search/batch_fill": Metric("share of the network's rows in use", "1", ("mean",)),
    "search/distinct": Metric("share of a call's positions that are distinct", "1", ("mean",)),
    "search/depth": Metric("depth of the evaluated positions", "placements", ("mean",)),
    "search/policy_entropy": Metric("entropy of the search's policy", "nats", ("mean",)),
    "search/value_error": Metric("|return - value|, last placements of games", "score", ("mean",)),
    "search/network_seconds": Metric("time in the network, all workers", "s", ("rate",)),
    "search/features_seconds": Metric("time making its input, all workers", "s", ("rate",)),
    "search/tree_seconds": Metric("time in the tree, all workers", "s", ("rate",)),
    "persistence/save_seconds": Metric("from a capture until it was durable", "s"),
    "persistence/blocked_seconds": Metric("how long training waited for a save", "s"),
    "persistence/bytes_written": Metric("size of what a save has written", "bytes"),
    "gate/score": Metric("mean score of the candidate's games", "score"),
    "gate/best_score": Metric("mean score of the best checkpoint in the same games", "score"),
    "gate/gain": Metric("mean difference of the two", "score"),
    "gate/cpu_seconds": Metric("processor time of the candidate's games", "s"),
}


class Point(NamedTuple):
    """A curve: what sinks are given of a metric."""

    name: str
    unit: str
    what: str


def point_name(metric: str, kind: Aggregation) -> str:
    """The name of a metric's points of one kind: rates say so, others only beside a first one."""
    if kind == "rate":
        return f"{metric}_per_second"
    return metric if METRICS[metric].kinds[0] == kind else f"{metric}_{kind}"


def points() -> list[Point]:
    """All curves that there can be."""
    return [
        Point(
            point_name(name, kind),
            {"rate": f"{metric.unit}/s", "count": "1"}.get(kind, metric.unit),
            f"{metric.what} ({kind})" if len(metric.kinds) > 1 else metric.what,
        )
        for name, metric in METRICS.items()
        for kind in metric.kinds
    ]


def is_known(name: str) -> bool:
    """Whether ``name`` is a metric."""
    return name in METRICS
