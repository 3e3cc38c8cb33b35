"""The nodes that workers may run on: asked who they are, given kernels, listened to.

Everything here happens in turns of the caller and waits for nothing: calls to agents are handed out
by :meth:`Roster.calls` and their answers are brought to :meth:`Roster.answered`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from alphatriangle.training.cluster.census import NodeFacts
from alphatriangle.training.cluster.identity import Identity, difference
from alphatriangle.training.cluster.node_agent import NodeAgent
from alphatriangle.utils.kernel_files import KernelFiles

State = Literal["joining", "ready", "refused", "silent", "left out"]

_BEAT_SECONDS: Final = 4.0
_SILENT_SECONDS: Final = 14.0
_RETURN_SECONDS: Final = 28.0
"""After our own link was down nobody is called silent for so long: TCP waits before it tries again,
for some nodes longer than for others."""
_SLOW_SECONDS: Final = 10.0
"""Whoever joins has something to say after so long; before, nobody wonders."""
_HELLO_SECONDS: Final = 60.0
_AGAIN_SECONDS: Final = 30.0
_KERNELS_SECONDS: Final = 20.0
_DEATHS_IN_A_ROW: Final = 3
_LEFT_OUT_SECONDS: Final = 600.0
_LONGEST_REASON: Final = 200


@dataclass
class Node:
    """What is known of one, over all agents that it is given."""

    facts: NodeFacts
    state: State
    since: float
    reason: str = ""
    agent: Any = None
    hello: Any = None
    beat: Any = None
    beat_at: float = 0.0
    heard_at: float = 0.0
    kernels: Any = None
    kernels_at: float = 0.0
    has_kernels: bool = False
    is_same_processor: bool = False
    deaths_in_a_row: int = 0

    @property
    def id(self) -> str:
        """Ray's name of it."""
        return self.facts.id


