"""The writer's rests: for what was worked, no more than is allowed, none for who is in a hurry."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from alphatriangle.data.storage import pace
from alphatriangle.data.storage.pace import Pace, rest


def work() -> None:
    """A few milliseconds of processor time."""
    end = time.thread_time() + 0.003
    while time.thread_time() < end:
        pass


def test_it_rests_for_its_work_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "REST", 2.0)
    monkeypatch.setattr(pace, "LONGEST_REST", 0.01)
    paced = Pace()
    paced.begin()
    with paced:
        work()
        rest()
        assert 0.006 <= paced.rested <= 0.01
        for _ in range(3):
            work()
            rest()
        assert paced.rested == pytest.approx(0.01)
    paced.begin()
    assert paced.rested == 0.0


def test_nobody_who_waits_waits_for_a_rest() -> None:
    paced = Pace()
    paced.begin()
    paced.hurry()
    with paced:
        work()
        rest()
    assert paced.rested == 0.0


def test_a_rest_ends_when_somebody_begins_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "REST", 1e9)
    monkeypatch.setattr(pace, "LONGEST_REST", 1e6)
    paced = Pace()
    paced.begin()

    def resting() -> None:
        with paced:
            work()
            rest()

    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(resting)
        while paced.rested == 0.0:
            pass
        paced.hurry()
        done.result(timeout=60)


def test_other_threads_are_not_paced() -> None:
    paced = Pace()
    paced.begin()
    with paced, ThreadPoolExecutor(1) as other:
        other.submit(lambda: (work(), rest())).result()
        assert paced.rested == 0.0
