"""Values: both ways of packing bits, plain Python, and the generated code agree."""

from __future__ import annotations

import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba.core.registry import cpu_target

from alphatriangle.features.symmetry import symmetries
from alphatriangle.game.geometry import ACTIONS, CELLS, NUM_SHAPES, PLAYABLE_MASK, words
from alphatriangle.game.state import GameState
from alphatriangle.ntuple import generate
from alphatriangle.ntuple.bit_extract import ByMoves, ByPext, Way, has_fast_pext, moves_of
from alphatriangle.ntuple.evaluate import _evaluate, evaluate
from alphatriangle.ntuple.layout import (
    COUNTS,
    KINDS,
    LAYOUT,
    SIZE,
    Kind,
    fold,
    make_kinds,
    make_layout,
)
from tests.ntuple import reference

WAYS: list[Way] = [ByPext(), ByMoves()] if has_fast_pext() else [ByMoves()]
WORD = st.integers(0, 2**64 - 1)


def boards_of(numbers: list[int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int8]]:
    boards = np.array([words(n & PLAYABLE_MASK) for n in numbers], np.uint64)
    return boards, np.full((len(numbers), 3), -1, np.int8)


def packed(word: int, mask: int) -> int:
    bits = [word >> i & 1 for i in range(64) if mask >> i & 1]
    return sum(bit << i for i, bit in enumerate(bits))


@given(WORD, WORD)
def test_moves_pack_the_bits_under_a_mask(word: int, mask: int) -> None:
    rest = word & mask
    for i, moves in enumerate(moves_of(mask).tolist()):
        moving = rest & moves
        rest = rest ^ moving | moving >> 2**i
    assert rest == packed(word, mask)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)
def test_values_are_those_of_plain_python(way: Way) -> None:
    rng = random.Random(1)
    weights = np.random.default_rng(1).normal(0, 0.1, SIZE).astype(np.float32)
    numbers = [rng.getrandbits(120) & rng.getrandbits(120) & PLAYABLE_MASK for _ in range(20)]
    numbers += [0, PLAYABLE_MASK]
    values = evaluate(weights, *boards_of(numbers), way).values
    expected = [reference.survival(weights, number) for number in numbers]
    assert values == pytest.approx(expected, abs=1e-5)


@pytest.mark.skipif(len(WAYS) < 2, reason="this processor has one way only")
def test_both_ways_give_the_same_bits() -> None:
    rng = random.Random(2)
    weights = np.random.default_rng(2).normal(size=SIZE).astype(np.float32)
    boards, slots = boards_of([rng.getrandbits(120) for _ in range(2000)])
    slots[:] = np.random.default_rng(3).integers(-1, 23, slots.shape)
    first, second = (evaluate(weights, boards, slots, way) for way in WAYS)
    assert first.values.tobytes() == second.values.tobytes()
    assert first.logits.tobytes() == second.logits.tobytes()
    # Each has machine code, and a file of the cache, of its own.
    codegen = cpu_target.target_context.codegen()
    names = {_evaluate._cache._file_name(s, codegen) for s in _evaluate.signatures}
    assert len(names) == len(_evaluate.signatures) >= 2


def test_a_board_and_its_images_have_one_value() -> None:
    weights = np.random.default_rng(4).normal(size=SIZE).astype(np.float32)
    weights[LAYOUT.counts :] = 0
    # Shapes are not closed under the symmetries, and tuples that are their own images are looked up
    # in one order of their cells only.
    for kind in range(len(KINDS)):
        if len(KINDS[kind].read) < 12:
            start = int(LAYOUT.offset[kind])
            weights[start : start + 2 ** len(KINDS[kind].cells)] = 0
    number = random.Random(5).getrandbits(120) & PLAYABLE_MASK
    cells = [c for c in range(120) if number >> c & 1]
    images = [sum(1 << int(turned[c]) for c in cells) for turned in symmetries().cell]
    values = evaluate(weights, *boards_of(images)).values
    assert values == pytest.approx(values[0], abs=1e-5)
    assert values[0] != 0.5
    assert len(set(images)) == 12


@pytest.mark.parametrize("way", WAYS, ids=lambda way: type(way).__name__)
def test_folded_weights_say_the_same_with_fewer_look_ups(way: Way) -> None:
    rng = random.Random(7)
    weights = np.random.default_rng(7).normal(0, 0.1, SIZE).astype(np.float32)
    boards, slots = boards_of([rng.getrandbits(120) for _ in range(200)])
    folded = fold(weights)
    small = slice(int(LAYOUT.offset[LAYOUT.groups[1]]), LAYOUT.counts)
    assert weights[small].any()
    assert not folded[small].any()
    one = evaluate(weights, boards, slots, way).values
    other = evaluate(folded, boards, slots, way._replace(folded=True)).values
    assert one == pytest.approx(other, abs=1e-5)


def test_the_generated_module_is_what_is_generated() -> None:
    assert generate.PATH.read_text() == generate.source()


def test_logits_name_the_legal_placements_and_the_value_is_that_of_the_best() -> None:
    weights = np.random.default_rng(6).normal(0, 0.1, SIZE).astype(np.float32)
    state = GameState(3, 1)
    for _ in range(4):
        state.step(int(state.legal_actions()[0]))
    logits, values = evaluate(weights, state.board[None], state.slots[None])
    legal = set(state.legal_actions().tolist())
    named = {action for action in range(ACTIONS) if logits[0, action] > -30}
    assert named <= legal
    for action in named:
        after = state.copy()
        after.step(action)
        expected = reference.survival(weights, after.occupied)
        assert 1 / (1 + np.exp(-logits[0, action])) == pytest.approx(expected, abs=1e-5)
    assert values[0] == pytest.approx(1 / (1 + np.exp(-logits.max())), abs=1e-6)


def test_tuples_fit_into_one_word_or_are_refused() -> None:
    assert LAYOUT.lookups == len(reference.places(0))
    assert LAYOUT.counts + NUM_SHAPES * COUNTS == SIZE
    assert make_layout(make_kinds((1,))).size < SIZE
    with pytest.raises(ValueError, match="lie in 96 cells, more than 64"):
        make_layout([Kind(tuple(c for c in range(CELLS) if PLAYABLE_MASK >> c & 1), (0,))])
