"""Events of an interval to points. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from alphatriangle.stats.events import METRICS, Aggregation, Event, point_name


def aggregate_values(values: Sequence[float], kind: Aggregation, seconds: float) -> float:
    """One number for the values of an interval of ``seconds``; there is at least one value.

    ``std`` is that of the population; ``rate`` is the sum a second.
    """
    match kind:
        case "mean":
            return statistics.fmean(values)
        case "sum":
            return sum(values)
        case "rate":
            return sum(values) / seconds if seconds > 0 else 0.0
        case "latest":
            return values[-1]
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "std":
            return statistics.pstdev(values)
        case "count":
            return float(len(values))


def aggregate(events: Iterable[Event], seconds: float) -> dict[str, float]:
    """All points of an interval, by name; a metric without events has none."""
    values: dict[str, list[float]] = {}
    for event in events:
        values.setdefault(event.name, []).append(event.value)
    points: dict[str, float] = {}
    for name, seen in values.items():
        for kind in METRICS[name].kinds:
            points[point_name(name, kind)] = aggregate_values(seen, kind, seconds)
    return points
