"""How fast an n-tuple network plays and learns, against what its look-ups alone would take."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from numba import njit

from alphatriangle.ntuple.bit_extract import best_way
from alphatriangle.ntuple.layout import LAYOUT, fold
from alphatriangle.ntuple.learner import OnlineLearner, RoundResult
from alphatriangle.ntuple.tables import Tables
from alphatriangle.ntuple.values import VIEWS, look_up, see
from benchmarks.timing import Result, seconds

DEALS = 20_000
WARM = 60
ROUNDS = 20


@njit
def _places(way, boards, out):  # type: ignore[no-untyped-def]
    views = np.empty(VIEWS, np.uint64)
    for i in range(len(boards)):
        see(boards[i, 0], boards[i, 1], views)
        look_up(way, boards[i, 0], boards[i, 1], views, out[i])


@njit(fastmath=True)
def _gather(weights, places, count):  # type: ignore[no-untyped-def]
    total = np.float32(0.0)
    for i in range(len(places)):
        for k in range(count):
            total += weights[places[i, k]]
    return total


def run() -> Iterator[Result]:
    """Rounds on one core and on two; what they consist of."""
    learner = OnlineLearner(Tables.zeros(), seed=1, sample=10)
    boards = np.concatenate([learner.round(DEALS).rows.boards for _ in range(WARM)])
    speed = _speed(learner)
    yield Result(
        "n-tuple network, deals played and learned from",
        f"{speed.deals / speed.seconds:,.0f}/s",
        f"one core, {speed.evaluations / speed.deals:.0f} boards judged a deal",
    )
    judged = speed.evaluations / speed.seconds
    limit = _limit(learner.tables.weights, boards)
    yield Result(
        "  boards judged",
        f"{judged / 1e6:.1f} million/s",
        f"{judged / limit:.2f} of the same look-ups without anything else",
    )
    both = OnlineLearner(Tables.zeros(), seed=1, copies=2)
    for _ in range(WARM // 2):
        both.round(DEALS)
    fast = _speed(both)
    yield Result(
        "  two copies on two cores",
        f"{fast.deals / fast.seconds:,.0f}/s",
        f"{fast.deals / fast.seconds / (speed.deals / speed.seconds):.2f} x one",
    )


def _speed(learner: OnlineLearner) -> RoundResult:
    """Sums over rounds; ``seconds`` are those of the clock, with all that a round consists of."""
    begin = time.perf_counter()
    rounds = [learner.round(DEALS) for _ in range(ROUNDS)]
    spent = time.perf_counter() - begin
    return rounds[-1]._replace(
        deals=sum(r.deals for r in rounds),
        evaluations=sum(r.evaluations for r in rounds),
        seconds=spent,
    )


def _limit(weights: npt.NDArray[np.float32], boards: npt.NDArray[np.uint64]) -> float:
    """Boards a second, if their places were known and had but to be added up."""
    places = np.empty((len(boards), LAYOUT.lookups), np.uint64)
    _places(best_way(), boards, places)
    first = int(LAYOUT.first[LAYOUT.groups[1]])
    counts = LAYOUT.lookups - int(LAYOUT.first[-1])
    folded = np.concatenate([places[:, :first], places[:, -counts:]], axis=1)
    table = fold(weights)
    return len(boards) / seconds(lambda: _gather(table, folded, folded.shape[1]))
