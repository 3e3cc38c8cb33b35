"""The global generators belong to training: nothing around it draws from them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from alphatriangle.data.commits.digest import state_digest, value_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.nn import int8
from alphatriangle.stats.sinks import TensorBoardSink
from alphatriangle.training.agent import load_agent
from alphatriangle.training.display.display import Display
from alphatriangle.training.display.view import View
from alphatriangle.training.run import train
from alphatriangle.training.run_plan import TrainRequest, plan_run
from alphatriangle.utils.global_rng import rng_state, seed_everything
from tests.conftest import tiny_config

SEED = 7


def states() -> dict[str, str]:
    return {name: value_digest(state) for name, state in rng_state().items()}


class Watching(Display):
    """Looks at the generators whenever training says something."""

    def __init__(self, file: Path) -> None:
        super().__init__(Console(file=file.open("w")))
        seed_everything(SEED)
        self.seeded = states()
        seed_everything(99)
        self.before = states()
        self.looked_at: list[str] = []
        self._is_training = False

    def note(self, text: str) -> None:
        self._look(text)
        super().note(text)

    @contextlib.contextmanager
    def phase(self, what: str) -> Iterator[Callable[[str], None]]:
        self._look(what)
        with super().phase(what) as say:
            yield say
        self._look(f"{what}: over")

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        self._is_training = True
        with super().training():
            yield

    def update(self, view: View, *, force: bool = False) -> None:
        self._look(f"step {view.step}")
        super().update(view, force=force)

    def _look(self, when: str) -> None:
        self.looked_at.append(when)
        # Nothing in training draws from them either, so far: all its randomness is counter-based.
        assert states() == (self.seeded if self._is_training else self.before), when


def run(data: Path, display: Display | None = None, **sections: dict[str, Any]) -> str:
    """Train in this process; the digest of what everybody must end with."""
    config = tiny_config(data, **{"train": {"seed": SEED}, **sections})
    settings = config.model_dump(mode="json")
    settings["train"]["run_name"] = "r"
    plan = plan_run(TrainRequest(settings=settings))
    outcome = train(plan, display or Display(Console(), quiet=True))
    assert outcome.complete
    state = load_for_reading(config.persistence, "r")
    assert state.checkpoint_data is not None
    # What evaluations and the gate have found out is part of a commit, but not of what is learned.
    judged = state.checkpoint_data.components
    judged["progress"]["evaluation_before"] = None
    judged["gate"] = {}
    return state_digest(state.checkpoint_data, state.buffer_data)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of a run that is not looked at."""
    return run(tmp_path_factory.mktemp("plain"))


EVERYTHING: dict[str, dict[str, Any]] = {
    "stats": {
        "evaluation_games": 2,
        "gate_games": 2,
        "gate_freq_steps": 4,
        "tensorboard": True,
        "log_freq_steps": 1,
    },
    "persistence": {"mlflow": True},
}


@pytest.mark.parametrize("inference_dtype", ["float32", "int8"])
def test_nothing_around_training_draws(tmp_path: Path, inference_dtype: str) -> None:
    """Not while preparing, evaluating, saving, judging, or telling of it."""
    int8._integers_are_exact.cache_clear()
    int8._positions.cache_clear()
    watching = Watching(tmp_path / "output.txt")
    run(tmp_path, watching, model={"inference_dtype": inference_dtype}, **EVERYTHING)
    told = "\n".join(watching.looked_at)
    for what in ("compiling", "MLflow", "after training", "step 3", "step 11", "being the best"):
        assert what in told


def test_whatever_is_around_it_a_run_is_the_same(tmp_path: Path, plain: str) -> None:
    assert run(tmp_path, **EVERYTHING) == plain


def test_a_start_does_not_depend_on_being_the_first(tmp_path: Path, plain: str) -> None:
    """What the process found out or compiled for another run makes no difference, nor does what the
    run's first start wrote down."""
    int8._integers_are_exact.cache_clear()
    assert run(tmp_path / "first") == plain
    commits = tmp_path / "first" / "data/runs/r/commits"
    for path in commits.iterdir():
        path.unlink()
    seed_everything(123)
    assert run(tmp_path / "first") == plain


def test_what_draws_all_the_same_is_put_back(
    tmp_path: Path, plain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = TensorBoardSink.write

    def drawing(sink: TensorBoardSink, step: int, points: dict[str, float]) -> None:
        torch.rand(3), np.random.rand(3), random.random()
        written(sink, step, points)

    monkeypatch.setattr(TensorBoardSink, "write", drawing)
    assert run(tmp_path, stats={"tensorboard": True}) == plain


def test_an_agent_that_is_loaded_draws_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    before = states()
    load_agent(tiny_config(tmp_path).persistence, "r", device="cpu")
    assert states() == before
