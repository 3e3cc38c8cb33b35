"""Search a batch of positions, one move each, in lockstep: for evaluation, tools and tests.

Self-play uses the same kernels but lets games move on by themselves (:mod:`alphatriangle.rl`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from alphatriangle.config import SearchConfig
from alphatriangle.game.geometry import MAX_LEGAL, SLOTS
from alphatriangle.game.state import GameState
from alphatriangle.search import tree as tr
from alphatriangle.search.tree import SearchParams, Tree
from alphatriangle.utils.errors import EvaluationNotFiniteError
from alphatriangle.utils.kernels import copy_into, kernel
from alphatriangle.utils.seeding import derive_key
from alphatriangle.utils.streams import STREAM_GUMBEL
from alphatriangle.utils.types import Evaluation


class Evaluator(Protocol):
    """What the search needs of a network."""

    def evaluate(self, boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> Evaluation:
        """Logits [N, A] and values [N] of N positions, all finite."""


def evaluate(
    network: Evaluator, boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]
) -> Evaluation:
    """What ``network`` says, looked at: no search goes on from numbers that are not finite.

    Raises:
        EvaluationNotFiniteError: some are not.
    """
    evaluation = network.evaluate(boards, slots)
    for name, numbers in zip(("policy logits", "values"), evaluation, strict=True):
        finite = np.isfinite(numbers)
        if not finite.all():
            bad = int((~finite.reshape(len(boards), -1).all(axis=1)).sum())
            raise EvaluationNotFiniteError(
                f"the network's {name} are not finite in {bad} of {len(boards)} positions"
            )
    return evaluation


class SearchResult(NamedTuple):
    """What a search says of one position. n legal actions, ascending."""

    action: int  # what to play
    actions: npt.NDArray[np.int16]  # [n]
    policy: npt.NDArray[np.float32]  # [n] improved policy, the training target
    visits: npt.NDArray[np.int32]  # [n] simulations through each
    q_values: npt.NDArray[np.float64]  # [n] completed Q
    value: float  # of the position


@kernel
def collect_leaves(
    tree: Tree,
    params: SearchParams,
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    games: npt.NDArray[np.int64],
) -> int:
    """One round: the next leaf of each game that still has simulations to do. Returns the rows."""
    n = 0
    for g in range(len(tree.root)):
        if tr.find_leaf(tree, g, params):
            leaf = np.int64(tree.leaf[g])
            copy_into(boards[n], tree.node_board[g, leaf])
            tr.node_slots(tree, g, leaf, slots[n])
            games[n] = g
            n += 1
    return n


@kernel
def apply_evaluations(
    tree: Tree,
    params: SearchParams,
    games: npt.NDArray[np.int64],
    logits: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32],
    keys: npt.NDArray[np.uint64],
    moves: npt.NDArray[np.int64],
) -> None:
    """Hand the round's evaluations to their games."""
    for i in range(len(games)):
        g = games[i]
        is_root = tree.leaf[g] == tree.root[g]
        tr.set_evaluation(tree, g, logits[i], values[i], params)
        if is_root:
            tr.start_move(tree, g, params, keys[g], moves[g])


def search(
    positions: Sequence[GameState],
    network: Evaluator,
    config: SearchConfig,
    gamma: float,
    *,
    seed: int = 0,
    noise: bool = False,
) -> list[SearchResult]:
    """Search each position with ``config.num_simulations`` simulations.

    Noise, where wanted, depends on (seed, index of the position, moves played), not on the deals.

    Raises:
        ValueError: a position whose game is over.
        EvaluationNotFiniteError: the network says what is not finite.
    """
    for i, position in enumerate(positions):
        if position.is_over:
            raise ValueError(f"position {i}: the game is over, there is nothing to search")
    params = tr.params_from_config(config, gamma, noise)
    g_count = len(positions)
    tree = tr.make_tree(g_count, params)
    keys = np.array([derive_key(seed, STREAM_GUMBEL, i) for i in range(g_count)], np.uint64)
    moves = np.array([len(p.moves) for p in positions], np.int64)
    for g, position in enumerate(positions):
        tr.reset_root(tree, g, position.board[0], position.board[1], position.slots)
    boards = np.empty((g_count, 2), np.uint64)
    slots = np.empty((g_count, SLOTS), np.int8)
    games = np.empty(g_count, np.int64)
    while n := collect_leaves(tree, params, boards, slots, games):
        logits, values = evaluate(network, boards[:n], slots[:n])
        apply_evaluations(tree, params, games[:n], logits, values, keys, moves)
    return [_result(tree, g, params) for g in range(g_count)]


def _result(tree: Tree, g: int, params: SearchParams) -> SearchResult:
    policy = np.empty(MAX_LEGAL, np.float32)
    j = tr.decide(tree, g, params, policy)
    root = int(tree.root[g])
    n = int(tree.node_edges[g, root])
    first = int(tree.node_first[g, root])
    actions = tree.edge_action[g, first : first + n].copy()
    return SearchResult(
        action=int(actions[j]),
        actions=actions,
        policy=policy[:n],
        visits=tree.root_visits[g, :n].copy(),
        q_values=tree.scratch[0, :n].copy(),
        value=float(tree.node_value[g, root]),
    )
