"""One contract for the uniform and the prioritised buffer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.config import TrainConfig
from alphatriangle.features import encode, experiences_from_rows
from alphatriangle.rl import ExperienceBuffer, TrainingDivergedError
from tests.features.test_encoder import assert_same_rows, random_rows


def make_buffer(use_per: bool, capacity: int = 50, **more: object) -> ExperienceBuffer:
    return ExperienceBuffer(
        TrainConfig.model_validate(
            {
                "buffer_capacity": capacity,
                "batch_size": 8,
                "min_buffer_size_to_train": 8,
                "use_per": use_per,
                "max_steps": 100,
                "seed": 3,
                **more,
            }
        )
    )


both = pytest.mark.parametrize("use_per", [False, True], ids=["uniform", "prioritised"])


@both
@given(st.lists(st.integers(0, 30), max_size=12))
def test_the_newest_rows_are_kept_in_order(use_per: bool, sizes: list[int]) -> None:
    capacity = 25
    buffer = make_buffer(use_per, capacity)
    everything = random_rows(max(sum(sizes), 1))
    position = 0
    for size in sizes:
        buffer.add_rows(everything[position : position + size])
        position += size
    assert buffer.total_added == position
    assert len(buffer) == min(position, capacity)
    assert buffer.oldest == position - len(buffer)
    kept = buffer.rows(buffer.oldest, buffer.total_added)
    assert_same_rows(kept, everything[buffer.oldest : position])


@both
@given(
    st.integers(8, 30),
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 40)),
            st.tuples(st.just("resume"), st.integers(8, 60)),
        ),
        max_size=8,
    ),
)
def test_only_rows_that_exist_are_sampled_whatever_the_capacity_becomes(
    use_per: bool, capacity: int, actions: list[tuple[str, int]]
) -> None:
    """Against a plain list: rows added, and resumes with other capacities, in any order."""
    buffer, numbers = make_buffer(use_per, capacity), list[int]()
    for what, size in actions:
        if what == "add":
            first = buffer.total_added
            rows = random_rows(size, seed=first)
            rows.returns[:] = np.arange(first, first + size) + 1
            buffer.add_rows(rows)
            numbers += range(first, first + size)
        else:
            again = make_buffer(use_per, size)
            again.load_state_dict(
                buffer.state_dict(), buffer.rows(buffer.oldest, buffer.total_added)
            )
            buffer, capacity = again, size
        numbers = numbers[-capacity:]
        assert len(buffer) == len(numbers)
        kept = buffer.rows(buffer.oldest, buffer.total_added)
        assert kept.returns.tolist() == [n + 1 for n in numbers]
        if not numbers:
            continue
        indices, _ = buffer.draw(8, step=0)
        assert {int(r) - 1 for r in buffer.gather(indices).returns} <= set(numbers)
        buffer.update_priorities(indices, np.linspace(0.1, 2.0, 8, dtype=np.float32))


@both
def test_in_a_ring_that_has_grown_every_row_is_drawn_equally_often(use_per: bool) -> None:
    small = make_buffer(use_per, 30)
    small.add_rows(random_rows(50))
    grown = make_buffer(use_per, 100)
    grown.load_state_dict(small.state_dict(), small.rows(20, 50))
    drawn = np.concatenate([grown.draw(50, 0)[0] for _ in range(200)])
    counts = np.bincount(drawn, minlength=100)
    assert (counts[20:50] > 200).all()
    assert counts.sum() == counts[20:50].sum()


@both
def test_rows_that_are_gone_are_refused(use_per: bool) -> None:
    buffer = make_buffer(use_per, 10)
    buffer.add_rows(random_rows(15))
    with pytest.raises(IndexError, match=r"\[4, 15\).*\[5, 15\)"):
        buffer.rows(4, 15)


@both
def test_experiences_in_and_out(use_per: bool) -> None:
    """``Experience = (StateType, PolicyTargetMapping, n_step_return)`` at the border."""
    experiences = list(experiences_from_rows(random_rows(12)))
    buffer = make_buffer(use_per)
    buffer.add(experiences[0])
    buffer.add_batch(experiences[1:])
    for (state, policy, value), (state2, policy2, value2) in zip(
        buffer.experiences(), experiences, strict=True
    ):
        np.testing.assert_array_equal(state["grid"], state2["grid"])
        np.testing.assert_array_equal(state["other_features"], state2["other_features"])
        assert policy == policy2
        assert value == value2


@both
def test_a_batch_holds_what_the_rows_hold(use_per: bool) -> None:
    buffer = make_buffer(use_per)
    rows = random_rows(40)
    buffer.add_rows(rows)
    batch = buffer.sample(8, step=5)
    chosen = rows[batch.indices]
    grid, other = encode(chosen.boards, chosen.slots)
    np.testing.assert_array_equal(batch.grid.numpy(), grid)
    np.testing.assert_array_equal(batch.other_features.numpy(), other)
    np.testing.assert_array_equal(batch.returns.numpy(), chosen.returns)
    for i, (_, policy, _) in enumerate(experiences_from_rows(chosen)):
        assert set(np.flatnonzero(batch.policy[i])) == set(policy)
        assert set(policy) <= set(np.flatnonzero(batch.legal[i]))
        afterstate = (chosen.slots[i] < 0).all()
        assert bool(batch.legal[i].any()) == (not afterstate)
    assert batch.weights.max() == 1.0
    assert (batch.weights > 0).all()


@both
def test_sampling_depends_on_the_seed_and_the_count_only(use_per: bool) -> None:
    first, second = make_buffer(use_per), make_buffer(use_per)
    other = make_buffer(use_per, seed=4)
    for buffer in (first, second, other):
        buffer.add_rows(random_rows(40))
    torch.manual_seed(99)
    batches = [b.sample(8, 1).indices.tolist() for b in (first, second, other)]
    assert batches[0] == batches[1] != batches[2]
    assert first.sample(8, 1).indices.tolist() != batches[0]


@both
def test_state_goes_into_a_new_buffer_bit_for_bit(use_per: bool) -> None:
    buffer = make_buffer(use_per, 30)
    buffer.add_rows(random_rows(47))
    for step in range(5):
        batch = buffer.sample(8, step)
        buffer.update_priorities(batch.indices, batch.returns.numpy())
    copy = make_buffer(use_per, 30)
    copy.load_state_dict(buffer.state_dict(), buffer.rows(buffer.oldest, buffer.total_added))
    for target in (buffer, copy):
        target.add_rows(random_rows(3, seed=8))
    for step in range(5, 9):
        ours, theirs = buffer.sample(8, step), copy.sample(8, step)
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        assert torch.equal(ours.weights, theirs.weights)
        for target in (buffer, copy):
            target.update_priorities(ours.indices, ours.returns.numpy() * 2)
    assert copy.state_dict()["max_priority"] == buffer.state_dict()["max_priority"]


def test_priorities_decide_how_often_a_row_is_sampled() -> None:
    buffer = make_buffer(True, per_alpha=1.0, per_epsilon=1e-6)
    buffer.add_rows(random_rows(40))
    errors = np.linspace(0.1, 4.0, 40).astype(np.float32)
    buffer.update_priorities(np.arange(40), errors)
    counts = np.zeros(40)
    for step in range(400):
        np.add.at(counts, buffer.sample(40, step).indices, 1)
    np.testing.assert_allclose(counts / counts.sum(), errors / errors.sum(), atol=0.004)


def test_importance_weights_are_those_of_the_paper() -> None:
    """(N P(i))^-beta over the largest, with beta annealed from its first to its last value."""
    buffer = make_buffer(True, per_alpha=1.0, per_epsilon=1e-6)
    buffer.add_rows(random_rows(40))
    errors = np.linspace(0.5, 2.0, 40).astype(np.float32)
    buffer.update_priorities(np.arange(40), errors)
    assert [buffer.beta.at(step) for step in (0, 50, 500)] == pytest.approx([0.4, 0.7, 1.0])
    batch = buffer.sample(8, step=50)
    raw = (40 * errors[batch.indices] / errors.sum()) ** -0.7
    np.testing.assert_allclose(batch.weights.numpy(), raw / raw.max(), rtol=1e-4)


def test_new_rows_get_the_highest_priority() -> None:
    buffer = make_buffer(True)
    buffer.add_rows(random_rows(10))
    buffer.update_priorities(np.arange(10), np.full(10, 50, np.float32))
    buffer.add_rows(random_rows(1))
    priorities = buffer.state_dict()["priorities"]
    assert priorities[10] == priorities[0] == buffer.max_priority


def test_errors_that_are_not_finite_are_refused() -> None:
    buffer = make_buffer(True)
    buffer.add_rows(random_rows(10))
    with pytest.raises(TrainingDivergedError, match="1 of 1 TD errors are not finite"):
        buffer.update_priorities(np.array([0]), np.array([np.nan], np.float32))


def test_an_empty_buffer_cannot_be_sampled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="empty"):
        make_buffer(False).sample(4, 0)


def test_a_smaller_buffer_takes_the_newest_rows() -> None:
    buffer = make_buffer(True, 30)
    rows = random_rows(30)
    buffer.add_rows(rows)
    smaller = make_buffer(True, 20)
    smaller.load_state_dict(buffer.state_dict(), rows)
    assert (smaller.oldest, smaller.total_added) == (10, 30)
    assert_same_rows(smaller.rows(10, 30), rows[10:])
