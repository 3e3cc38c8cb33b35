"""Self-play in Ray actors, for real: rows arrive, workers die and are replaced, nothing starves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from alphatriangle.config import Config
from alphatriangle.data.commits.capture import stats_state
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult
from alphatriangle.stats import Event
from alphatriangle.training import setup
from alphatriangle.training.play.in_process import InProcessPlay
from alphatriangle.training.play.ray_play import RayPlay
from tests.conftest import make_network, tiny_config
from tests.training.command import (
    alphatriangle,
    commits,
    send_when,
    show,
    start,
    train_arguments,
)


@pytest.fixture(scope="module", autouse=True)
def ray_running() -> Iterator[None]:
    setup.start_ray()
    yield
    ray.shutdown()


def config() -> Config:
    return tiny_config(train={"num_workers": 2})


@pytest.fixture
def network() -> NeuralNetwork:
    return make_network(config())


def collect(play: RayPlay, episodes: int) -> list[PlayResult]:
    """Results until so many episodes have finished."""
    results: list[PlayResult] = []
    while sum(len(r.episodes) for r in results) < episodes:
        results += play.collect(1)
    return results


def test_more_workers_than_cores_all_play(network: NeuralNetwork) -> None:
    play = RayPlay(network, config(), workers=setup.core_count() + 3)
    pids = set(play.process_ids())
    assert len(pids) == setup.core_count() + 3
    results = collect(play, 10)
    play.close()
    for episode in (e for r in results for e in r.episodes):
        game = GameState(episode.seed, episode.episode)
        for move in episode.moves:
            game.step(int(move))
        assert game.is_over
        assert game.score == pytest.approx(episode.score)


def test_a_killed_worker_is_replaced_and_its_episodes_are_played(network: NeuralNetwork) -> None:
    """Every episode number comes exactly once, the lost ones again from their seeds."""
    play = RayPlay(network, config(), workers=2)
    results = collect(play, 5)
    os.kill(play.process_ids()[0], signal.SIGKILL)
    while play.workers_replaced == 0:
        results += play.collect(1)
    results += collect(play, 60)
    state = play.state_dict()
    play.close()
    finished = [e.episode for r in results for e in r.episodes]
    assert len(finished) == len(set(finished))
    # What is not finished is known: no episode has been forgotten.
    assert set(finished) | set(state["unfinished"].tolist()) == set(range(state["next_episode"]))


def test_a_resumed_run_plays_unfinished_episodes_again(network: NeuralNetwork) -> None:
    first = RayPlay(network, config(), workers=1)
    collect(first, 3)
    state = first.state_dict()
    first.close()
    again = RayPlay(network, config(), workers=1)
    again.load_state_dict(state)
    finished = {e.episode for r in collect(again, 20) for e in r.episodes}
    again.close()
    assert min(state["unfinished"]) in finished


def test_a_run_can_go_on_without_ray_and_with_it_again(network: NeuralNetwork) -> None:
    actors = RayPlay(network, config(), workers=1)
    collect(actors, 3)
    state = actors.state_dict()
    actors.close()
    local = InProcessPlay(network, config())
    local.load_state_dict(state)
    played = [e.episode for _ in range(30) for r in local.collect(5) for e in r.episodes]
    assert set(played) & set(state["unfinished"].tolist())
    back = RayPlay(network, config(), workers=1)
    back.load_state_dict(local.state_dict())
    expected = local.state_dict()["unfinished"]
    np.testing.assert_array_equal(back.state_dict()["unfinished"], expected)
    back.close()


def test_workers_take_over_new_weights(network: NeuralNetwork) -> None:
    play = RayPlay(network, tiny_config(train={"worker_update_freq_steps": 2}), workers=1)
    versions = [play._version]
    for _ in range(4):
        play.update_weights()
        versions.append(play._version)
    play.close()
    assert versions == [0, 0, 1, 1, 2]


def test_far_ahead_of_training_the_workers_pause(network: NeuralNetwork) -> None:
    play = RayPlay(network, config(), workers=1)
    collect(play, 1)
    assert play.collect(-1_000_000) == []
    play.close()


def test_the_collector_is_the_same_behind_ray() -> None:
    stats = setup.make_stats(lambda: [], remote=True)
    stats.tell("log", [Event("loss/total", 2.0, 1), Event("loss/total", 4.0, 2)])
    assert len(stats.ask("get_state")["events"]) == 2
    assert stats.ask("write", 2) == {"loss/total": 3.0}
    copy = setup.make_stats(lambda: [], remote=True)
    copy.tell("set_state", stats.ask("get_state"))
    assert copy.ask("latest") == {"loss/total": 3.0}


def test_a_collector_that_is_dead_does_not_keep_the_state_from_being_saved() -> None:
    stats = setup.make_stats(lambda: [], remote=True)
    stats.tell("log", [Event("loss/total", 2.0, 1)])
    assert stats_state(stats.collector)()["events"] == [("loss/total", 2.0, 1)]
    ray.kill(stats.collector)
    assert stats_state(stats.collector)() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_with_workers_too(tmp_path: Path, number: signal.Signals) -> None:
    """Ray installs a handler of its own for SIGTERM, which would abort the process."""
    arguments = train_arguments(tmp_path, "--workers", "1", steps=100_000)
    process = start(arguments)
    assert send_when(process, lambda: len(commits(tmp_path)) >= 1, number)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 0, output
    assert f"stopped by {number.name}" in output
    assert show(tmp_path)["state"] == "unfinished"


def test_train_with_workers_saves_and_goes_on(tmp_path: Path) -> None:
    """The whole command with Ray, twice; MLflow and TensorBoard have every point once."""
    from mlflow.tracking import MlflowClient

    from alphatriangle.data.elsewhere.mlflow_log import tracking_uri
    from tests.stats.test_stats import tensorboard_points

    more = ["--workers", "2", "--set", "persistence.mlflow=true", "--set", "stats.tensorboard=true"]
    for steps in (8, 16):
        result = alphatriangle(*train_arguments(tmp_path, *more, steps=steps))
        assert result.returncode == 0, result.stderr
        assert result.stderr == "", "nobody prints over the display"
    facts = show(tmp_path)
    assert (facts["step"], facts["state"]) == (16, "complete")
    (folder,) = tmp_path.glob("runs/r/tensorboard")
    points = [(tag, step) for tag, step, _ in tensorboard_points(folder)]
    assert len(points) == len(set(points))
    assert {step for tag, step in points if tag == "loss/total"} == set(range(2, 17, 2))
    client = MlflowClient(tracking_uri(tmp_path / "mlruns"))
    (experiment,) = [e for e in client.search_experiments() if e.name == "AlphaTriangle"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "loss/total")
    assert sorted(m.step for m in history) == list(range(2, 17, 2))
