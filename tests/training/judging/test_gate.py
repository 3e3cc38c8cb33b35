"""The best checkpoint is the one that plays better, by more than chance."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.config import Config
from alphatriangle.rl import play_episodes
from alphatriangle.training.judging.evaluator import (
    GATE_SEED,
    Answer,
    Evaluator,
    EvaluatorDiedError,
)
from alphatriangle.training.judging.gate import Gate
from tests.conftest import make_network
from tests.training.command import alphatriangle, commits, send_when, show, start, train_arguments

scores = st.lists(st.floats(0, 100), min_size=20, max_size=20)


def judged(gate: Gate, step: int, values: list[float]) -> bool:
    gate.propose(step)
    return gate.judge(values).better


@given(scores, scores)
def test_a_candidate_wins_only_by_more_than_chance(first: list[float], second: list[float]) -> None:
    gate = Gate()
    assert judged(gate, 1, first), "whoever comes first is the best"
    gate.propose(2)
    verdict = gate.judge(second)
    assert verdict.gain is not None
    assert verdict.better == (verdict.gain.low > 0)
    if verdict.better:
        assert np.mean(second) > np.mean(first)
    assert gate.best_step == (2 if verdict.better else 1)
    assert gate.best_mean == pytest.approx(np.mean(second if verdict.better else first))
    assert gate.candidate_step is None


def test_the_luck_of_the_deals_does_not_count() -> None:
    gate = Gate()
    deals = np.random.default_rng(1).exponential(50, 40)
    assert judged(gate, 1, list(deals))
    assert not judged(gate, 2, list(deals)), "equal is not better"
    # One point more in every game is certain, however much games differ among themselves.
    assert judged(gate, 3, list(deals + 1))
    assert not judged(gate, 4, list(deals + np.resize([9, -9], 40)))


def test_another_number_of_games_begins_anew_and_the_state_is_kept() -> None:
    gate = Gate()
    judged(gate, 5, [3.0, 4.0])
    gate.propose(9)
    copy = Gate()
    copy.load_state_dict(gate.state_dict())
    assert copy.state_dict() == gate.state_dict()
    assert (copy.best_step, copy.candidate_step, copy.last_step) == (5, 9, 9)
    assert copy.judge([1.0]).better


def collected(evaluator: Evaluator) -> Answer:
    answer = evaluator.collect(wait=True)
    assert answer is not None
    return answer


def test_the_process_plays_what_this_one_would_and_can_be_replaced(
    config: Config, tmp_path: Path
) -> None:
    network = make_network(config)
    evaluator = Evaluator(config, tmp_path / "logs" / "evaluator.log")
    assert evaluator.collect(wait=True) is None, "nothing was begun"
    evaluator.start(network.get_weights(), 5)
    answer = collected(evaluator)
    played = play_episodes(
        network,
        config.search,
        config.env,
        episodes=list(range(5)),
        seed=GATE_SEED,
        gamma=config.train.gamma,
    )
    assert answer.scores == [e.score for e in played]
    assert answer.cpu_seconds > 0
    evaluator.start(network.get_weights(), 5000)
    assert evaluator.process_id is not None
    os.kill(evaluator.process_id, signal.SIGKILL)
    with pytest.raises(EvaluatorDiedError, match=r"-9.*evaluator\.log"):
        evaluator.collect(wait=True)
    evaluator.start(network.get_weights(), 5)
    assert collected(evaluator).scores == answer.scores
    evaluator.close()


def test_it_ends_with_whoever_started_it(config: Config, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from alphatriangle.training.judging.evaluator import Evaluator
from tests.conftest import make_network, tiny_config
config = tiny_config()
evaluator = Evaluator(config, Path(sys.argv[1]))
evaluator.start(make_network(config).get_weights(), 200)
print(evaluator.process_id, flush=True)
evaluator.collect(wait=True)
"""
    arguments = [sys.executable, "-c", script, str(tmp_path / "evaluator.log")]
    starter = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    evaluator = os.pidfd_open(int(starter.stdout.readline()))
    starter.kill()
    starter.communicate()
    ended, _, _ = select.select([evaluator], [], [], 120)
    os.close(evaluator)
    assert ended


def gated(data: Path, *more: str) -> list[str]:
    # Candidates at steps 8 and 16, and the last one.
    settings = ("--set", "stats.gate_games=8", "--set", "stats.gate_freq_steps=8")
    return train_arguments(data, "--workers", "0", *settings, *more)


def outcome(data: Path) -> dict[str, Any]:
    facts = show(data)
    link = (data / "runs/r/checkpoints/best.pkl").readlink().name
    return {
        "digest": facts["state_digest"],
        "best": link,
        "best_score": facts["commit"]["metrics"]["best_score"],
    }


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    data = tmp_path_factory.mktemp("gated")
    result = alphatriangle(*gated(data))
    assert result.returncode == 0, result.stderr
    return outcome(data)


def test_a_run_ends_with_a_best_checkpoint(uninterrupted: dict[str, Any]) -> None:
    assert uninterrupted["best"] in {f"checkpoint_step_{step}.pkl" for step in (8, 16, 24)}
    assert uninterrupted["best_score"] > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_interrupted_while_a_candidate_plays(
    tmp_path: Path, uninterrupted: dict[str, Any], number: signal.Signals
) -> None:
    # The candidate of step 8 has been committed; its games are judged at step 16.
    process = start(gated(tmp_path))
    assert send_when(process, lambda: len(commits(tmp_path)) >= 2, number)
    process.communicate(timeout=120)
    assert show(tmp_path)["step"] < 24
    assert alphatriangle(*gated(tmp_path)).returncode == 0
    assert outcome(tmp_path) == uninterrupted


def test_a_fork_does_not_have_the_best_of_another_run(tmp_path: Path) -> None:
    assert alphatriangle(*gated(tmp_path, "--max-steps", "16")).returncode == 0
    best = outcome(tmp_path)["best"]
    data = ("--data-dir", str(tmp_path))
    other = next(f"{s}" for s in (16, 8) if f"step_{s}." not in best)
    forked = alphatriangle("runs", "fork", "r", "copy", "--step", other, *data, "--json")
    assert forked.returncode == 0, forked.stderr
    again = alphatriangle(*gated(tmp_path, "--run-name", "copy", "--max-steps", "24", "--json"))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["complete"]
    links = (tmp_path / "runs/copy/checkpoints/best.pkl").readlink().name
    assert (tmp_path / "runs/copy/checkpoints" / links).is_file()
