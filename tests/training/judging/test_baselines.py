"""Players that do not learn play beside training; nothing depends on when they are done."""

from __future__ import annotations

import os
import signal

import pytest

from alphatriangle.config import Config, build
from alphatriangle.training.judging.baselines import Baselines
from alphatriangle.training.judging.evaluation import BASELINES, evaluate_baseline

GAMES = 6


def config(games: int = GAMES) -> Config:
    return build({"stats": {"evaluation_games": games}})


def nothing(finished: int) -> None:
    pass


def test_beside_training_or_at_its_end_they_play_the_same_games() -> None:
    expected = [evaluate_baseline(player, config(), GAMES) for player in BASELINES]
    beside, late, torn = Baselines(config()), Baselines(config()), Baselines(config())
    beside.begin()
    torn.begin()
    assert torn._process is not None
    os.kill(torn._process.pid, signal.SIGKILL)
    assert late.finish(nothing) == torn.finish(nothing) == expected
    while len(beside.known()) < len(BASELINES):
        assert beside._process is not None
        assert beside._process.poll() in (None, 0)
    assert beside._process is None
    assert beside.finish(nothing) == expected


def test_closing_ends_the_process_at_once() -> None:
    playing = Baselines(config(100_000))
    playing.begin()
    assert playing._process is not None
    number = playing._process.pid
    playing.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    playing.close()


def test_whoever_wants_to_stop_does_not_wait_for_them() -> None:
    def stop(finished: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Baselines(config(1000)).finish(stop)


def test_without_games_there_is_nobody() -> None:
    nobody = Baselines(config(0))
    nobody.begin()
    assert nobody.known() == nobody.finish(nothing) == []
    nobody.close()


def test_the_planner_is_the_hardest_to_beat() -> None:
    planner = evaluate_baseline("planner", config(), 60)
    assert planner.low > evaluate_baseline("beam", config(), 60).mean
