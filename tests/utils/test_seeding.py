"""Counter-based randomness, and the generators of libraries."""

from __future__ import annotations

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.utils.global_rng import rng_state, seed_everything, set_rng_state
from alphatriangle.utils.seeding import derive_key, draw_below, draw_gumbel, draw_u64, draw_unit
from alphatriangle.utils.streams import library_seed


def test_mixing_is_splitmix64() -> None:
    """The first outputs of SplitMix64 seeded with 1234567, as published with the algorithm."""
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [draw_u64(np.uint64(1234567), np.uint64(i)) for i in range(3)] == known


def test_keys_differ_in_every_part() -> None:
    keys = {derive_key(s, t, e) for s in range(20) for t in range(5) for e in range(20)}
    assert len(keys) == 20 * 5 * 20


@given(seed=st.integers(0, 2**63 - 1), stream=st.integers(1, 100))
def test_seeds_of_libraries_are_halves_of_keys(seed: int, stream: int) -> None:
    assert library_seed(seed, stream) == int(derive_key(seed, stream, 0)) >> 1


def test_draws_have_the_right_moments() -> None:
    key = np.uint64(derive_key(1, 2, 3))
    n = 50_000
    unit = np.array([draw_unit(key, np.uint64(i)) for i in range(n)])
    assert 0 < unit.min() < unit.max() < 1
    assert abs(unit.mean() - 0.5) < 0.01
    gumbel = np.array([draw_gumbel(key, np.uint64(i)) for i in range(n)])
    assert abs(gumbel.mean() - 0.5772) < 0.03
    assert abs(gumbel.var() - np.pi**2 / 6) < 0.06
    below = np.array([draw_below(key, np.uint64(i), np.uint64(7)) for i in range(n)])
    assert np.bincount(below.astype(int)).min() > n / 7 * 0.95


def test_library_generators_are_saved_and_put_back() -> None:
    seed_everything(5)
    state = rng_state()
    first = (random.random(), np.random.rand(), torch.rand(1).item())
    set_rng_state(state)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first
