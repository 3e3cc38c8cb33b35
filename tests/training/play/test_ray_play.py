"""Self-play in Ray workers, for real: rows arrive, whoever dies is replaced, nothing starves."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import ray
import torch
from ray.exceptions import RayError

from alphatriangle.config import Config
from alphatriangle.data.commits.capture import stats_state
from alphatriangle.game import GameState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult
from alphatriangle.stats import Event
from alphatriangle.stats.collector import start_collector_actor
from alphatriangle.training.cluster import identity
from alphatriangle.training.cluster.census import look, own_node
from alphatriangle.training.cluster.ray_session import own_ray
from alphatriangle.training.cluster.roster import Roster
from alphatriangle.training.play.episodes import open_episodes
from alphatriangle.training.play.forgotten import GREETING_SECONDS
from alphatriangle.training.play.in_process import InProcessPlay
from alphatriangle.training.play.messages import Begin, Play, Replaced, Result, Weights
from alphatriangle.training.play.pool import WorkerPool
from alphatriangle.training.play.ray_play import RayPlay, WorkersFailedError
from alphatriangle.training.play.worker import pickle_weights
from alphatriangle.utils.errors import EvaluationNotFiniteError
from alphatriangle.utils.machine import core_count
from tests.conftest import make_network, tiny_config
from tests.training.command import (
    alphatriangle,
    commits,
    send_when,
    show,
    start,
    train_arguments,
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of one Ray for all these tests."""
    with own_ray(6):
        yield ray.get_runtime_context().gcs_address


Start = Callable[..., RayPlay]


@pytest.fixture
def start_play(address: str, network: NeuralNetwork, tmp_path: Path) -> Iterator[Start]:
    """Starts workers that end with the test."""
    started: list[RayPlay] = []

    def begin(workers: int, config: Config | None = None) -> RayPlay:
        log = tmp_path / "ray.log"
        started.append(RayPlay(network, config or tiny(), workers, address=address, log=log))
        return started[-1]

    yield begin
    for play in started:
        play.close()


def tiny() -> Config:
    return tiny_config(train={"num_workers": 2})


@pytest.fixture
def network() -> NeuralNetwork:
    return make_network(tiny())


def collect(play: RayPlay, episodes: int) -> list[PlayResult]:
    """Results until so many episodes have finished."""
    results: list[PlayResult] = []
    while sum(len(r.episodes) for r in results) < episodes:
        results += play.collect(1)
    return results


def assert_complete(play: RayPlay, results: list[PlayResult]) -> None:
    """Every episode number and every row of it came once at most, and none has been forgotten."""
    finished = [e.episode for r in results for e in r.episodes]
    assert len(finished) == len(set(finished))
    state = play.state_dict()
    unfinished, rows = open_episodes(state)
    assert set(finished) | set(unfinished.tolist()) == set(range(state["next_episode"]))
    origins = [tuple(origin) for r in results for origin in r.origins.tolist()]
    assert len(origins) == len(set(origins))
    out = Counter(episode for episode, _ in origins if episode not in finished)
    assert rows == out


def test_more_workers_than_cores_all_play(network: NeuralNetwork, tmp_path: Path) -> None:
    """On one machine: its Ray has a CPU in its books for each."""
    workers = core_count() + 2
    play = RayPlay(network, tiny(), workers, log=tmp_path / "ray.log")
    results: list[PlayResult] = []
    while len(set(play.process_ids.values())) < workers:
        results += play.collect(1)
    for episode in (e for r in results for e in r.episodes):
        game = GameState(episode.seed, episode.episode)
        for move in episode.moves:
            game.step(int(move))
        assert game.is_over
        assert game.score == pytest.approx(episode.score)
    play.close()


def test_a_killed_worker_is_replaced_and_its_episodes_are_played(start_play: Start) -> None:
    play = start_play(2)
    results = collect(play, 5)
    os.kill(next(iter(play.process_ids.values())), signal.SIGKILL)
    while play.workers_replaced == 0:
        results += play.collect(1)
    results += collect(play, 60)
    assert_complete(play, results)


