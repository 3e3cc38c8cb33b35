"""Learning online: exact whatever interrupts it, and what it hands out is what was played."""

from __future__ import annotations

import copy
import hashlib
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphatriangle.features.experience import experiences_from_rows
from alphatriangle.game.state import GameState
from alphatriangle.ntuple.bit_extract import ByMoves, has_fast_pext
from alphatriangle.ntuple.layout import SIZE, fold
from alphatriangle.ntuple.learner import OnlineLearner
from alphatriangle.ntuple.merging import merge
from alphatriangle.ntuple.tables import Tables

DEALS = 40


def learner(**more: Any) -> OnlineLearner:
    return OnlineLearner(Tables.zeros(), **({"seed": 5, "sample": 3} | more))


def digest(made: OnlineLearner) -> str:
    state, found = made.state_dict(), hashlib.sha256()
    for arrays in (made.tables.state_dict(), state["games"]):
        for name, array in sorted(arrays.items()):
            found.update(name.encode() + array.tobytes())
    return found.hexdigest() + str(state["rounds"])


PROGRAM = """
from tests.ntuple.test_learner import DEALS, digest, learner
made = learner(copies=2)
episodes = [e for _ in range(3) for e in made.round(DEALS).episodes]
print(digest(made), [(e.episode, e.score, e.moves.tolist()) for e in episodes])
"""


def test_another_process_learns_the_same() -> None:
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(program, capture_output=True, text=True)
    assert done.stdout, done.stderr
    made = learner(copies=2)
    episodes = [e for _ in range(3) for e in made.round(DEALS).episodes]
    told = [(e.episode, e.score, e.moves.tolist()) for e in episodes]
    assert done.stdout.split(" ", 1) == [digest(made), f"{told}\n"]


@settings(max_examples=8, deadline=None)
@given(
    rounds=st.lists(st.integers(1, DEALS), min_size=1, max_size=4),
    copies=st.integers(1, 3),
    data=st.data(),
)
def test_interrupted_anywhere_it_goes_on_as_if_never(
    rounds: list[int], copies: int, data: st.DataObject
) -> None:
    whole, made = learner(copies=copies), learner(copies=copies)
    for deals in rounds:
        expected, found = whole.round(deals), made.round(deals)
        assert [(e.episode, e.score, e.moves.tolist()) for e in expected.episodes] == [
            (e.episode, e.score, e.moves.tolist()) for e in found.episodes
        ]
        for name, column in expected.rows.columns().items():
            assert column.tobytes() == getattr(found.rows, name).tobytes()
        if data.draw(st.booleans(), label="interrupted"):
            state, tables = copy.deepcopy((made.state_dict(), made.tables.state_dict()))
            made = learner(copies=copies)
            made.tables.load_state_dict(tables)
            made.load_state_dict(state)
    assert digest(whole) == digest(made)


@pytest.mark.parametrize("calls", [1, 2, 5, 8])
def test_a_round_that_is_given_up_has_never_been(calls: int) -> None:
    """In whichever copy, and however far it has come."""
    whole, made = learner(copies=2), learner(copies=2)
    whole.round(5_000)
    made.round(5_000)
    left = iter(range(calls))

    def between() -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.round(10_000, between)
    assert digest(made) == digest(whole)
    assert whole.round(5_000).evaluations == made.round(5_000).evaluations
    assert digest(made) == digest(whole)


@pytest.mark.skipif(not has_fast_pext(), reason="this processor has one way only")
def test_both_ways_of_packing_bits_learn_the_same() -> None:
    one, other = learner(), learner(way=ByMoves())
    for made in (one, other):
        made.round(DEALS)
    assert digest(one) == digest(other)


def test_episodes_and_rows_are_what_was_played() -> None:
    made = learner(copies=2, first_episode=70)
    episodes, numbers = [], set()
    for _ in range(4):
        result = made.round(200)
        episodes += result.episodes
        assert result.deals == 400
        assert result.games >= len(result.episodes)
        assert result.evaluations > 10 * result.deals
        assert 0 < result.value_error < 1
        rows = result.rows
        # Of each third deal one to four: those that end the game have fewer.
        assert 2 * 133 < len(rows) <= 4 * 134
        assert ((rows.returns >= 0) & (rows.returns <= 1)).all()
        for row, (_, policy, _) in enumerate(experiences_from_rows(rows)):
            afterstate = (rows.slots[row] < 0).all()
            assert list(policy.values()) == ([] if afterstate else [1.0])
    for episode in episodes:
        state = GameState(5, episode.episode)
        for move in episode.moves:
            assert not state.is_over
            state.step(int(move))
        assert state.is_over
        assert state.score == episode.score
        numbers.add(episode.episode)
    assert len(numbers) == len(episodes)
    assert sorted(numbers)[0] in (70, 71)


