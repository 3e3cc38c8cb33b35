"""Training over nodes that share no disk, network or processes: who plays where, and who comes and
goes. Deadlines are those that are promised, on a machine that is busy with nothing else."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alphatriangle.utils.kernel_files import kernels_here
from tests.helpers.nodes import PACKAGE, Node, Nodes, nodes, why_not
from tests.training.cluster.scenario import Training
from tests.training.command import alphatriangle

REASON = why_not()
if REASON is None and not os.environ.get("ALPHATRIANGLE_SOAK"):
    REASON = "takes minutes: in the long form alone (make soak)"
pytestmark = [
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
    pytest.mark.timeout(600),
]
OFTEN = ["--set", "persistence.save_freq_steps=50", "--set", "stats.tensorboard=true"]


@pytest.fixture
def machines() -> Iterator[Nodes]:
    with nodes() as made:
        yield made


def two_nodes(machines: Nodes, cpus: int = 2) -> tuple[Node, Node]:
    """A head, and a node for the driver."""
    head, driver = machines.add("alpha"), machines.add("beta")
    head.start_head(cpus)
    driver.join(head, cpus)
    return head, driver


def test_nodes_come_and_go(machines: Nodes) -> None:
    """Placement, a node of other code, one that joins with nothing compiled, one that is told to
    go, one whose power goes, a worker that is killed; then training's own machine is lost."""
    head, driver = two_nodes(machines)
    replica = machines.folder / "replica"
    replica.mkdir()
    training = Training(driver, head, *OFTEN, "--set", f"persistence.replica=file://{replica}")

    # One worker a CPU, but for what training needs of its own node.
    training.until(lambda: training.running() == {"alpha": 2, "beta": 1}, 120, "three workers")
    assert len(head.processes("ray::SelfPlayWorker")) == 2
    training.until_steps(20)

    # Other code is refused by name, and says so soon.
    foreign = machines.add("gamma")
    other = foreign.folder / "package"
    shutil.copytree(PACKAGE, other)
    (other / "rl/self_play.py").open("a").write("\n# not the same\n")
    foreign.lay_over(PACKAGE, other)
    foreign.join(head, 2)
    training.until(lambda: "gamma is refused" in str(training.now()["problem"]), 15, "a word")
    assert "other code" in training.nodes()["gamma"]["reason"]
    assert "gamma is refused" in training.log()
    machines.lose(foreign)

    # A node that joins with an empty cache compiles nothing that training has compiled.
    cold = machines.add("delta")
    cold.environment["XDG_CACHE_HOME"] = str(cold.folder / "cache")
    cold.join(head, 2)
    training.until(lambda: training.running().get("delta") == 2, 60, "workers on the new node")
    training.until_steps(50)
    assert {p.name for p in cold.folder.rglob("*.kernel")} <= set(kernels_here())

    # A worker that dies is replaced, and counted.
    cold.kill("ray::SelfPlayWorker")
    training.until(lambda: training.now()["workers"]["replaced"] >= 2, 30, "its replacement")
    assert "worker" in training.now()["workers"]["last_replaced"]
    training.until(lambda: training.running().get("delta") == 2, 60, "workers there again")

    # A node that is told to go is left, and its games go on elsewhere.
    node_id = node_ids(driver)["delta"]
    replaced = training.now()["workers"]["replaced"]
    reason = ["--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=spot"]
    head.ray("drain-node", f"--address={head.address}:6379", f"--node-id={node_id}", *reason)
    training.until(lambda: not training.running().get("delta"), 30, "an empty node")
    assert training.now()["workers"]["replaced"] == replaced, "nobody died"
    training.until_steps(20)

    # Training's own machine goes; on another one the run goes on from its replica.
    newest = training.now()["saved"]["step"]
    training.until(lambda: training.now()["saved"]["step"] > newest, 60, "a commit")
    machines.lose(driver)
    training.process.wait(10)
    third = machines.add("epsilon")
    third.join(head, 2)
    again = Training(third, head, "--resume", f"file://{replica}/r")
    again.until(lambda: again.now()["step"] > newest, 120, "steps after those of the commit")
    last = again.stop()
    assert last["state_digest"]
    assert last["global_step"] >= newest
    checked = alphatriangle("runs", "verify", "r", "--data-dir", str(again.data), "--json")
    assert checked.returncode == 0, checked.stdout
    assert list(training.data.glob("runs/r/tensorboard/events*")), "curves are the driver's"
    steps = [line["step"] for line in training.progress()]
    assert steps == sorted(steps)


