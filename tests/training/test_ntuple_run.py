"""A whole run of an n-tuple network: everything that looks at runs looks at it too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import alphatriangle
from alphatriangle.config import ConfigError, PersistenceConfig, merge
from alphatriangle.data.errors import StateMismatchError
from alphatriangle.data.runs.summary import read_run_info, summarize_run
from alphatriangle.game import GameState
from alphatriangle.nn import NTupleNetwork
from alphatriangle.report.facts import collect
from alphatriangle.report.figures import figures
from alphatriangle.report.page import report_page
from alphatriangle.training.run import TrainingOutcome
from alphatriangle.utils.machine import core_count
from alphatriangle.viewer.frames import frames
from alphatriangle.viewer.recordings import recorded_games
from tests.conftest import TINY

SETTINGS = merge(
    TINY,
    {
        "train": {"run_name": None},
        "model": {"kind": "ntuple"},
        "ntuple": {"deals_per_step": 400, "sample_every": 7, "play_simulations": 8},
        "stats": {
            "evaluation_games": 3,
            "gate_games": 3,
            "gate_freq_steps": 4,
            "gate_simulations": 0,
            "tensorboard": True,
        },
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ntuple")


@pytest.fixture(scope="module")
def outcome(folder: Path) -> TrainingOutcome:
    return alphatriangle.train("r", settings=SETTINGS, max_steps=8, data_dir=folder, quiet=True)


@pytest.fixture
def persistence(folder: Path, outcome: TrainingOutcome) -> PersistenceConfig:
    assert outcome.complete
    return PersistenceConfig(root_data_dir=folder)


def test_it_ends_with_scores_and_a_best_checkpoint(
    outcome: TrainingOutcome, persistence: PersistenceConfig
) -> None:
    players = [score.player for score in outcome.scores]
    assert players[-2:] == ["agent before training", "agent after training"]
    assert all(score.games == 3 and score.cut == 0 for score in outcome.scores)
    summary = summarize_run(persistence, "r")
    assert summary.state == "complete"
    assert summary.best_score is not None
    assert alphatriangle.load_run("r", checkpoint="best", data_dir=persistence.root_data_dir)


def test_it_needs_no_ray_and_remembers_its_copies(
    folder: Path, persistence: PersistenceConfig
) -> None:
    from alphatriangle.data.path_manager import PathManager

    info = read_run_info(PathManager(persistence, "r"))
    assert info is not None
    assert info.copies == min(core_count(), 2)
    assert not (folder / "runs/r/logs/ray.log").exists()


def test_a_sample_of_its_games_is_recorded_and_can_be_watched(
    persistence: PersistenceConfig,
) -> None:
    games = recorded_games(persistence, "r")
    assert 0 < len(games) <= 8 * 4
    assert summarize_run(persistence, "r").episodes > len(games), "all are counted"
    for game in games:
        assert len(list(frames(game))) == len(game.moves) + 1


def test_its_agent_says_what_it_would_play(persistence: PersistenceConfig) -> None:
    agent = alphatriangle.load_run("r", data_dir=persistence.root_data_dir)
    assert isinstance(agent.network, NTupleNetwork)
    game = GameState(seed=5)
    for _ in range(6):
        moves, value = agent.rank(game)
        assert sorted(m.action for m in moves) == game.legal_actions().tolist()
        assert sum(m.probability for m in moves) == pytest.approx(1.0)
        assert np.isfinite([value, *(m.q_value for m in moves)]).all()
        assert value == moves[0].q_value
        game.step(moves[0].action)
    scores = alphatriangle.evaluate(agent, games=2, simulations=0)
    again = alphatriangle.evaluate(agent, games=2, simulations=0)
    assert scores[0].scores == again[0].scores


def test_its_report_has_its_curves(persistence: PersistenceConfig) -> None:
    report = collect(persistence, "r", games=2)
    assert report.curves["train/value_error"].steps.tolist() == [2, 4, 6, 8]
    assert {"score", "losses", "throughput", "replay", "saves"} <= set(figures(report))
    assert "ntuple.deals_per_step" in report_page(report)


def test_neither_kind_goes_on_as_the_other(persistence: PersistenceConfig) -> None:
    folder = persistence.root_data_dir
    with pytest.raises(ConfigError, match=r"model.kind is ntuple .* cannot become convolutional"):
        alphatriangle.train("r", settings={"model": {"kind": "convolutional"}}, data_dir=folder)
    checkpoint = str(folder / "runs/r/checkpoints/latest.pkl")
    other = merge(SETTINGS, {"model": {"kind": "convolutional"}})
    with pytest.raises(StateMismatchError, match=r"kind convolutional: stem.weight is missing"):
        alphatriangle.train("other", settings=other, resume=checkpoint, data_dir=folder, quiet=True)
