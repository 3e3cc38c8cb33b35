"""Links that are cut and heads that are gone: what takes minutes, in the long form alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.nodes import nodes, until, why_not
from tests.training.cluster.scenario import Cluster, Training
from tests.training.cluster.test_nodes import take_package_away

REASON = why_not()
if REASON is None and not os.environ.get("ALPHATRIANGLE_SOAK"):
    REASON = "takes minutes: in the long form alone (make soak)"
REDIS = shutil.which("redis-server")
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(600),
]
NEVER = ["--set", "persistence.save_freq_steps=1000000"]
OUTSIDE = "--ray-client-server-port=10001"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with nodes(tmp_path_factory.mktemp("nodes")) as machines:
        yield Cluster(machines, *NEVER, "--set", "train.max_workers=5", head=[OUTSIDE])


@pytest.fixture
def training(cluster: Cluster) -> Training:
    return cluster.training()


def test_a_node_that_falls_silent_is_replaced_and_plays_again_when_it_is_back(
    cluster: Cluster, training: Training
) -> None:
    away = cluster.machines.alive["gamma"]
    away.unplug()
    took = training.until(lambda: not training.running().get("gamma"), 30, "its replacement")
    assert training.nodes()["gamma"]["state"] == "silent", took
    away.plug_in()
    training.until(lambda: training.running() == cluster.EVERYBODY, 90, "its return")


def test_training_plays_on_while_its_own_link_is_down_for_20_s(
    cluster: Cluster, training: Training
) -> None:
    """With the worker on its machine; nobody else is given up."""
    before, began = training.now(), time.monotonic()
    training.node.unplug()
    training.until(lambda: time.monotonic() - began > 20, 30, "twenty seconds")
    assert training.now()["step"] > before["step"]
    assert training.nodes()["alpha"]["state"] == "ready", "it is not the others who are away"
    training.node.plug_in()
    training.until(lambda: training.running() == cluster.EVERYBODY, 90, "everybody")
    training.until_steps(20)
    assert training.longest_gap(since=before["time"]) < 10


def test_training_whose_link_is_down_for_75_s_saves_and_looks_for_the_cluster_again(
    cluster: Cluster, training: Training
) -> None:
    """Ray may give up a node that is away for so long; whoever runs it starts it again."""
    saved, began = training.now()["saved"], time.monotonic()
    training.node.unplug()
    # Ten seconds of silence, a save, and a line that says so every three seconds.
    training.until(lambda: training.now()["saved"] != saved, 20, "a commit")
    training.until(lambda: time.monotonic() - began > 75, 90, "75 seconds")
    training.node.plug_in()

    def is_whole() -> bool:
        if not training.node.processes("raylet/raylet"):
            training.node.ray("stop", "--force")
            cluster.join("beta")
        return training.running() == cluster.EVERYBODY

    training.until(is_whole, 180, "everybody")
    training.until_steps(20)


def test_a_bare_node_plays_with_a_package_that_travels(cluster: Cluster) -> None:
    cluster.stop()
    bare = cluster.machines.add("delta")
    take_package_away(bare)
    cluster.join("delta")
    options = [*NEVER, "--set", "train.package_travels=true"]
    beta = cluster.machines.alive["beta"]
    with contextlib.closing(Training(beta, cluster.head, *options, folder="travels")) as training:
        training.until(lambda: training.running().get("delta") == 2, 120, "workers on it")
        training.until_steps(5)
    cluster.machines.lose(bare)


def test_training_from_outside_the_cluster(cluster: Cluster) -> None:
    """Through Ray's client: no node of the cluster is training's own."""
    cluster.stop()
    outside = cluster.machines.add("epsilon")
    address = {"RAY_ADDRESS": f"ray://{cluster.head.address}:10001"}
    with contextlib.closing(Training(outside, cluster.head, *NEVER, **address)) as training:
        there = {"alpha": 2, "beta": 2, "gamma": 2}
        training.until(lambda: training.running() == there, 150, "six workers")
        training.until_steps(5)
        assert training.now()["workers"]["own_workers"] is None
    cluster.machines.lose(outside)


def test_a_cluster_that_is_started_anew_is_used_again(cluster: Cluster, training: Training) -> None:
    """Its head dies with all that it knew. What there is is saved, and the same process goes on."""
    saved = training.now()["saved"]
    cluster.head.kill("gcs_server")
    training.until(lambda: training.now()["saved"] != saved, 30, "a commit")
    for node in cluster.machines.alive.values():
        node.ray("stop", "--force")
    cluster.start_head()
    cluster.join("beta", "gamma")
    training.until(lambda: training.running() == cluster.EVERYBODY, 150, "everybody")
    training.until_steps(20)


def test_a_head_that_stays_away_ends_training_with_the_command_that_goes_on(
    cluster: Cluster,
) -> None:
    cluster.stop()
    beta = cluster.machines.alive["beta"]
    options = [*NEVER, "--set", "train.cluster_patience_seconds=20"]
    with contextlib.closing(Training(beta, cluster.head, *options, folder="last")) as training:
        training.until(lambda: training.running().get("alpha"), 120, "workers")
        training.until_steps(20)
        cluster.machines.lose(cluster.head)
        training.until(lambda: training.now()["saved"], 15, "a commit, which no interval asks for")
        assert training.process.wait(240) == 1
        assert training.lines()[-1]["event"] == "note", "nothing else is on standard output"
        said = training.errors()
    assert "Ray is lost" in said
    assert "train --run-name r" in said
    assert "Traceback" not in said


@pytest.mark.skipif(REDIS is None, reason="needs redis-server")
def test_with_redis_a_head_comes_back_and_workers_elsewhere_stay(tmp_path: Path) -> None:
    with nodes(tmp_path) as machines:
        store = machines.add("redis")
        store.start([str(REDIS), "--protected-mode", "no", "--dir", "."], store.folder / "output")
        until(
            lambda: f":{6379:04X} 00000000:0000 0A" in store.run("cat", "/proc/net/tcp"), 20, "it"
        )
        redis = {"RAY_REDIS_ADDRESS": f"{store.address}:6379"}
        cluster = Cluster(machines, *NEVER, "--set", "train.max_workers=5", **redis)
        training = cluster.training()
        gamma = machines.alive["gamma"]
        before = gamma.processes("ray::SelfPlayWorker")
        cluster.head.ray("stop", "--force")
        training.until(lambda: training.now()["workers"]["head_silent"] > 5, 30, "no head")
        cluster.start_head()
        training.until(lambda: training.now()["workers"]["head_silent"] < 5, 60, "the head")
        training.until(lambda: training.running() == cluster.EVERYBODY, 120, "everybody")
        training.until_steps(20)
        assert gamma.processes("ray::SelfPlayWorker") == before
