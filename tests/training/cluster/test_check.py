"""``alphatriangle cluster check``: who is there, in ten seconds, whether anybody is or not."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import ray

import alphatriangle
from alphatriangle.training.cluster.identity import here
from alphatriangle.training.cluster.ray_session import own_ray
from tests.training.command import alphatriangle as run


def test_a_cluster_says_what_it_is() -> None:
    before = dict(os.environ)
    with own_ray(3):
        address = ray.get_runtime_context().gcs_address
        result = run("cluster", "check", "--json", env={**os.environ, "RAY_ADDRESS": address})
        found = json.loads(result.stdout)
        assert result.returncode == 0, result.stderr
        assert found["answers"]
        (node,) = found["nodes"]
        assert (node["fit"], node["cpus"], node["free_cpus"], node["is_head"]) == (True, 3, 3, True)
        assert node["package"] == here().package
        assert node["versions"] == here().versions
        assert isinstance(node["kernels"], int)
        text = run("cluster", "check", "--address", address).stdout
        assert "3 of 3" in text
        assert "yes" in text
    assert dict(os.environ) == before, "what comes after is told nothing of it"


def test_nobody_is_there() -> None:
    began = time.monotonic()
    result = run("cluster", "check", "--json", "--address", "127.0.0.1:1")
    assert time.monotonic() - began < 30
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert not found["answers"]
    assert "no Ray can be reached at '127.0.0.1:1'" in found["reason"]


def test_who_listens_and_says_nothing_is_waited_for_no_longer_than_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        result = run("cluster", "check", "--address", address)
    assert result.returncode == 1
    assert "has not answered for 10 s" in " ".join(result.stdout.split())


def test_without_a_name_there_is_no_cluster() -> None:
    clean = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    result = run("cluster", "check", env=clean)
    assert result.returncode == 2
    assert "RAY_ADDRESS" in result.stderr


def test_an_agent_starts_without_large_libraries() -> None:
    """A node says who it is within a moment, and costs little memory."""
    program = (
        "import sys; from alphatriangle.training.cluster import node_agent;"
        "node_agent.NodeAgent().hello();"
        "print({'torch', 'numba', 'pyarrow', 'pydantic'} & set(sys.modules))"
    )
    home = str(Path(alphatriangle.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": home},
    )
    assert done.stdout.strip() == "set()"