def test_games_are_given_up_and_said_to_be() -> None:
    made = learner(max_moves=30)
    episodes = made.round(400).episodes
    given_up = [e for e in episodes if e.truncated]
    assert given_up
    assert all(len(e.moves) == 30 for e in given_up)
    assert all(len(e.moves) <= 30 for e in episodes)
    assert len(made.state_dict()["games"]["history"]) <= 30


def test_a_reference_to_the_tables_is_as_good_as_a_copy() -> None:
    made = learner(copies=2)
    made.round(DEALS)
    kept = made.tables.state_dict()
    copies = {name: array.copy() for name, array in kept.items()}
    made.round(DEALS)
    for name, array in kept.items():
        assert array.tobytes() == copies[name].tobytes()
        assert array is not getattr(made.tables, name)
        assert array.tobytes() != getattr(made.tables, name).tobytes()


@given(
    base=st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=3),
    moves=st.lists(st.tuples(st.floats(-1, 1, width=32), st.floats(0, 1, width=32)), max_size=6),
)
def test_copies_are_added_up_but_a_weight_moves_no_further_than_two_of_them(
    base: list[float], moves: list[tuple[float, float]]
) -> None:
    """One weight; each copy moves it by something after errors of some size, or none."""
    weight, error, size = (
        np.array([abs(x) if i == 2 else x], np.float32) for i, x in enumerate(base)
    )
    copies = np.zeros((len(moves) + 1, 1, 3), np.float32)
    copies[:] = (weight[0], error[0], size[0])  # the last one never looked it up
    for one, (move, grown) in zip(copies, moves, strict=False):
        one[0] += np.array([move, move / 2, grown], np.float32) * np.float32(grown > 0)
    found = [float(array[0]) for array in merge(weight, error, size, copies)]
    changes = copies[:, 0].astype(float) - (float(weight[0]), float(error[0]), float(size[0]))
    touched = changes[changes[:, 2] > 0]
    share = min(1.0, 2.0 / max(len(touched), 1))
    factors = np.array([share, 1.0, 1.0])
    expected = np.array([weight[0], error[0], size[0]], float) + factors * touched.sum(0)
    assert found == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("column", range(3))
def test_what_is_not_a_number_in_one_copy_is_in_the_tables(column: int) -> None:
    """Dropped, a training that diverges would go on as if nothing were wrong."""
    copies = np.ones((3, 2, 3), np.float32)
    copies[1, 0, 2] += 1.0
    copies[1, 0, column] = np.nan
    merged = merge(*np.ones((3, 2), np.float32), copies)
    assert np.isnan(merged[column]).tolist() == [True, False]


def test_copies_are_put_together_as_they_learned() -> None:
    """A round of three copies is the merge of what each of them does alone."""
    made = learner(copies=3)
    made.round(DEALS)
    base, alone = made.tables.state_dict(), copy.deepcopy(made)
    copies = np.empty((3, SIZE, 3), np.float32)
    for number in reversed(range(3)):
        alone._play(number, copies[number], fold(base["weights"]), DEALS, lambda: None)
    made.round(DEALS)
    expected = merge(base["weights"], base["errors"], base["absolute"], copies)
    found = made.tables
    for one, other in zip(expected, (found.weights, found.errors, found.absolute), strict=True):
        assert one.tobytes() == other.tobytes()
    assert (copies[0] != copies[1]).any()


def test_it_learns() -> None:
    made = learner(sample=0)
    scores = [np.mean([e.score for e in made.round(6000).episodes]) for _ in range(4)]
    assert scores[-1] > 1.5 * scores[0]


def test_what_does_not_fit_is_refused() -> None:
    made, other = learner(copies=2), learner(max_moves=9)
    made.round(1)
    with pytest.raises(ValueError, match="saved with 2 copies of the tables, this has 1"):
        learner().load_state_dict(made.state_dict())
    long = learner()
    while len(long.state_dict()["games"]["history"]) <= 9:
        long.round(1)
    with pytest.raises(ValueError, match="moves, more than 9"):
        other.load_state_dict(long.state_dict())
    tables = Tables.zeros()
    state = tables.state_dict()
    with pytest.raises(ValueError, match="tables have"):
        tables.load_state_dict({k: v for k, v in state.items() if k != "errors"})
    with pytest.raises(ValueError, match="weights is not an array of float32"):
        tables.load_state_dict(state | {"weights": np.zeros(SIZE)})
    with pytest.raises(ValueError, match="weights has shape"):
        tables.load_state_dict(state | {"weights": np.zeros(SIZE - 1, np.float32)})
    assert json.dumps(sorted(state))
