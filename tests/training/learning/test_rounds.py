"""Learning in rounds: exact however it is interrupted, and saved without a copy."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from alphatriangle.config import Config
from alphatriangle.data import DataManager
from alphatriangle.data.commits.digest import value_digest
from alphatriangle.data.errors import StateMismatchError
from alphatriangle.data.records import RunInfo
from alphatriangle.data.schemas import LoadedTrainingState
from alphatriangle.training.display.display import Display
from alphatriangle.training.learning.batches import BatchLearner
from alphatriangle.training.learning.rounds import RoundLearner, chosen, copy_count
from alphatriangle.utils.machine import core_count
from alphatriangle.utils.signals import StopRequest, StopRequested
from alphatriangle.utils.types import Episode, Rows
from tests.conftest import tiny_config


def config(tmp_path: Path, copies: int = 2, **ntuple: object) -> Config:
    return tiny_config(
        tmp_path,
        model={"kind": "ntuple"},
        ntuple={"deals_per_step": 200, "sample_every": 7, **ntuple},
        train={"num_workers": copies, "buffer_capacity": 400},
    )


def learn(learner: RoundLearner, steps: range) -> list[Episode]:
    """Rounds, as the loop does them; returns the games that ended."""
    episodes: list[Episode] = []
    for step in steps:
        for played in learner.step(step).played:
            learner.buffer.add_rows(played.rows)
            episodes += played.episodes
    return episodes


def rows_of(learner: RoundLearner) -> Rows:
    return learner.buffer.rows(learner.buffer.oldest, learner.buffer.total_added)


def digest(learner: RoundLearner) -> str:
    state = [learner.network.state_dict(), learner.optimizer.state_dict(), learner.state_dict()]
    return value_digest([*map(dict, state), rows_of(learner).columns()])


def save(learner: RoundLearner, settings: Config, step: int) -> LoadedTrainingState:
    """Save with a manager of its own, and load again with another."""
    data = DataManager(settings.persistence, settings.train)
    data.load_initial_state()
    data.config = settings.model_dump(mode="json")
    data.save_training_state(
        learner.network, learner.optimizer, None, learner.buffer, step, 0, 0,
        components=learner.components,
    )  # fmt: skip
    data.close()
    other = DataManager(settings.persistence, settings.train)
    state = other.load_initial_state()
    other.close()
    return state


def test_saved_and_loaded_it_learns_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    settings = config(tmp_path)
    whole, first = RoundLearner(settings, None, ()), RoundLearner(settings, None, ())
    games = learn(whole, range(5))
    before = learn(first, range(2))
    assert digest(first) != digest(whole)
    state = save(first, settings, 2)
    again = RoundLearner(settings, None, ())
    assert again.load(state) == 2
    again.go_on(state)
    after = learn(again, range(2, 5))
    assert digest(again) == digest(whole)
    assert [e.episode for e in before + after] == [e.episode for e in games]


def test_who_asks_to_stop_does_not_wait_for_the_end_of_a_long_round(tmp_path: Path) -> None:
    event = threading.Event()
    learner = RoundLearner(config(tmp_path), None, ())
    learn(learner, range(1))
    endless = RoundLearner(config(tmp_path, deals_per_step=100_000_000), None, ())
    endless.get_ready(Display(Console(), quiet=True), StopRequest(event), lambda check: None)
    endless.load(save(learner, config(tmp_path), 1))
    before = digest(endless)
    threading.Timer(0.5, event.set).start()
    with pytest.raises(StopRequested):
        endless.step(1)
    assert not endless.is_torn
    assert digest(endless) == before


def test_what_was_captured_stays_what_it_is_while_rounds_go_on(tmp_path: Path) -> None:
    learner = RoundLearner(config(tmp_path), None, ())
    learn(learner, range(1))
    kept = [learner.network.state_dict(), learner.optimizer.state_dict()]
    before = [value_digest(dict(state)) for state in kept]
    learn(learner, range(1, 3))
    assert [value_digest(dict(state)) for state in kept] == before
    assert value_digest(dict(learner.network.state_dict())) != before[0]


def test_another_number_of_copies_goes_on_with_other_games(tmp_path: Path) -> None:
    """What was learned is kept; no episode is played twice under one number."""
    settings = config(tmp_path)
    learner = RoundLearner(settings, None, ())
    games = learn(learner, range(2))
    state = save(learner, settings, 2)
    alone = RoundLearner(config(tmp_path, copies=1), None, ())
    alone.load(state)
    alone.go_on(state)
    assert np.array_equal(alone.network.tables.average, learner.network.tables.average)
    more = learn(alone, range(2, 4))
    assert more
    assert not {e.episode for e in games} & {e.episode for e in more}


def test_a_commit_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path)
    learner = RoundLearner(settings, None, ())
    state = save(learner, settings, 0)
    plain = tiny_config(tmp_path)
    other = BatchLearner(plain, None, (), tmp_path / "ray.log")
    with pytest.raises(StateMismatchError, match=r"kind convolutional: stem.weight is missing"):
        other.load(state)


def test_rows_are_what_was_played_with_values_in_points(tmp_path: Path) -> None:
    learner = RoundLearner(config(tmp_path), None, ())
    learn(learner, range(4))
    rows = rows_of(learner)
    decides = (rows.slots >= 0).any(axis=1)
    assert 0.5 < decides.mean() < 1.0, "positions, and the boards that deals leave"
    np.testing.assert_array_equal(rows.policies.sum(axis=1), decides)
    assert (rows.returns[decides] > 0.5).all(), "there are shapes to be cleared"
    assert len(list(learner.buffer.experiences())) == len(rows)


def test_a_run_keeps_its_number_of_copies() -> None:
    info = RunInfo(run_name="r", created_at="", target_steps=9, steps_per_round=9, copies=5)
    automatic = tiny_config(model={"kind": "ntuple"}, train={"num_workers": 0})
    assert copy_count(automatic, None) == min(core_count(), 2)
    assert copy_count(automatic, info) == 5
    assert copy_count(automatic, info, {"train.num_workers"}) == min(core_count(), 2)
    assert copy_count(tiny_config(train={"num_workers": 3}), info) == 3


@given(st.lists(st.floats(0.0, 99.0), max_size=30), st.integers(0, 8))
def test_the_best_game_is_always_among_the_recorded(scores: list[float], count: int) -> None:
    episodes = [Episode(i, 0, np.empty(0, np.int16), s, 0, False) for i, s in enumerate(scores)]
    kept = chosen(episodes, count)
    assert len(kept) == min(count, len(episodes))
    assert [e.episode for e in kept] == sorted({e.episode for e in kept})
    if kept:
        assert max(e.score for e in kept) == max(scores)
