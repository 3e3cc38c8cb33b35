"""``StatsCollector`` gathers events and hands points to sinks; ``StatsCollectorActor`` is the same
behind Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from alphatriangle.stats.aggregate import aggregate
from alphatriangle.stats.events import Event, is_known
from alphatriangle.stats.sinks import Sink
from alphatriangle.utils.global_rng import undisturbed


class UnknownMetricError(ValueError):
    """An event names a metric that does not exist."""


class StatsCollector:
    """Gathers events until :meth:`write` turns them into one point per metric."""

    def __init__(
        self, sinks: Sequence[Sink] = (), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._sinks = list(sinks)
        self._clock = clock
        self._interval_start = clock()
        self._events: list[Event] = []
        self._latest: dict[str, float] = {}

    def log(self, events: Iterable[Event]) -> None:
        """Take events.

        Raises:
            UnknownMetricError: an event's name is none of ``METRICS``; no event is taken.
        """
        events = list(events)
        for event in events:
            if not is_known(event.name):
                raise UnknownMetricError(f"there is no metric {event.name!r}; see stats.events")
        self._events += events

    def write(self, step: int) -> dict[str, float]:
        """End the interval at ``step``: aggregate, hand to every sink what it does not have."""
        now = self._clock()
        points = aggregate(self._events, now - self._interval_start)
        self._events = []
        self._interval_start = now
        self._latest.update(points)
        for sink in self._sinks:
            new = {k: v for k, v in points.items() if sink.last_steps.get(k, -1) < step}
            if new:
                with undisturbed():
                    sink.write(step, new)
        return points

    def latest(self) -> dict[str, float]:
        """The newest point of every metric."""
        return dict(self._latest)

    def sync(self) -> None:
        """Make what the sinks have durable; on any thread."""
        for sink in self._sinks:
            sink.sync()

    def close(self) -> None:
        """Sync and close the sinks."""
        for sink in self._sinks:
            sink.close()

    def get_state(self) -> dict[str, Any]:
        """Events of the interval that has not ended, and the newest points."""
        return {"events": [tuple(e) for e in self._events], "latest": dict(self._latest)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`get_state` returned."""
        self._events = [Event(*event) for event in state.get("events", [])]
        self._latest = dict(state.get("latest", {}))


class StatsCollectorActor:
    """The Ray side: builds the sinks where it runs and passes every call on.

    For those who spread over Ray what training does in its own process; see
    :func:`start_collector_actor`.
    """

    def __init__(self, make_sinks: Callable[[], Sequence[Sink]]) -> None:
        self._collector = StatsCollector(make_sinks())

    def log(self, events: Sequence[Event]) -> None:
        """See :meth:`StatsCollector.log`."""
        self._collector.log(events)

    def write(self, step: int) -> dict[str, float]:
        """See :meth:`StatsCollector.write`."""
        return self._collector.write(step)

    def latest(self) -> dict[str, float]:
        """See :meth:`StatsCollector.latest`."""
        return self._collector.latest()

    def sync(self) -> None:
        """See :meth:`StatsCollector.sync`."""
        self._collector.sync()

    def close(self) -> None:
        """See :meth:`StatsCollector.close`."""
        self._collector.close()

    def get_state(self) -> dict[str, Any]:
        """See :meth:`StatsCollector.get_state`."""
        return self._collector.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """See :meth:`StatsCollector.set_state`."""
        self._collector.set_state(state)


def start_collector_actor(make_sinks: Callable[[], Sequence[Sink]]) -> Any:
    """The handle of a ``StatsCollectorActor`` on this node, where its sinks' files belong.

    It begins again, without events, when its process dies. Ray has to be running.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": 5}
    actor = ray.remote(StatsCollectorActor)
    return actor.options(scheduling_strategy=here, **options).remote(make_sinks)
