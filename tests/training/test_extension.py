"""What the length of a run decides, when the run is made longer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from alphatriangle.config import merge
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.rl import Trainer
from alphatriangle.training.display.display import Display
from alphatriangle.training.run import train
from alphatriangle.training.run_plan import TrainRequest, plan_run
from tests.conftest import TINY, tiny_config


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """The rate of every training step that is made, by its number."""
    made: dict[int, float] = {}
    step = Trainer.train_step

    def recorded(self: Trainer, batch: Any) -> Any:
        result = step(self, batch)
        made[self.steps] = result[0]["train/learning_rate"]
        return result

    monkeypatch.setattr(Trainer, "train_step", recorded)
    return made


def go_on(data: Path, **train_settings: Any) -> str:
    """What the command would do and say."""
    said = io.StringIO()
    settings = merge(TINY, {"train": {"run_name": "r", "use_per": True, **train_settings}})
    plan = plan_run(TrainRequest(settings=settings, data_dir=data))
    display = Display(Console(file=said, width=200))
    display.note(plan.message)
    train(plan, display)
    return said.getvalue()


def test_the_whole_curve_of_a_run_that_is_extended_twice(
    tmp_path: Path, rates: dict[int, float]
) -> None:
    """It never rises by itself; a new rate begins a new fall, to the new end; both are said."""
    first = go_on(tmp_path / "data")
    assert "rate" not in first.split("step")[0]
    again = go_on(tmp_path / "data")
    assert "complete at step 12: on to step 24" in again
    assert "from step 12 on the learning rate stays at 0.0001; another train.learning_rate" in again
    assert "from step 12 on beta stays at 1" in again
    asked = go_on(tmp_path / "data", learning_rate=0.0004)
    assert "from step 24 on the learning rate goes from 0.0004 to 0.0001 at step 36" in asked
    curve = [rates[step] for step in range(1, 37)]
    assert curve[0] == 0.002
    assert curve[:12] == sorted(curve[:12], reverse=True)
    assert curve[12:24] == pytest.approx([1e-4] * 12)
    assert curve[24] == 0.0004
    assert curve[24:] == sorted(curve[24:], reverse=True)
    assert curve[35] < 0.00011


class KilledError(Exception):
    """Stands for whatever ends a training."""


def test_an_extension_that_is_interrupted_goes_on_as_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the start that extended it did not come to a commit."""
    stops: list[int] = []
    step = Trainer.train_step

    def stopped(self: Trainer, batch: Any) -> Any:
        if stops and self.steps == stops[0]:
            del stops[0]
            raise KilledError
        return step(self, batch)

    monkeypatch.setattr(Trainer, "train_step", stopped)

    def digest(data: Path, *interruptions: list[int]) -> str:
        go_on(data)
        for round_of_stops in interruptions:
            stops[:] = round_of_stops
            while stops:
                with pytest.raises(KilledError):
                    go_on(data, learning_rate=0.0005)
            go_on(data, learning_rate=0.0005)
        state = load_for_reading(tiny_config(data.parent).persistence, "r")
        assert state.checkpoint_data is not None
        assert state.checkpoint_data.global_step == 36
        return state_digest(state.checkpoint_data, state.buffer_data)

    for name in ("whole", "interrupted"):
        (tmp_path / name).mkdir()
    whole = digest(tmp_path / "whole/data", [], [])
    assert digest(tmp_path / "interrupted/data", [12, 14, 19], [24, 35]) == whole
