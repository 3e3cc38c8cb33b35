"""Learning rate, beta and pace: the same to the bit while nothing changes, no jump when it does."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.config import TrainConfig
from alphatriangle.rl import schedule
from alphatriangle.rl.schedule import Course

CLOSE = 1e-9


def config(**fields: object) -> TrainConfig:
    return TrainConfig.model_validate({"max_steps": 100, "learning_rate": 0.01, **fields})


def rate(**fields: object) -> Course:
    return schedule.learning_rate(config(**fields))


def test_shapes() -> None:
    stairs = rate(lr_scheduler_type="StepLR", lr_scheduler_step_size=10, lr_scheduler_gamma=0.5)
    assert [stairs.at(s) / 0.01 for s in (0, 9, 10, 25)] == [1, 1, 0.5, 0.25]
    cosine = rate(lr_scheduler_eta_min=0.001)
    assert cosine.at(0) == 0.01
    assert cosine.at(50) == pytest.approx(0.0055)
    assert cosine.at(100) == pytest.approx(0.001)
    assert cosine.at(500) == pytest.approx(0.001), "it stays at its end"
    assert rate(lr_scheduler_t_max=50).at(50) == pytest.approx(1e-4)
    assert rate(lr_scheduler_type=None).at(70) == 0.01
    beta = schedule.beta(config(per_beta_initial=0.4))
    assert [beta.at(s) for s in (0, 50, 100, 900)] == pytest.approx([0.4, 0.7, 1.0, 1.0])
    assert schedule.beta(config(per_beta_anneal_steps=10)).at(10) == 1.0
    pace = schedule.pace(config(min_buffer_size_to_train=60, batch_size=16, replay_ratio=2.0))
    assert [pace.at(s) for s in (0, 1, 10)] == [60, 68, 140]


@given(st.integers(1, 5000), st.floats(1e-5, 1.0), st.floats(0.0, 1.0), st.integers(0, 6000))
def test_a_run_that_begins_has_the_rates_it_always_had(
    length: int, first: float, share: float, step: int
) -> None:
    """Bit by bit those of torch's LambdaLR, which earlier versions used; and their pace."""
    last = first * share
    course = rate(learning_rate=first, lr_scheduler_eta_min=last, max_steps=length)
    lowest = last / first
    progress = min(step / length, 1.0)
    factor = lowest + (1.0 - lowest) * 0.5 * (1.0 + math.cos(math.pi * progress))
    assert course.at(step) == first * factor
    pace = schedule.pace(config(batch_size=256, replay_ratio=first, min_buffer_size_to_train=99))
    assert int(pace.at(step + 1)) == int(99 + (step + 1) * 256 / first)


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    """Some settings of the schedules; few values, so that many stay as they are."""
    return {
        "learning_rate": draw(st.sampled_from([0.01, 0.002])),
        "lr_scheduler_eta_min": draw(st.sampled_from([0.0, 1e-4, 1e-3])),
        "lr_scheduler_t_max": draw(st.sampled_from([None, None, 70, 300])),
        "max_steps": draw(st.sampled_from([1001, 1200, 2000])),
        "per_beta_initial": draw(st.sampled_from([0.2, 0.4])),
        "per_beta_anneal_steps": draw(st.sampled_from([None, 150])),
        "batch_size": draw(st.sampled_from([16, 64])),
        "replay_ratio": draw(st.sampled_from([1.0, 4.0])),
        "min_buffer_size_to_train": draw(st.sampled_from([100, 500])),
    }


