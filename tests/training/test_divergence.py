"""Numbers that are not finite end a training with one clear message and never get into a commit."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from alphatriangle.config import PersistenceConfig
from alphatriangle.data import DataManager
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.schemas import CheckpointData
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.ntuple.learner import OnlineLearner, RoundResult
from alphatriangle.rl import ExperienceBuffer, Trainer, TrainingDivergedError
from alphatriangle.training.agent import load_agent
from alphatriangle.training.display.display import Display
from alphatriangle.training.learning.batches import restore_learner
from alphatriangle.training.run import train
from alphatriangle.training.run_plan import TrainRequest, plan_run
from alphatriangle.utils.finite import first_not_finite
from tests.conftest import tiny_config
from tests.training.command import alphatriangle, commits, fork, of_kind, show, train_arguments

STEPS = 12


def run(data: Path, **sections: dict[str, Any]) -> None:
    settings = tiny_config(data.parent, **sections).model_dump(mode="json")
    settings["persistence"]["root_data_dir"] = str(data)
    settings["train"]["run_name"] = "r"
    train(plan_run(TrainRequest(settings=settings)), Display(Console(), quiet=True))


def newest(data: Path) -> CheckpointData | None:
    persistence = tiny_config(data).persistence.model_copy(update={"root_data_dir": data})
    return load_for_reading(persistence, "r").checkpoint_data if commits(data) else None


def overflow(tensor: torch.Tensor) -> None:
    tensor.fill_(float("inf"))


def overflow_statistics(module: torch.nn.BatchNorm2d, *_: object) -> None:
    assert module.running_var is not None
    overflow(module.running_var.data)


def spoil(monkeypatch: pytest.MonkeyPatch, at_step: int, what: str) -> None:
    """One number of the gradient, the statistics or the weights goes wrong at a step, once; the
    loss is finite."""
    original = Trainer.train_step
    done: list[int] = []

    def spoiled(self: Trainer, batch: Any) -> Any:
        if self.steps + 1 != at_step or done:
            return original(self, batch)
        done.append(self.steps)
        model = self.network.model
        if what == "gradient":
            handle = model.stem.weight.register_hook(lambda g: g * float("nan"))
        elif what == "statistics":
            handle = model.stem_norm.register_forward_hook(overflow_statistics)
        else:
            handle = self.optimizer.torch.register_step_post_hook(
                lambda *_: overflow(self.network.flat_parameters[3:4])
            )
        try:
            return original(self, batch)
        finally:
            handle.remove()

    monkeypatch.setattr(Trainer, "train_step", spoiled)


@pytest.mark.parametrize("at_step", [3, 6, STEPS])
@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("gradient", "gradient['stem.weight'] (648 of 648 numbers)"),
        ("statistics", "network['stem_norm.running_var'] (8 of 8 numbers)"),
        ("weights", "network['stem.weight'] (1 of 648 numbers)"),
    ],
)
def test_one_number_that_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, named: str, at_step: int
) -> None:
    """The last step too: such a run is not complete. The same command goes on."""
    data = tmp_path / "data"
    spoil(monkeypatch, at_step, what)
    with pytest.raises(TrainingDivergedError) as raised:
        run(data)
    assert f"training step {at_step}: {named} is not finite" in str(raised.value)
    committed = newest(data)
    if at_step < 4:
        assert committed is None
        assert "--run-name r --set train.learning_rate=0.0002" in str(raised.value)
    else:
        assert committed is not None
        assert committed.global_step == (at_step - 1) // 4 * 4
        assert first_not_finite(committed.model_dump()) is None
        assert f"fork r r-2 --step {committed.global_step}" in str(raised.value)
    run(data)
    after = newest(data)
    assert after is not None
    assert after.global_step == STEPS


def follow(error: str) -> None:
    """Type the commands that the error tells."""
    told = re.search(r"; (\S*(?:python -m )?\S*alphatriangle [^;]*) (goes on|begins again)", error)
    assert told is not None
    for command in told[1].split(" && "):
        result = alphatriangle(*shlex.split(command.partition("alphatriangle ")[2]))
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(("at_step", "goes_on"), [(3, "r"), (10, "r-2")])
def test_the_command_that_goes_back_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_step: int, goes_on: str
) -> None:
    """Before the first commit it is the run itself that begins again."""
    spoil(monkeypatch, at_step, "gradient")
    with pytest.raises(TrainingDivergedError) as raised:
        run(tmp_path)
    follow(str(raised.value))
    facts = show(tmp_path, goes_on)
    assert (facts["step"], facts["state"]) == (STEPS, "complete")
    configs = json.loads((tmp_path / "runs" / goes_on / "configs.json").read_text())
    if at_step == 3:
        assert configs["train"]["learning_rate"] == 0.0002
        return
    # A tenth of the rate that step 8 had come to, and that is the rate of the steps after it.
    assert configs["train"]["learning_rate"] == 5.8e-05
    assert configs["train"]["lr_scheduler_eta_min"] == 5.8e-06
    log = (tmp_path / "runs" / goes_on / "logs/train.log").read_text()
    assert "from step 8 on the learning rate goes from 5.8e-05 to 5.8e-06" in log


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("AdamW", "1e6"), ("SGD", "10"), ("SGD", "1000"), ("SGD", "1e6")]
)
def test_a_rate_that_is_too_high(tmp_path: Path, optimizer: str, rate: str) -> None:
    """No commit holds what is not finite or answers with it, and the error is one line."""
    settings = {
        "train.optimizer_type": optimizer,
        "train.learning_rate": rate,
        "train.gradient_clip_value": "none",
        "persistence.save_freq_steps": "1",
    }
    more = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    output = tmp_path / "output.txt"
    process = fork(train_arguments(tmp_path, "--workers", "0", *more, steps=40), output)
    process.join(timeout=240)
    assert process.exitcode == 1
    (error,) = [line for line in output.read_text().splitlines() if "error" in line.lower()]
    assert error.startswith("error: ")
    assert "intact" in error
    assert "runs fork r r-2 --step" in error
    committed = newest(tmp_path)
    assert committed is not None
    assert first_not_finite(committed.model_dump()) is None
    agent = load_agent(PersistenceConfig(root_data_dir=tmp_path), "r", device="cpu")
    moves, value = agent.rank(GameState(1))
    assert np.isfinite([value, *(m.q_value for m in moves)]).all()


NTUPLE: dict[str, dict[str, Any]] = {
    "model": {"kind": "ntuple"},
    "ntuple": {"deals_per_step": 200, "sample_every": 7},
}


def spoil_tables(monkeypatch: pytest.MonkeyPatch, at_step: int, table: str, when: str) -> None:
    """A number of a table goes wrong, once: ``before`` or ``after`` the round of a step."""
    original = OnlineLearner.round
    done: list[int] = []

    def spoiled(self: OnlineLearner, deals: int, *between: Any) -> RoundResult:
        if self.rounds + 1 == at_step and deals > 1 and not done:
            done.append(self.rounds)
            result = original(self, deals, *between) if when == "after" else None
            tables = self.tables.state_dict()
            wrong = tables[table].copy()
            # The first is looked up for every board, the last for none.
            wrong[0 if when == "before" else -1] = np.nan
            self.tables.load_state_dict(tables | {table: wrong})
            return result or original(self, deals, *between)
        return original(self, deals, *between)

    monkeypatch.setattr(OnlineLearner, "round", spoiled)


@pytest.mark.parametrize(("at_step", "goes_on"), [(3, "r"), (10, "r-2")])
@pytest.mark.parametrize(
    ("table", "when", "named"),
    [
        ("weights", "before", r"training step {}: network\['weights'\] \(\d+ of 2440976 numbers\)"),
        ("errors", "before", r"training step {}: network\['weights'\] \(\d+ of 2440976 numbers\)"),
        ("absolute", "after", r"optimizer_state_dict\['absolute'\] \(1 of 2440976 numbers\)"),
        ("average", "after", r"model_state_dict\['average'\] \(\d+ of 2440976 numbers\)"),
    ],
)
def test_tables_that_are_not_finite(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    when: str,
    named: str,
    at_step: int,
    goes_on: str,
) -> None:
    """In an n-tuple network: they are never committed, and the way back lowers its own rate."""
    spoil_tables(monkeypatch, at_step, table, when)
    with pytest.raises(TrainingDivergedError, match=named.format(at_step)) as raised:
        run(tmp_path, **NTUPLE)
    committed = newest(tmp_path)
    assert (committed.global_step if committed else 0) == (at_step - 1) // 4 * 4
    assert committed is None or first_not_finite(committed.model_dump()) is None
    follow(str(raised.value))
    facts = show(tmp_path, goes_on)
    assert (facts["step"], facts["state"]) == (STEPS, "complete")
    configs = json.loads((tmp_path / "runs" / goes_on / "configs.json").read_text())
    assert configs["ntuple"]["learning_rate"] == 0.4
    after = load_for_reading(PersistenceConfig(root_data_dir=tmp_path), goes_on).checkpoint_data
    assert after is not None
    assert first_not_finite(after.model_dump()) is None


@pytest.mark.parametrize("setting", ["learning_rate=1000", "gamma=0.9999999", "explore=1"])
def test_an_n_tuple_network_stays_finite_at_every_extreme(tmp_path: Path, setting: str) -> None:
    """The logistic function bounds its errors, and so its steps."""
    more = [*of_kind("ntuple"), "--set", f"ntuple.{setting}"]
    result = alphatriangle(*train_arguments(tmp_path, *more, steps=40))
    assert result.returncode == 0, result.stderr
    committed = newest(tmp_path)
    assert committed is not None
    assert first_not_finite(committed.model_dump()) is None


def test_a_commit_of_an_earlier_version_that_is_not_finite(tmp_path: Path) -> None:
    """It can be neither trained nor played with, and the way leads to the one before it."""
    run(tmp_path)
    config = tiny_config(train={"run_name": "r"})
    persistence = config.persistence.model_copy(update={"root_data_dir": tmp_path})
    data = DataManager(persistence, config.train)
    state = data.load_initial_state()
    assert state.checkpoint_data is not None
    network, buffer = NeuralNetwork(config.model, "cpu"), ExperienceBuffer(config.train)
    trainer = Trainer(network, config.train)
    restore_learner(state, network, trainer, buffer)
    data.config = state.checkpoint_data.config
    overflow(network.flat_parameters[:1])
    data.save_training_state(
        network, trainer.optimizer, None, buffer, STEPS + 1, 0, 0, allow_not_finite=True
    )
    data.close()
    resumed = alphatriangle("train", "--data-dir", str(tmp_path), "--max-steps", "20")
    assert resumed.returncode == 1
    (line,) = resumed.stderr.splitlines()
    assert "saved of step 13: network['stem.weight'] (1 of 648 numbers) is not finite" in line
    assert "runs fork r r-2 --step 12" in line
    played = alphatriangle("eval", "r", "--games", "2", "--data-dir", str(tmp_path))
    assert played.returncode == 1
    (line,) = played.stderr.splitlines()
    assert "policy logits are not finite in 2 of 2 positions" in line