class Roster:
    """All nodes of the cluster."""

    def __init__(
        self,
        ours: Identity,
        own_node: str | None,
        *,
        is_trusted: bool = False,
        read_kernels: Callable[[], KernelFiles] = dict,
    ) -> None:
        """Know no node yet.

        Args:
            ours: what nodes must be like.
            own_node: the one that the training process is on, if it is on any.
            is_trusted: all nodes are this machine, which needs not be asked who it is.
            read_kernels: compiled kernels of this machine, once training has compiled them.
        """
        self._ours = ours
        self.own_node = own_node
        self._is_trusted = is_trusted
        self._read_kernels = read_kernels
        self._kernels: KernelFiles | None = None
        self._gives_kernels = False
        self._cut_off_at = float("-inf")
        self.nodes: dict[str, Node] = {}

    def take(self, facts: Mapping[str, NodeFacts], now: float) -> list[Node]:
        """What the head says; returns the nodes that are gone."""
        gone = [self.nodes.pop(node) for node in [*self.nodes] if node not in facts]
        for identity, node in facts.items():
            if identity in self.nodes:
                self.nodes[identity].facts = node
            elif self._is_trusted:
                self.nodes[identity] = Node(node, "ready", now, has_kernels=True)
            elif not node.is_draining:
                self.nodes[identity] = Node(node, "joining", now)
                self._greet(self.nodes[identity], now)
        return gone

    def give_kernels(self) -> None:
        """Training has its kernels: whoever lacks them is given a copy."""
        self._gives_kernels = True

    def calls(self) -> dict[Any, Node]:
        """Whose answers are awaited."""
        return {
            call: node
            for node in self.nodes.values()
            for call in (node.hello, node.beat, node.kernels)
            if call is not None
        }

    def answered(self, call: Any, now: float) -> None:
        """An answer is there, or an error in its place."""
        import ray
        from ray.exceptions import RayError

        node = self.calls().get(call)
        if node is None:
            return
        try:
            answer = ray.get(call)
        except (RayError, ImportError, AttributeError) as e:
            # What another version of the package sends may not be understood here.
            state: State = "refused" if call == node.hello else "silent"
            self._drop_agent(node)
            self._set(node, state, why(e), now)
            return
        if call == node.hello:
            node.hello, node.beat_at, node.heard_at = None, now, now
            reason = difference(self._ours, answer)
            node.is_same_processor = answer.processor == self._ours.processor
            if reason is None:
                self._set(node, "ready", "", now)
            else:
                self._drop_agent(node)
                self._set(node, "refused", reason, now)
        elif call == node.beat:
            node.beat, node.beat_at, node.heard_at = None, now, now
            if node.state == "silent":
                self._set(node, "ready", "", now)
        else:
            node.kernels, node.has_kernels = None, True

    def turn(self, now: float, *, head_answers: bool) -> list[Node]:
        """Carry out what is due; returns the nodes that have fallen silent."""
        for node in self.nodes.values():
            self._move_on(node, now)
        late = [n for n in self.nodes.values() if n.beat is not None and n.state == "ready"]
        late = [node for node in late if now - node.beat_at > _SILENT_SECONDS]
        if late and self._is_cut_off(late, head_answers=head_answers):
            self._cut_off_at = now
        elif late and now - self._cut_off_at > _RETURN_SECONDS:
            for node in late:
                self._set(node, "silent", f"it has not answered for {_SILENT_SECONDS:.0f} s", now)
            return late
        return []

    def _is_cut_off(self, late: list[Node], *, head_answers: bool) -> bool:
        """Whether it is us who are away, as far as anybody can tell."""
        others = [n for n in self.nodes.values() if n.id != self.own_node and n.agent is not None]
        # Somebody who was asked later, and has answered.
        asked = min(node.beat_at for node in late) + _BEAT_SECONDS
        heard = [node for node in others if node not in late and node.heard_at > asked]
        head_is_away = any(n.facts.is_head and n.id != self.own_node for n in self.nodes.values())
        return not heard and not (head_answers and head_is_away)

    def died(self, node_id: str, now: float) -> None:
        """A worker has died there; one after the other without a result, and it is left out."""
        node = self.nodes.get(node_id)
        if node is None:
            return
        node.deaths_in_a_row += 1
        others = [n for n in self.nodes.values() if n is not node and n.state == "ready"]
        if node.deaths_in_a_row >= _DEATHS_IN_A_ROW and others and node.state == "ready":
            reason = f"{node.deaths_in_a_row} workers died there without a result"
            self._set(node, "left out", reason, now)

    def gave_result(self, node_id: str) -> None:
        """A worker there has played."""
        if node_id in self.nodes:
            self.nodes[node_id].deaths_in_a_row = 0

    def is_ready_to_play(self, node_id: str) -> bool:
        """Whether workers there would not compile what is at hand here."""
        node = self.nodes.get(node_id)
        return node is not None and node.has_kernels

    def _move_on(self, node: Node, now: float) -> None:
        waited = now - node.since
        if node.state == "joining":
            if waited > _SLOW_SECONDS:
                node.reason = f"it has not said for {waited:.0f} s who it is"
            if waited > _HELLO_SECONDS:
                self._drop_agent(node)
                self._set(node, "refused", node.reason, now)
        elif node.agent is None and waited > _AGAIN_SECONDS:
            # Somebody may have put it right.
            self._greet(node, now)
        elif node.state == "left out" and waited > _LEFT_OUT_SECONDS:
            node.deaths_in_a_row = 0
            self._set(node, "ready", "", now)
        if node.agent is None or node.hello is not None:
            return
        if node.beat is None and now - node.beat_at > _BEAT_SECONDS:
            node.beat, node.beat_at = node.agent.beat.remote(), now
        self._hand_on_kernels(node, now)

    def _hand_on_kernels(self, node: Node, now: float) -> None:
        if node.has_kernels or not self._gives_kernels:
            return
        if node.kernels is not None:
            # It compiles them then.
            node.has_kernels = now - node.kernels_at > _KERNELS_SECONDS
        elif node.id == self.own_node or not node.is_same_processor:
            node.has_kernels = True
        else:
            import ray

            if self._kernels is None:
                self._kernels = self._read_kernels()
                self._put = ray.put(self._kernels)
            node.kernels, node.kernels_at = node.agent.take.remote(self._put), now

    def _greet(self, node: Node, now: float) -> None:
        import ray

        # There or nowhere.
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node.id, soft=False)
        actor = ray.remote(NodeAgent).options(num_cpus=0, scheduling_strategy=there)
        node.agent = actor.remote()
        node.hello = node.agent.hello.remote()
        node.since = now

    def _drop_agent(self, node: Node) -> None:
        node.agent = node.hello = node.beat = node.kernels = None

    def _set(self, node: Node, state: State, reason: str, now: float) -> None:
        node.state, node.reason, node.since = state, reason, now


def why(error: BaseException) -> str:
    """One line of an error; of one that came as the text of a traceback, its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error: " in line and not line.startswith("File ")]
    missing = [line for line in named if "ModuleNotFoundError" in line]
    if missing:
        return f"the package is not there ({missing[-1]})"
    return (named or lines or [type(error).__name__])[-1][:_LONGEST_REASON]