def test_links_that_are_cut(machines: Nodes) -> None:
    """A node that falls silent is replaced; training whose own link is down waits and goes on."""
    head, driver = two_nodes(machines)
    away = machines.add("gamma")
    away.join(head, 2)
    training = Training(driver, head, *OFTEN)
    everybody = {"alpha": 2, "beta": 1, "gamma": 2}
    training.until(lambda: training.running() == everybody, 150, "five workers")

    away.unplug()
    took = training.until(lambda: not training.running().get("gamma"), 30, "its replacement")
    assert training.nodes()["gamma"]["state"] == "silent", took
    away.plug_in()
    training.until(lambda: training.running() == everybody, 90, "its return")

    # Our own link: the worker on this machine plays on meanwhile.
    driver.unplug()
    before = training.now()["step"]
    with pytest.raises(AssertionError, match="not within 20 s"):
        training.until(lambda: False, 20, "twenty seconds")
    assert training.now()["step"] > before
    assert training.nodes()["alpha"]["state"] == "ready", "it is not the others who are away"
    driver.plug_in()
    training.until(lambda: training.running() == everybody, 90, "everybody")
    training.until_steps(20)
    assert training.longest_gap() < 10
    training.stop()


def test_a_head_that_is_gone(machines: Nodes) -> None:
    """What there is is committed; without a cluster training ends by itself, with the command."""
    head, driver = two_nodes(machines)
    never = ["--set", "persistence.save_freq_steps=1000000"]
    impatient = ["--set", "train.cluster_patience_seconds=20"]
    training = Training(driver, head, *never, *impatient)
    training.until(lambda: training.running() == {"alpha": 2, "beta": 1}, 120, "three workers")
    training.until_steps(20)
    machines.lose(head)
    training.until(lambda: training.now()["saved"], 60, "a commit, which no interval asks for")
    assert training.process.wait(240) == 1
    assert training.lines()[-1]["event"] == "note", "nothing else is on standard output"
    said = training.errors()
    assert "Ray is lost" in said
    assert "train --run-name r" in said
    assert "Traceback" not in said


def test_a_cluster_without_free_cpus(machines: Nodes) -> None:
    """Training says so, by node, and begins when there are some."""
    head, driver = two_nodes(machines, cpus=1)
    training = Training(driver, head, "--workers", "3")
    training.until(lambda: "find no free CPU" in str(training.now()["problem"]), 60, "a word")
    assert "beta: 0 of 1 CPUs have workers, 1 belong to training" in training.now()["problem"]
    more = machines.add("gamma")
    more.join(head, 4)
    training.until(lambda: sum(training.running().values()) == 3, 90, "workers")
    training.until_steps(5)
    assert training.now()["problem"] is None
    training.stop()


def node_ids(node: Node) -> dict[str, str]:
    """Ray's names of the nodes, by host."""
    program = (
        "import ray; ray.init('auto', log_to_driver=False, logging_level='ERROR');"
        "print({n['NodeManagerHostname']: n['NodeID'] for n in ray.nodes() if n['Alive']})"
    )

    said = node.run(sys.executable, "-c", program, env=node.environ())
    found: dict[str, str] = eval(said.strip().splitlines()[-1])
    return found


def test_a_node_without_the_package(machines: Nodes) -> None:
    """It is refused by name and reason; a package that travels is there for it."""
    head, driver = two_nodes(machines)
    bare = machines.add("gamma")
    nothing = machines.folder / "nothing"
    nothing.mkdir()
    program = "import alphatriangle; print(alphatriangle.__path__[0])"
    installed = bare.run(sys.executable, "-P", "-c", program, env={}, cwd="/").strip()
    for place in {str(PACKAGE), installed}:
        bare.lay_over(Path(place), nothing)
    bare.join(head, 2)
    training = Training(driver, head, *OFTEN)
    said = "gamma is refused: the package is not there"
    training.until(lambda: said in str(training.now()["problem"]), 120, "a word")
    training.until(lambda: training.running() == {"alpha": 2, "beta": 1}, 120, "three workers")
    training.until_steps(5)
    training.stop()
    again = Training(driver, head, *OFTEN, "--set", "train.package_travels=true")
    again.until(lambda: again.running().get("gamma") == 2, 120, "workers on the bare node")
    again.until_steps(5)
    again.stop()


def test_training_from_outside_the_cluster(machines: Nodes) -> None:
    """Through Ray's client: no node of the cluster is training's own."""
    head, other, outside = (machines.add(name) for name in ("alpha", "beta", "gamma"))
    head.start_head(2, "--ray-client-server-port=10001")
    other.join(head, 2)
    training = Training(outside, head, RAY_ADDRESS=f"ray://{head.address}:10001")
    training.until(lambda: training.running() == {"alpha": 2, "beta": 2}, 150, "four workers")
    training.until_steps(5)
    assert training.now()["workers"]["own_workers"] is None
    training.stop()
