"""Whatever leaves the loop, what has been learned is saved first, unless it is half a step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from alphatriangle.rl import ExperienceBuffer, SelfPlay, Trainer
from alphatriangle.rl.optimizer import FlatOptimizer
from alphatriangle.training.display.display import Display
from alphatriangle.training.run import TrainingOutcome, train
from alphatriangle.training.run_plan import TrainRequest, plan_run
from tests.conftest import TINY
from tests.training.command import commits


def trained(data: Path) -> TrainingOutcome:
    settings = {**TINY, "train": {**TINY["train"], "run_name": None}}
    plan = plan_run(TrainRequest(settings=settings, run_name="r", max_steps=12, data_dir=data))
    return train(plan, Display(Console(), quiet=True))


@pytest.fixture(scope="module")
def digest(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """Of a run that nothing has disturbed."""
    return trained(tmp_path_factory.mktemp("undisturbed")).state_digest


def raise_once(
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    error: BaseException,
    when: Callable[..., bool],
) -> None:
    """Let the method of ``owner`` raise the first time that its arguments are ``when``."""
    original = getattr(owner, method)
    raised = False

    def raising(*arguments: Any, **more: Any) -> Any:
        nonlocal raised
        if not raised and when(*arguments):
            raised = True
            raise error
        return original(*arguments, **more)

    monkeypatch.setattr(owner, method, raising)


def call(number: int) -> Callable[..., bool]:
    """The so-manieth call."""
    calls = itertools.count(1)
    return lambda *_: next(calls) == number


@pytest.mark.parametrize(
    ("owner", "method", "error", "when"),
    [
        (ExperienceBuffer, "sample", MemoryError(), lambda _, count, step: step == 6),
        (
            Trainer,
            "train_step",
            RuntimeError("no memory"),
            lambda trainer, _: trainer.steps == 6,
        ),
        (Display, "update", KeyboardInterrupt(), lambda _, view: view.step == 6),
        (Display, "update", SystemExit(3), lambda _, view: view.step == 6),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_error_between_two_steps_loses_nothing(
    tmp_path: Path,
    digest: str,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    method: str,
    error: BaseException,
    when: Callable[..., bool],
) -> None:
    """Step 6 is none that would have been saved; the run goes on exactly from it."""
    raise_once(monkeypatch, owner, method, error, when)
    with pytest.raises(type(error)) as raised:
        trained(tmp_path)
    assert raised.value is error
    assert commits(tmp_path) == ["step_4.json", "step_6.json"]
    outcome = trained(tmp_path)
    assert (outcome.complete, outcome.state_digest) == (True, digest)


def test_an_error_in_the_middle_of_a_step_leaves_the_last_commit(
    tmp_path: Path, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_once(monkeypatch, FlatOptimizer, "step", MemoryError(), call(7))
    with pytest.raises(MemoryError) as raised:
        trained(tmp_path)
    assert "the last commit is what there is" in raised.value.__notes__[0]
    assert commits(tmp_path) == ["step_4.json"]
    assert trained(tmp_path).state_digest == digest


def test_games_in_the_middle_of_a_round_are_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_once(monkeypatch, SelfPlay, "_features_seconds", MemoryError(), call(101))
    with pytest.raises(MemoryError):
        trained(tmp_path)
    assert commits(tmp_path)
    assert trained(tmp_path).complete


def test_a_save_that_fails_too_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("the first")
    raise_once(monkeypatch, ExperienceBuffer, "sample", error, lambda _, count, step: step == 6)
    raise_once(monkeypatch, ExperienceBuffer, "counters", MemoryError("the second"), call(2))
    with pytest.raises(RuntimeError, match="the first") as raised:
        trained(tmp_path)
    assert "could not be saved: the second" in raised.value.__notes__[0]
