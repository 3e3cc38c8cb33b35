"""``train`` from its start to its end: what it says of the agent it began with."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from alphatriangle.config import merge
from alphatriangle.nn import NeuralNetwork
from alphatriangle.training.display.display import Display
from alphatriangle.training.judging.evaluation import PlayerScore, evaluate_agent
from alphatriangle.training.run import TrainingOutcome, train
from alphatriangle.training.run_plan import TrainRequest, plan_run
from alphatriangle.utils.streams import STREAM_INIT, library_seed
from tests.conftest import TINY, tiny_config

GAMES = 3
BEFORE = "agent before training"


def run(data: Path, name: str = "r", **train_settings: Any) -> TrainingOutcome:
    more = {"train": {"run_name": name, **train_settings}, "stats": {"evaluation_games": GAMES}}
    request = TrainRequest(settings=merge(TINY, more), data_dir=data)
    return train(plan_run(request), Display(Console(file=io.StringIO()), quiet=True))


def score_of(outcome: TrainingOutcome, player: str) -> PlayerScore:
    (found,) = [score for score in outcome.scores if score.player == player]
    return found


def test_the_agent_before_training_is_the_one_of_the_seed(tmp_path: Path) -> None:
    """Whenever it plays: the run may have been stopped, and be extended."""
    config = tiny_config(tmp_path, train={"seed": 5})
    network = NeuralNetwork(config.model, "cpu", seed=library_seed(5, STREAM_INIT))
    expected = evaluate_agent(network, config, GAMES, BEFORE)
    first, extended = (run(tmp_path / "data", seed=5) for _ in range(2))
    assert first.complete
    assert extended.global_step > first.global_step
    assert score_of(first, BEFORE) == score_of(extended, BEFORE) == expected
    assert score_of(first, "agent after training").mean != expected.mean


def test_a_run_that_takes_over_another_begins_with_its_agent(tmp_path: Path) -> None:
    first = run(tmp_path / "data")
    second = run(tmp_path / "data", "s", auto_resume_latest=True)
    after = score_of(first, "agent after training")
    assert score_of(second, BEFORE) == after._replace(player=BEFORE)