@given(settings(), st.lists(st.tuples(st.integers(1, 250), settings()), min_size=1, max_size=4))
def test_the_curve_of_a_run_with_any_resumes(
    begin: dict[str, Any], resumes: list[tuple[int, dict[str, Any]]]
) -> None:
    """Continuous unless a first value is given; never above the rate given; the lowest rate at the
    end; and a resume that changes nothing, before or after such a change, is none."""
    now = begin
    courses = [make(config(**now)) for make in (schedule.learning_rate, schedule.beta)]
    pace = schedule.pace(config(**now))
    step = 0
    for steps, then in resumes:
        step += steps
        before = [course.at(step) for course in courses]
        wanted = [make(config(**then)) for make in (schedule.learning_rate, schedule.beta)]
        courses = [c.followed(w, step) for c, w in zip(courses, wanted, strict=True)]
        firsts = ("learning_rate", "per_beta_initial")
        first = [then[k] if then[k] != now[k] else None for k in firsts]
        for course, value, given_first in zip(courses, before, first, strict=True):
            if given_first is None:
                assert course.at(step) == pytest.approx(value, rel=CLOSE)
            else:
                assert (course.start, course.at(step)) == (step, given_first)
        rates = [courses[0].at(s) for s in range(step, step + 2100, 13)]
        assert max(rates) <= then["learning_rate"] * (1 + CLOSE)
        if before[0] >= then["lr_scheduler_eta_min"] or first[0] is not None:
            assert all(a >= b * (1 - CLOSE) for a, b in itertools.pairwise(rates))
        end = max(courses[0].end, step)
        assert courses[0].at(end) == pytest.approx(then["lr_scheduler_eta_min"], abs=CLOSE)
        assert courses[1].at(max(courses[1].end, step)) == pytest.approx(1.0)
        if then["lr_scheduler_t_max"] is None:
            assert courses[0].end == then["max_steps"]
        for course, w in zip(courses, wanted, strict=True):
            # Killed and started again, now or later, and read back from the commit.
            again = Course(**course.state_dict())
            assert again.followed(w, step) == course
            assert again.followed(w, step + 5) == course
        rows = pace.at(step)
        pace = pace.followed(schedule.pace(config(**then)), step)
        more = then["min_buffer_size_to_train"] - now["min_buffer_size_to_train"]
        assert pace.at(step) == rows + more, "what is over is paced as it was"
        added = pace.at(step + 10) - pace.at(step)
        assert added == pytest.approx(10 * then["batch_size"] / then["replay_ratio"])
        now = then


def test_a_complete_run_that_is_extended_stays_at_its_lowest_rate() -> None:
    """Once a jump to 19 times as much; and with a new rate to 6 times what was asked for."""
    run = rate(max_steps=600, learning_rate=0.004)
    longer = rate(max_steps=1200, learning_rate=0.004)
    extended = run.followed(longer, 600)
    assert [extended.at(s) for s in range(600, 1300)] == pytest.approx([1e-4] * 700)
    asked = run.followed(rate(max_steps=1200, learning_rate=0.0004), 600)
    assert asked.at(600) == 0.0004
    assert asked.at(900) == pytest.approx(0.00025)
    assert asked.at(1200) == pytest.approx(1e-4)
    # An unfinished one falls on from where it is, to the new end.
    half = run.followed(longer, 300)
    assert half.at(300) == pytest.approx(0.00205)
    assert half.at(750) == pytest.approx((0.00205 + 1e-4) / 2)
    assert half.at(1200) == pytest.approx(1e-4)


def test_another_shape_begins_where_the_rate_is() -> None:
    run = rate(max_steps=600)
    constant = run.followed(rate(max_steps=600, lr_scheduler_type=None), 300)
    assert constant.at(301) == constant.at(9000) == run.at(300)
    stairs = run.followed(
        rate(lr_scheduler_type="StepLR", lr_scheduler_step_size=10, lr_scheduler_gamma=0.5), 300
    )
    assert [stairs.at(s) for s in (300, 309, 310)] == [run.at(300), run.at(300), run.at(300) / 2]
    # What a shape does not use is no change of it.
    other = rate(max_steps=600, lr_scheduler_step_size=7, lr_scheduler_gamma=0.1)
    assert run.followed(other, 300) is run
