"""Placement, a node that joins and one that dies where there can be no machines of their own: nodes
that are processes of this one (``ray.cluster_utils``). What they cannot show, other code or links
that are cut, needs ``test_nodes.py``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.cluster.scenario import Here, Training


@pytest.fixture
def cluster() -> Iterator[Any]:
    """With a head of two CPUs."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        yield made
    finally:
        made.shutdown()


def test_workers_are_where_cpus_are(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=3)
    with contextlib.closing(Training(Here(tmp_path), cluster.address)) as training:
        # Training keeps a CPU of the node it is on, which is the first that Ray finds.
        both = ([1, 3], [2, 2])
        training.until(lambda: training.counts() in both, 120, "four workers")
        own = training.now()["workers"]["own_workers"]
        assert own == {1: 1, 2: 2}[training.counts()[0]]
        training.until_steps(5)

        node = cluster.add_node(num_cpus=2)
        joined = ([1, 2, 3], [2, 2, 2])
        training.until(lambda: training.counts() in joined, 60, "workers on the new node")
        training.until_steps(5)

        cluster.remove_node(node, allow_graceful=False)
        training.until(lambda: training.counts() in both, 30, "one node less")
        assert training.now()["workers"]["replaced"] >= 2
        training.until_steps(20)
        training.stop()
