"""Who is in the cluster, asked of its head again and again by a thread: that may take as long as it
likes, or never answer."""

from __future__ import annotations

import threading
import time
from typing import Any, Final, NamedTuple

_SECONDS: Final = 1.0


class NodeFacts(NamedTuple):
    """A node that is alive, as the head knows it."""

    id: str
    name: str
    """Of the host, and its address where two have the same."""
    cpus: float
    free_cpus: float
    gpus: float = 0.0
    is_head: bool = False
    is_draining: bool = False


def look() -> dict[str, NodeFacts]:
    """Every node of the Ray that this process is connected to."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    free, draining = _by_node()
    names = [node["NodeManagerHostname"] for node in alive]
    found = {}
    for node, name in zip(alive, names, strict=True):
        resources: dict[str, float] = node["Resources"]
        identity: str = node["NodeID"]
        cpus = resources.get("CPU", 0.0)
        found[identity] = NodeFacts(
            id=identity,
            name=name if names.count(name) == 1 else f"{name} ({node['NodeManagerAddress']})",
            cpus=cpus,
            # A client of a cluster is not told: then Ray finds out when a worker starts.
            free_cpus=cpus if free is None else free.get(identity, {}).get("CPU", 0.0),
            gpus=resources.get("GPU", 0.0),
            is_head="node:__internal_head__" in resources,
            is_draining=identity in draining,
        )
    return found


def _by_node() -> tuple[dict[str, dict[str, float]] | None, dict[str, Any]]:
    """What is free, and which nodes are told to go: not part of Ray's public interface."""
    import ray
    from ray._private.state import state

    if ray.util.client.ray.is_connected():
        return None, {}
    return state.available_resources_per_node(), state.get_draining_nodes()


def own_node() -> str | None:
    """The node that this process is on; None for a client from outside the cluster."""
    import ray

    if ray.util.client.ray.is_connected():
        return None
    return str(ray.get_runtime_context().get_node_id())


class Census:
    """The newest answer, and its age."""

    def __init__(self) -> None:
        """Begin to ask."""
        self.nodes: dict[str, NodeFacts] = {}
        self._answered = time.monotonic()
        self._end = threading.Event()
        self.error: Exception | None = None
        threading.Thread(target=self._ask, name="census", daemon=True).start()

    @property
    def silent_seconds(self) -> float:
        """Since the head's last answer."""
        return time.monotonic() - self._answered

    def close(self) -> None:
        """Ask no more."""
        self._end.set()

    def _ask(self) -> None:
        while True:
            try:
                self.nodes = look()
                self._answered = time.monotonic()
            except Exception as e:  # noqa: BLE001  (a head that does not answer: see silent_seconds)
                self.error = e
            if self._end.wait(_SECONDS):
                return
