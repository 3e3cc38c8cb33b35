"""What ``alphatriangle cluster check`` finds out: whether a cluster is there and fit for training.

    python -m alphatriangle.training.cluster.check ADDRESS

prints it as JSON. A process of its own, because Ray ends the one that uses it when its head is
gone, and may wait for a long time before that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any, Final

from alphatriangle.training.cluster import identity, ray_session
from alphatriangle.training.cluster.census import look
from alphatriangle.training.cluster.node_agent import NodeAgent
from alphatriangle.training.cluster.roster import why
from alphatriangle.utils.processes import environment, python

_ALL_SECONDS: Final = 10.0
_NODES_SECONDS: Final = 6.0
"""Of them, for the answers of nodes: the rest is for joining."""


def check(address: str) -> dict[str, Any]:
    """Who is at ``address`` and what they are, within 10 s.

    Returns:
        ``answers`` and, if not, ``reason``; ``nodes``, each with its ``name``, ``cpus``,
        ``free_cpus``, ``gpus``, ``is_head``, ``is_draining``, whether it is ``fit`` to play and the
        ``reason`` if not, its ``package``, ``versions`` and ``processor``, and the number of
        compiled ``kernels`` that it has.
    """
    found: dict[str, Any] = {"address": address, "answers": False, "reason": None, "nodes": []}
    try:
        done = subprocess.run(
            python("alphatriangle.training.cluster.check", address),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ALL_SECONDS,
            check=False,
            env=environment(),
        )
    except subprocess.TimeoutExpired:
        reason = f"the Ray at {address!r} has not answered for {_ALL_SECONDS:.0f} s"
        return {**found, "reason": reason}
    said = done.stdout.strip().splitlines()
    if done.returncode != 0 or not said:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {**found, "reason": f"the process that asks has failed: {last}"}
    return {**found, **json.loads(said[-1])}


def _ask(address: str) -> dict[str, Any]:
    deadline = time.monotonic() + _ALL_SECONDS - 1.0
    try:
        with ray_session.cluster(address):
            return {"answers": True, "nodes": _nodes(deadline)}
    except ray_session.NoRayError as e:
        return {"reason": str(e)}


def _nodes(deadline: float) -> list[dict[str, Any]]:
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ours, calls = identity.here(), {}
    nodes = look()
    for node in nodes.values():
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        agent = ray.remote(NodeAgent).options(num_cpus=0, scheduling_strategy=there).remote()
        calls[node.id] = (agent, agent.hello.remote(), agent.kernels.remote())
    awaited = [call for _, *both in calls.values() for call in both]
    left = min(deadline - time.monotonic(), _NODES_SECONDS)
    ready, _ = ray.wait(awaited, num_returns=len(awaited), timeout=max(left, 0.0))
    found = []
    for node in nodes.values():
        _, hello, kernels = calls[node.id]
        facts: dict[str, Any] = {**node._asdict(), "fit": False, "reason": "it does not answer"}
        try:
            if hello in ready:
                theirs = ray.get(hello)
                reason = identity.difference(ours, theirs)
                facts |= {**theirs._asdict(), "fit": reason is None, "reason": reason}
            facts["kernels"] = ray.get(kernels) if kernels in ready else None
        except (RayError, ImportError, AttributeError) as e:
            facts["reason"] = why(e)
        found.append(facts)
    return sorted(found, key=lambda facts: (not facts["is_head"], facts["name"]))


if __name__ == "__main__":
    # Ray's processes may write to where it was started.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    output.write(json.dumps(_ask(sys.argv[1])) + "\n")
    output.flush()
    os._exit(0)
