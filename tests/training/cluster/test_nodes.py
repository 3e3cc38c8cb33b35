"""Training over nodes that share no disk, network or processes: who plays where, and who comes and
goes. One cluster for all of these tests, each of which begins when everybody plays.

Deadlines are those that are promised, on a machine that is busy with nothing else. What takes
longer is in ``test_nodes_long.py``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphatriangle.utils.kernel_files import kernels_here
from tests.helpers.nodes import PACKAGE, Node, nodes, until, why_not
from tests.training.cluster.scenario import Cluster, Training
from tests.training.command import alphatriangle

REASON = why_not()
if REASON is None and not os.environ.get("ALPHATRIANGLE_SOAK"):
    REASON = "takes minutes: in the long form alone (make soak)"
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(400),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "replica").mkdir()
    options = [
        *("--set", "persistence.save_freq_steps=50", "--set", "stats.tensorboard=true"),
        *("--set", f"persistence.replica=file://{folder}/replica"),
        # Results of more than 100 KB, which stay on the node until they are fetched.
        *("--set", "train.games_per_worker=512", "--set", "train.max_workers=5"),
    ]
    with nodes(folder) as machines:
        yield Cluster(machines, *options)


@pytest.fixture
def training(cluster: Cluster) -> Training:
    return cluster.training()


def test_one_worker_a_cpu_but_for_what_training_needs(cluster: Cluster, training: Training) -> None:
    assert len(cluster.head.processes("ray::SelfPlayWorker")) == 2
    training.until_steps(20)
    assert list(training.data.glob("runs/r/tensorboard/events*")), "curves are the driver's"


def test_nodes_that_cannot_play_are_named_with_the_reason(
    cluster: Cluster, training: Training
) -> None:
    """One has other code, one has not got the package; both within 15 s of joining."""
    foreign, bare = cluster.machines.add("delta"), cluster.machines.add("epsilon")
    other = foreign.folder / "package"
    shutil.copytree(PACKAGE, other)
    (other / "rl/self_play.py").open("a").write("\n# not the same\n")
    foreign.lay_over(PACKAGE, other)
    take_package_away(bare)
    cluster.join("delta", "epsilon")

    def is_said() -> bool:
        problem = str(training.now()["problem"])
        return "delta is refused" in problem and "epsilon is refused" in problem

    took = training.until(is_said, 15, "a word")
    assert "other code" in training.nodes()["delta"]["reason"], took
    assert "the package is not there" in training.nodes()["epsilon"]["reason"]
    assert "is refused" in training.log()
    cluster.machines.lose(foreign)
    cluster.machines.lose(bare)
    training.until(lambda: training.now()["problem"] is None, 60, "an end of it")


def take_package_away(node: Node) -> None:
    """From this machine."""
    nothing = node.folder / "nothing"
    nothing.mkdir()
    program = "import alphatriangle; print(alphatriangle.__path__[0])"
    installed = node.run(sys.executable, "-P", "-c", program, env={}, cwd="/").strip()
    for place in {str(PACKAGE), installed}:
        node.lay_over(Path(place), nothing)


def test_a_worker_that_is_killed_is_replaced(cluster: Cluster, training: Training) -> None:
    replaced = training.now()["workers"]["replaced"]
    cluster.machines.alive["gamma"].kill("ray::SelfPlayWorker")
    training.until(lambda: training.now()["workers"]["replaced"] >= replaced + 2, 30, "a word")
    assert "worker" in training.now()["workers"]["last_replaced"]
    training.until(lambda: training.running() == cluster.EVERYBODY, 60, "workers there again")


def test_without_free_cpus_training_says_so_by_node_and_waits(
    cluster: Cluster, training: Training
) -> None:
    """Another training has them all."""
    gamma = cluster.machines.alive["gamma"]
    options = ["--workers", "2"]
    with contextlib.closing(Training(gamma, cluster.head, *options, folder="second")) as second:
        second.until(lambda: second.now()["workers"], 60, "nodes")
        said = "2 of 2 workers find no free CPU"
        second.until(lambda: said in str(second.now()["problem"]), 15, "a word")
        for name in cluster.EVERYBODY:
            assert f"{name}: 0 of 2 CPUs have workers" in second.now()["problem"]
        (more,) = cluster.join("delta")
        second.until(lambda: second.running().get("delta"), 60, "a worker where there is room")
        second.until_steps(5)
    cluster.machines.lose(more)


def test_a_node_dies_with_results_and_another_of_its_name_begins_with_nothing(
    cluster: Cluster, training: Training
) -> None:
    """Its power goes while nobody has fetched what its workers have played. The one that joins has
    an empty cache, and compiles nothing that training has compiled; then it is told to go."""
    node = cluster.machines.alive["gamma"]
    training.until_steps(5)
    replaced = training.now()["workers"]["replaced"]
    (supervisor,) = training.node.processes("alphatriangle.training.play.supervisor")
    signal_process(supervisor, signal.SIGSTOP)
    workers = node.processes("ray::SelfPlayWorker")
    until(lambda: not busy(workers), 30, "results that wait to be fetched")
    cluster.machines.lose(node)
    signal_process(supervisor, signal.SIGCONT)
    training.until(lambda: training.now()["workers"]["replaced"] >= replaced + 2, 30, "a word")
    training.until_steps(20)

    cold = cluster.machines.add("gamma")
    cold.environment["XDG_CACHE_HOME"] = str(cold.folder / "cache")
    cluster.join("gamma")
    training.until(lambda: training.running().get("gamma") == 2, 60, "workers on the new node")
    training.until_steps(50)
    assert {p.name for p in cold.folder.rglob("*.kernel")} <= set(kernels_here())

    # Its games go on elsewhere.
    node_id = node_ids(training.node)["gamma"]
    replaced = training.now()["workers"]["replaced"]
    reason = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"]
    address = f"--address={cluster.head.address}:6379"
    cluster.head.ray("drain-node", address, f"--node-id={node_id}", *reason)
    training.until(lambda: not training.running().get("gamma"), 30, "an empty node")
    assert training.now()["workers"]["replaced"] == replaced, "nobody died"
    training.until_steps(20)
    cluster.machines.lose(cold)


def signal_process(pid: int, number: signal.Signals) -> None:
    """As the machine's own system would."""
    os.kill(pid, number)