def test_when_ray_ends_its_process_it_is_started_again(start_play: Start) -> None:
    """What Ray does to the process that uses it when it loses its raylet or its head."""
    play = start_play(1)
    results = collect(play, 5)
    first = play.supervisor_id
    assert first is not None
    os.kill(first, signal.SIGKILL)
    while play.supervisor_id in (first, None):
        results += play.collect(1)
    results += collect(play, 60)
    assert_complete(play, results)


def test_an_error_in_a_worker_that_comes_again_ends_training(
    start_play: Start, network: NeuralNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "get_weights", dict)
    play = start_play(1)
    with pytest.raises(WorkersFailedError, match=r"WeightsMismatchError: .* is missing.*--workers"):
        collect(play, 1)


def test_weights_that_cannot_be_played_with_end_training_at_once(
    start_play: Start, network: NeuralNetwork
) -> None:
    with torch.no_grad():
        network.model.policy_head.weight[0] = float("inf")
    play = start_play(1)
    with pytest.raises(EvaluationNotFiniteError, match="policy logits are not finite in 6 of 6"):
        collect(play, 1)
    assert play.workers_replaced == 0


def test_workers_without_memory_end_training_with_a_word(
    network: NeuralNetwork, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray kills a worker when the machine has no memory left: here it always thinks so."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    play = RayPlay(network, tiny(), 1, log=tmp_path / "ray.log")
    with pytest.raises(WorkersFailedError, match="memory"):
        collect(play, 100_000)
    play.close()
    assert play.workers_replaced > 0


def test_a_resumed_run_plays_unfinished_episodes_again(start_play: Start) -> None:
    first = start_play(1)
    results = collect(first, 3)
    state = pickle.loads(pickle.dumps(first.state_dict()))
    again = start_play(1)
    again.load_state_dict(state)
    results += collect(again, 20)
    assert min(open_episodes(state)[0]) in {e.episode for r in results for e in r.episodes}
    assert_complete(again, results)


def test_a_run_can_go_on_without_ray_and_with_it_again(
    start_play: Start, network: NeuralNetwork
) -> None:
    actors = start_play(1)
    results = collect(actors, 3)
    state = actors.state_dict()
    local = InProcessPlay(network, tiny())
    local.load_state_dict(state)
    here = [r for _ in range(30) for r in local.collect(5)]
    assert {e.episode for r in here for e in r.episodes} & set(open_episodes(state)[0].tolist())
    back = start_play(1)
    back.load_state_dict(local.state_dict())
    expected = local.state_dict()["unfinished"]
    np.testing.assert_array_equal(open_episodes(back.state_dict())[0], expected)
    origins = [tuple(origin) for r in results + here for origin in r.origins.tolist()]
    assert len(origins) == len(set(origins))


def test_workers_take_over_new_weights(start_play: Start) -> None:
    play = start_play(1, tiny_config(train={"worker_update_freq_steps": 2}))
    versions = [play.weights_version]
    for _ in range(4):
        play.update_weights()
        versions.append(play.weights_version)
    assert versions == [0, 0, 1, 1, 2]


def test_far_ahead_of_training_the_workers_pause(start_play: Start) -> None:
    """They play so many rows ahead and no more, whether anybody takes them or not."""
    play = start_play(1)
    results = collect(play, 1)
    assert play.collect(-1_000_000) == []
    ahead = 0
    while rows := sum(len(r.rows) for _ in range(5) for r in play.collect(-ahead)):
        ahead += rows
    assert results
    assert ahead < 4 * play.lookahead_rows


def test_whoever_has_answered_plays_on_at_once(address: str, network: NeuralNetwork) -> None:
    """Not when the supervisor comes by next."""
    config = tiny().model_dump(mode="json")
    said: list[NamedTuple] = []
    begin = Begin(None, 1, 1, 1, 0, config, 16, 32)
    pool = WorkerPool(begin, said.append, Roster(identity.here(), own_node(), is_trusted=True))
    facts = look()
    pool.take(Weights(0, pickle_weights(network.get_weights())))
    pool.take(Play(list(range(100)), 200))
    while not said:
        pool.turn(60.0, facts)
    for results in range(1, 5):
        assert pool.is_busy
        while len(said) == results:
            pool.turn(60.0, facts)
    assert all(isinstance(message, Result) for message in said)


def test_whoever_has_nothing_to_do_is_called_now_and_then(
    address: str, network: NeuralNetwork
) -> None:
    """Or it would take itself for forgotten."""
    config = tiny().model_dump(mode="json")
    begin = Begin(None, 1, 1, 1, 0, config, 16, 32)
    roster = Roster(identity.here(), own_node(), is_trusted=True)
    pool = WorkerPool(begin, lambda message: None, roster)
    facts = look()
    pool.turn(0.0, facts)
    (worker,) = pool.workers.values()
    while pool.is_busy:
        pool.turn(60.0, facts)
    pool.turn(0.0, facts)
    assert not pool.is_busy, "nothing is to be played"
    worker.heard_at = before = worker.heard_at - GREETING_SECONDS
    pool.turn(0.0, facts)
    while pool.is_busy:
        pool.turn(60.0, facts)
    assert worker.heard_at > before + GREETING_SECONDS


def test_the_collector_is_the_same_behind_ray(address: str) -> None:
    actor = start_collector_actor(list)
    actor.log.remote([Event("loss/total", 2.0, 1), Event("loss/total", 4.0, 2)])
    assert len(ray.get(actor.get_state.remote())["events"]) == 2
    assert ray.get(actor.write.remote(2)) == {"loss/total": 3.0}
    copy = start_collector_actor(list)
    copy.set_state.remote(ray.get(actor.get_state.remote()))
    assert ray.get(copy.latest.remote()) == {"loss/total": 3.0}


def test_a_collector_that_is_dead_does_not_keep_the_state_from_being_saved(address: str) -> None:
    actor = start_collector_actor(list)
    # A save waits for an actor's answer for a while only, not for its start.
    ray.get(actor.log.remote([Event("loss/total", 2.0, 1)]))
    assert stats_state(actor)()["events"] == [("loss/total", 2.0, 1)]
    ray.kill(actor)
    with contextlib.suppress(RayError):
        while True:
            ray.get(actor.latest.remote())
    assert stats_state(actor)() == {}


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

    from alphatriangle.data.elsewhere.mlflow_store import tracking_uri
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


def test_the_games_of_a_worker_that_dies_go_on_elsewhere(
    address: str, network: NeuralNetwork
) -> None:
    """From where they came home last, whoever has them, and no row comes twice."""
    config = tiny_config(train={"games_per_worker": 6}).model_dump(mode="json")
    said: list[NamedTuple] = []
    begin = Begin(None, 1, 1, 1, 0, config, 16, 12)
    pool = WorkerPool(begin, said.append, Roster(identity.here(), own_node(), is_trusted=True))
    facts = look()
    pool.take(Weights(0, pickle_weights(network.get_weights())))
    pool.take(Play(list(range(40)), 10_000))
    pool.turn(0.0, facts)
    (worker,) = pool.workers.values()
    worker.home_at = float("-inf")  # the next call brings the games home

    def results() -> list[Result]:
        return [message for message in said if isinstance(message, Result)]

    while not any(result.games for result in results()) or results()[-1].games:
        pool.turn(60.0, facts)
    assert worker.process_id is not None
    os.kill(worker.process_id, signal.SIGKILL)
    while not any(isinstance(message, Replaced) for message in said):
        pool.turn(60.0, facts)
    count = len(results())
    while len(results()) < count + 12:
        pool.turn(60.0, facts)
    played = [pickle.loads(result.pickled) for result in results()]
    origins = [tuple(origin) for result in played for origin in result.origins.tolist()]
    assert len(origins) == len(set(origins))
    for episode in {e.episode for result in played for e in result.episodes}:
        numbers = sorted(number for of, number in origins if of == episode)
        assert numbers == list(range(len(numbers))), "none is missing"
