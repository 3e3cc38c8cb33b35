"""Events become points, and no sink gets a point twice."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alphatriangle.stats import Event, StatsCollector
from alphatriangle.stats.aggregate import aggregate, aggregate_values
from alphatriangle.stats.collector import UnknownMetricError
from alphatriangle.stats.events import points
from alphatriangle.stats.sinks import TensorBoardSink

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20)


@given(values, st.floats(0.1, 100))
def test_aggregations(seen: list[float], seconds: float) -> None:
    expected = {
        "mean": statistics.fmean(seen),
        "sum": sum(seen),
        "rate": sum(seen) / seconds,
        "latest": seen[-1],
        "min": min(seen),
        "max": max(seen),
        "std": statistics.pstdev(seen),
        "count": len(seen),
    }
    for kind, value in expected.items():
        assert aggregate_values(seen, kind, seconds) == pytest.approx(value)  # type: ignore[arg-type]


def test_points_are_named_by_metric_and_aggregation() -> None:
    events = [Event("episode/score", v, 3) for v in (1.0, 2.0, 6.0)]
    events.append(Event("train/learning_rate", 0.5, 3))
    found = aggregate(events, seconds=2.0)
    assert found["episode/score"] == 3.0
    assert found["episode/score_max"] == 6.0
    assert found["episode/score_count"] == 3.0
    assert found["train/learning_rate"] == 0.5
    assert "loss/total" not in found


def test_rates_say_so_and_every_curve_has_a_unit_and_a_name_of_its_own() -> None:
    events = [Event("search/simulations", 300.0, 3), Event("search/simulations", 100.0, 3)]
    counted = aggregate(events, seconds=2.0)
    assert counted == {"search/simulations_per_second": 200.0, "search/simulations_sum": 400.0}
    known = {point.name: point for point in points()}
    assert len(known) == len(points())
    assert known["search/simulations_per_second"].unit == "simulations/s"
    assert all(point.unit and point.what for point in points())


def test_a_rate_needs_time() -> None:
    assert aggregate_values([5.0], "rate", 0.0) == 0.0


class ListSink:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.last_steps: dict[str, int] = {}
        self.points: list[tuple[int, dict[str, float]]] = []

    def write(self, step: int, points: Mapping[str, float]) -> None:
        self.points.append((step, dict(points)))
        self.last_steps.update(dict.fromkeys(points, step))

    def sync(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_an_interval_is_written_once_and_forgotten() -> None:
    sink = ListSink()
    collector = StatsCollector([sink])
    collector.log([Event("loss/total", 1.0, 1), Event("loss/total", 3.0, 2)])
    assert collector.write(2) == {"loss/total": 2.0}
    assert collector.write(4) == {}
    assert sink.points == [(2, {"loss/total": 2.0})]
    assert collector.latest() == {"loss/total": 2.0}


def test_unknown_metrics_are_refused() -> None:
    collector = StatsCollector()
    with pytest.raises(UnknownMetricError, match="loss/totl"):
        collector.log([Event("loss/total", 1.0, 1), Event("loss/totl", 1.0, 1)])
    assert collector.write(1) == {}


def test_a_half_interval_survives_in_the_state() -> None:
    """Interrupted in the middle of an interval, the point is that of the whole interval."""
    before = StatsCollector()
    before.log([Event("loss/total", 1.0, 1)])
    after = StatsCollector()
    after.set_state(before.get_state())
    after.log([Event("loss/total", 3.0, 2)])
    assert after.write(2) == {"loss/total": 2.0}


def tensorboard_points(folder: Path) -> list[tuple[str, int, float]]:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    return [(tag, e.step, e.value) for tag in tags for e in accumulator.Scalars(tag)]


def test_replayed_steps_appear_once(tmp_path: Path) -> None:
    """After a kill, steps since the last commit are trained again; their points are there."""

    def train(steps: range) -> None:
        collector = StatsCollector([TensorBoardSink(tmp_path)])
        for step in steps:
            collector.log([Event("loss/total", float(step), step)])
            collector.write(step)
        collector.close()

    train(range(0, 6))
    train(range(3, 9))  # a new process, back at the commit of step 2
    seen = [(step, value) for _, step, value in tensorboard_points(tmp_path)]
    assert sorted(seen) == [(step, float(step)) for step in range(9)]


def test_what_the_disk_did_not_take_is_written_by_the_next_sync(tmp_path: Path) -> None:
    """A commit says that the interval has ended: its points must not be in memory only."""
    folder = tmp_path / "tensorboard"
    folder.touch()
    sink = TensorBoardSink(folder)
    sink.write(1, {"loss/total": 1.0})
    folder.unlink()
    sink.sync()
    assert tensorboard_points(folder) == [("loss/total", 1, 1.0)]
    sink.write(2, {"loss/total": 2.0})
    sink.close()
    sink.sync()
    assert len(tensorboard_points(folder)) == 2


def test_a_torn_tensorboard_file_is_read_up_to_the_tear(tmp_path: Path) -> None:
    sink = TensorBoardSink(tmp_path)
    for step in range(4):
        sink.write(step, {"loss/total": 1.0})
    sink.close()
    (path,) = tmp_path.glob("events*")
    path.write_bytes(path.read_bytes()[:-5])
    assert TensorBoardSink(tmp_path).last_steps == {"loss/total": 2}


def test_tensorboard_takes_later_what_it_could_not_take(tmp_path: Path) -> None:
    """A folder that cannot be written for a while, then can: every point once."""
    folder = tmp_path / "tb"
    sink = TensorBoardSink(folder)
    sink.write(1, {"loss/total": 1.0})
    assert sink._file is not None
    os.close(sink._file.fileno())  # the next write fails as it would on a full disk
    sink.write(2, {"loss/total": 2.0})
    aside = folder.rename(tmp_path / "aside")
    folder.write_text("in the way")
    sink.write(3, {"loss/total": 3.0})
    folder.unlink()
    aside.rename(folder)
    sink.write(4, {"loss/total": 4.0})
    sink.close()
    seen = [(step, value) for _, step, value in tensorboard_points(folder)]
    assert sorted(seen) == [(step, float(step)) for step in (1, 2, 3, 4)]