def busy(pids: list[int]) -> bool:
    """Whether any of them has computed within the last half second."""

    def spent() -> list[str]:
        return [" ".join(Path(f"/proc/{pid}/stat").read_text().split()[13:15]) for pid in pids]

    before = spent()
    time.sleep(0.5)
    return spent() != before


def node_ids(node: Node) -> dict[str, str]:
    """Ray's names of the nodes, by host."""
    program = (
        "import ray; ray.init('auto', log_to_driver=False, logging_level='ERROR');"
        "print({n['NodeManagerHostname']: n['NodeID'] for n in ray.nodes() if n['Alive']})"
    )

    said = node.run(sys.executable, "-c", program, env=node.environ())
    found: dict[str, str] = eval(said.strip().splitlines()[-1])
    return found


def test_training_goes_on_elsewhere_when_its_own_machine_is_lost(
    cluster: Cluster, training: Training
) -> None:
    newest = training.now()["saved"]["step"]
    training.until(lambda: training.now()["saved"]["step"] > newest, 60, "a commit")
    cluster.machines.lose(training.node)
    training.process.wait(10)
    url = f"file://{cluster.machines.folder}/replica/r"
    third = cluster.machines.alive["gamma"]
    again = Training(third, cluster.head, "--resume", url, folder="resumed")
    again.until(lambda: again.now()["step"] > newest, 60, "steps after those of the commit")
    last = again.stop()
    assert last["state_digest"]
    assert last["global_step"] >= newest
    checked = alphatriangle("runs", "verify", "r", "--data-dir", str(again.data), "--json")
    assert checked.returncode == 0, checked.stdout
    steps = [line["step"] for line in training.progress()]
    assert steps == sorted(steps)
