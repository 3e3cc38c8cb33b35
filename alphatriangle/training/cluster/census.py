"""Who is in the cluster, asked of its head again and again by a thread: that may take as long as it
likes, or never answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from alphatriangle.training.cluster import ray_session

_SECONDS: Final = 1.0
_STALE_SECONDS: Final = 30.0
"""A head that answers nothing while its port has taken connections for so long has forgotten ours.
After a link was down for a minute TCP may itself need half a minute to try again."""


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

    def __init__(
        self,
        address: str,
        ask: Callable[[], dict[str, NodeFacts]] = look,
        stale_seconds: float = _STALE_SECONDS,
    ) -> None:
        """Begin to ask the head of the cluster at ``address``."""
        self.nodes: dict[str, NodeFacts] = {}
        self.lost: str | None = None
        """Why there will be no more answers, where that is known: who asks has to join again."""
        self._address = address
        self._look = ask
        self._stale_seconds = stale_seconds
        self._answered = time.monotonic()
        self._end = threading.Event()
        self.error: Exception | None = None
        threading.Thread(target=self._ask, name="census", daemon=True).start()
        threading.Thread(target=self._watch, name="census watch", daemon=True).start()

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
                self.nodes = self._look()
                self._answered = time.monotonic()
            except Exception as e:  # noqa: BLE001  (a head that does not answer: see silent_seconds)
                self.error = e
            if self._end.wait(_SECONDS):
                return

    def _watch(self) -> None:
        """A link that was down may leave a call of Ray's waiting for ever, the link long up."""
        since: float | None = None  # it can be reached and does not answer
        while not self._end.wait(_SECONDS):
            if self.silent_seconds < 2 * _SECONDS or not self._is_reachable():
                since = self.lost = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since > self._stale_seconds:
                self.lost = (
                    f"its head at {self._address} can be reached and has not answered "
                    f"for {self.silent_seconds:.0f} s"
                )

    def _is_reachable(self) -> bool:
        try:
            ray_session.probe(self._address)
        except ray_session.NoRayError:
            return False
        return True
