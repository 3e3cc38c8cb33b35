"""Events, pure aggregation, sinks."""

from alphatriangle.stats.collector import StatsCollector, StatsCollectorActor
from alphatriangle.stats.events import Event

__all__ = ["Event", "StatsCollector", "StatsCollectorActor"]
