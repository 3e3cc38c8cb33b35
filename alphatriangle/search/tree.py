"""The search graph of many games as flat arrays, and the kernels that grow it.

Each game has one small graph per deal. A node is a board with the slots that remain; nodes reached
by different orders of the same placements are one node. A node without slots is an *afterstate*: it
stands just before the chance event of a new deal, and its value is a network output, so the search
never sees a shape that has not been dealt. Q(edge) = reward + gamma * value(child).

The search is Gumbel search with completed Q-values (Danihelka et al., 2022, "Policy improvement by
planning with Gumbel"). Every simulation leads to a position that has not been evaluated yet; a node
below which nothing is left to evaluate is *solved*: its value is the maximum of its Q, and it is
not entered again.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from alphatriangle.config import SearchConfig
from alphatriangle.game.geometry import CELLS, EMPTY, MAX_LEGAL, SLOTS
from alphatriangle.game.kernels import (
    SURVIVAL_BONUS,
    any_legal,
    legal_actions,
    place,
    placement_reward,
)
from alphatriangle.search.halving import visit_table
from alphatriangle.utils.seeding import draw_gumbel

EVALUATED: Final = np.uint8(1)
SOLVED: Final = np.uint8(2)
NEVER: Final = -1e30
"""Logit of an action that duplicates another (same shape in an earlier slot): never played."""


class SearchParams(NamedTuple):
    """The settings a kernel needs, as scalars."""

    num_simulations: int
    max_considered: int
    gumbel_scale: float
    c_visit: float
    c_scale: float
    q_range_floor: float
    gamma: float


class Tree(NamedTuple):
    """Graphs of G games, N nodes and E edges each at most."""

    node_count: npt.NDArray[np.int32]  # [G]
    edge_count: npt.NDArray[np.int32]  # [G]
    root: npt.NDArray[np.int32]  # [G] node
    slots: npt.NDArray[np.int8]  # [G, 3] the deal's shapes that the root still has
    node_board: npt.NDArray[np.uint64]  # [G, N, 2]
    node_mask: npt.NDArray[np.uint8]  # [G, N] bit s set: slot s is not empty
    node_flags: npt.NDArray[np.uint8]  # [G, N] EVALUATED, SOLVED
    node_first: npt.NDArray[np.int32]  # [G, N] first edge
    node_edges: npt.NDArray[np.int16]  # [G, N] number of edges = legal actions, ascending
    node_net: npt.NDArray[np.float32]  # [G, N] the network's value
    node_value: npt.NDArray[np.float32]  # [G, N] the search's value
    edge_action: npt.NDArray[np.int16]  # [G, E]
    edge_logit: npt.NDArray[np.float32]  # [G, E] log prior, or NEVER
    edge_reward: npt.NDArray[np.float32]  # [G, E] known once the edge has a child
    edge_child: npt.NDArray[np.int32]  # [G, E] node, -1 before the first visit
    edge_visits: npt.NDArray[np.int32]  # [G, E] over the life of the graph
    root_visits: npt.NDArray[np.int32]  # [G, L] of this move's simulations
    root_gumbel: npt.NDArray[np.float32]  # [G, L] noise times its scale
    considered: npt.NDArray[np.int32]  # [G] actions that sequential halving starts from
    budget: npt.NDArray[np.int32]  # [G] simulations of this move
    simulations: npt.NDArray[np.int32]  # [G] of them done
    path: npt.NDArray[np.int32]  # [G, SLOTS + 1, 2] (node, edge) from the root to the leaf
    path_length: npt.NDArray[np.int32]  # [G]
    leaf: npt.NDArray[np.int32]  # [G] node that waits for the network, -1 none
    schedule: npt.NDArray[np.int32]  # see halving.visit_table
    scratch: npt.NDArray[np.float64]  # [2, L] completed Q and improved policy


def params_from_config(config: SearchConfig, gamma: float, noise: bool = True) -> SearchParams:
    """The scalars; without ``noise`` the search is the deterministic one of evaluation."""
    return SearchParams(
        config.num_simulations,
        min(config.max_considered_actions, MAX_LEGAL),
        config.gumbel_scale if noise else 0.0,
        config.c_visit,
        config.c_scale,
        config.q_range_floor,
        gamma,
    )


def make_tree(games: int, params: SearchParams) -> Tree:
    """Empty graphs for ``games`` games; a deal needs a node per simulation and one for the root."""
    n = SLOTS * params.num_simulations + 2
    e = n * MAX_LEGAL

    def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
        return np.zeros(shape, dtype)

    return Tree(
        node_count=zeros((games,), np.int32),
        edge_count=zeros((games,), np.int32),
        root=zeros((games,), np.int32),
        slots=np.full((games, SLOTS), EMPTY, np.int8),
        node_board=zeros((games, n, 2), np.uint64),
        node_mask=zeros((games, n), np.uint8),
        node_flags=zeros((games, n), np.uint8),
        node_first=zeros((games, n), np.int32),
        node_edges=zeros((games, n), np.int16),
        node_net=zeros((games, n), np.float32),
        node_value=zeros((games, n), np.float32),
        edge_action=zeros((games, e), np.int16),
        edge_logit=zeros((games, e), np.float32),
        edge_reward=zeros((games, e), np.float32),
        edge_child=zeros((games, e), np.int32),
        edge_visits=zeros((games, e), np.int32),
        root_visits=zeros((games, MAX_LEGAL), np.int32),
        root_gumbel=zeros((games, MAX_LEGAL), np.float32),
        considered=zeros((games,), np.int32),
        budget=zeros((games,), np.int32),
        simulations=zeros((games,), np.int32),
        path=zeros((games, SLOTS + 1, 2), np.int32),
        path_length=zeros((games,), np.int32),
        leaf=np.full((games,), -1, np.int32),
        schedule=visit_table(MAX_LEGAL, params.num_simulations),
        scratch=zeros((2, MAX_LEGAL), np.float64),
    )


@njit(cache=True)
def node_slots(tree: Tree, g: int, node: int, out: npt.NDArray[np.int8]) -> None:
    """Write the shapes that ``node`` still has into ``out`` [3]."""
    for s in range(SLOTS):
        if (tree.node_mask[g, node] >> np.uint8(s)) & np.uint8(1):
            out[s] = tree.slots[g, s]
        else:
            out[s] = EMPTY


@njit(cache=True)
def _add_node(tree: Tree, g: int, lo: np.uint64, hi: np.uint64, mask: np.uint8) -> int:
    node = tree.node_count[g]
    tree.node_count[g] = node + 1
    tree.node_board[g, node, 0] = lo
    tree.node_board[g, node, 1] = hi
    tree.node_mask[g, node] = mask
    tree.node_flags[g, node] = 0
    tree.node_first[g, node] = 0
    tree.node_edges[g, node] = 0
    tree.node_net[g, node] = 0.0
    tree.node_value[g, node] = 0.0
    return node


@njit(cache=True)
def reset_root(
    tree: Tree, g: int, lo: np.uint64, hi: np.uint64, slots: npt.NDArray[np.int8]
) -> None:
    """Start a graph at a position, which then waits for its evaluation."""
    tree.node_count[g] = 0
    tree.edge_count[g] = 0
    mask = np.uint8(0)
    for s in range(SLOTS):
        tree.slots[g, s] = slots[s]
        if slots[s] >= 0:
            mask |= np.uint8(1 << s)
    tree.root[g] = _add_node(tree, g, lo, hi, mask)
    tree.leaf[g] = -1


@njit(cache=True)
def start_move(tree: Tree, g: int, params: SearchParams, key: np.uint64, move: int) -> None:
    """Prepare the simulations of a move at the (evaluated) root."""
    root = tree.root[g]
    first = tree.node_first[g, root]
    playable = 0
    for j in range(tree.node_edges[g, root]):
        tree.root_visits[g, j] = 0
        tree.root_gumbel[g, j] = 0.0
        if tree.edge_logit[g, first + j] > NEVER:
            playable += 1
            if params.gumbel_scale > 0.0:
                noise = draw_gumbel(key, np.uint64(move * MAX_LEGAL + j))
                tree.root_gumbel[g, j] = params.gumbel_scale * noise
    mask = tree.node_mask[g, root]
    # With one shape left every candidate is a leaf of the search: one look at each is all there is.
    last = (mask & (mask - np.uint8(1))) == 0
    widest = params.num_simulations if last else params.max_considered
    tree.considered[g] = min(widest, params.num_simulations, playable)
    tree.budget[g] = params.num_simulations if playable > 1 else 1
    tree.simulations[g] = 0


@njit(cache=True)
def _completed_q(tree: Tree, g: int, node: int, params: SearchParams) -> None:
    """Fill scratch[0] with completed Q and scratch[1] with the improved policy of ``node``.

    An action that has not been evaluated gets the mixed value of section 3.4 (appendix D); the
    policy is softmax(logits + sigma(completed Q)).
    """
    first = tree.node_first[g, node]
    n = tree.node_edges[g, node]
    q = tree.scratch[0]
    policy = tree.scratch[1]
    visits = 0
    most = 0
    prior = 0.0
    weighted = 0.0
    lowest = np.inf
    highest = -np.inf
    for j in range(n):
        e = first + j
        child = tree.edge_child[g, e]
        if child >= 0 and tree.node_flags[g, child] & EVALUATED:
            value = tree.edge_reward[g, e] + params.gamma * tree.node_value[g, child]
            q[j] = value
            p = math.exp(tree.edge_logit[g, e])
            prior += p
            weighted += p * value
            visits += tree.edge_visits[g, e]
            most = max(most, tree.edge_visits[g, e])
            lowest = min(lowest, value)
            highest = max(highest, value)
    mixed = float(tree.node_net[g, node])
    if prior > 0.0:
        mixed = (mixed + visits * weighted / prior) / (1.0 + visits)
    lowest = min(lowest, mixed)
    highest = max(highest, mixed)
    sigma = (params.c_visit + most) * params.c_scale / max(highest - lowest, params.q_range_floor)
    best = -np.inf
    for j in range(n):
        e = first + j
        child = tree.edge_child[g, e]
        if not (child >= 0 and tree.node_flags[g, child] & EVALUATED):
            q[j] = mixed
        if tree.edge_logit[g, e] > NEVER:
            policy[j] = tree.edge_logit[g, e] + sigma * (q[j] - highest)
            best = max(best, policy[j])
        else:
            policy[j] = -np.inf
    total = 0.0
    for j in range(n):
        policy[j] = math.exp(policy[j] - best)
        total += policy[j]
    for j in range(n):
        policy[j] /= total


@njit(cache=True)
def _refresh_value(tree: Tree, g: int, node: int, params: SearchParams) -> None:
    """Recompute the value of ``node`` from its children, and whether it is solved."""
    first = tree.node_first[g, node]
    n = tree.node_edges[g, node]
    solved = True
    for j in range(n):
        if tree.edge_logit[g, first + j] > NEVER:
            child = tree.edge_child[g, first + j]
            solved &= child >= 0 and (tree.node_flags[g, child] & SOLVED) != 0
    _completed_q(tree, g, node, params)
    value = -np.inf if solved else 0.0
    for j in range(n):
        if tree.edge_logit[g, first + j] > NEVER:
            if solved:
                value = max(value, tree.scratch[0, j])
            else:
                value += tree.scratch[1, j] * tree.scratch[0, j]
    tree.node_value[g, node] = value
    if solved:
        tree.node_flags[g, node] |= SOLVED


@njit(cache=True)
def _child_of(tree: Tree, g: int, node: int, e: int) -> int:
    """The node that edge ``e`` of ``node`` leads to, made on the first visit."""
    if tree.edge_child[g, e] >= 0:
        return tree.edge_child[g, e]
    action = np.int64(tree.edge_action[g, e])
    slot = action // CELLS
    shape = tree.slots[g, slot]
    board = tree.node_board[g, node]
    lo, hi, cleared = place(board[0], board[1], shape, action % CELLS)
    mask = tree.node_mask[g, node] & ~np.uint8(1 << slot)
    reward = placement_reward(shape, cleared)
    child = -1
    for other in range(tree.node_count[g]):
        if (
            tree.node_board[g, other, 0] == lo
            and tree.node_board[g, other, 1] == hi
            and tree.node_mask[g, other] == mask
        ):
            child = other
            break
    made = child < 0
    if made:
        child = _add_node(tree, g, lo, hi, mask)
    if mask != 0:
        slots = np.empty(SLOTS, np.int8)
        node_slots(tree, g, child, slots)
        if any_legal(lo, hi, slots):
            reward += SURVIVAL_BONUS
        elif made:
            # The game is over here: worth nothing more, known without the network.
            tree.node_flags[g, child] = EVALUATED | SOLVED
    tree.edge_child[g, e] = child
    tree.edge_reward[g, e] = reward
    return child


@njit(cache=True)
def _choose_at_root(tree: Tree, g: int, params: SearchParams, wanted: int) -> int:
    """Index of the best root action that has ``wanted`` visits, by gumbel + logit + sigma(Q)."""
    root = tree.root[g]
    first = tree.node_first[g, root]
    _completed_q(tree, g, root, params)
    chosen = -1
    best = -np.inf
    for j in range(tree.node_edges[g, root]):
        if tree.root_visits[g, j] != wanted or tree.edge_logit[g, first + j] <= NEVER:
            continue
        # log of the improved policy is logit + sigma(Q) up to a constant.
        score = tree.root_gumbel[g, j] + math.log(tree.scratch[1, j] + 1e-300)
        if score > best:
            best = score
            chosen = j
    return chosen


@njit(cache=True)
def _choose_below(tree: Tree, g: int, node: int, params: SearchParams) -> int:
    """Index of the unsolved action furthest below its share of visits (section 5, eq. 14)."""
    first = tree.node_first[g, node]
    n = tree.node_edges[g, node]
    _completed_q(tree, g, node, params)
    visits = 0
    for j in range(n):
        visits += tree.edge_visits[g, first + j]
    chosen = -1
    best = -np.inf
    for j in range(n):
        e = first + j
        child = tree.edge_child[g, e]
        if tree.edge_logit[g, e] <= NEVER or (child >= 0 and tree.node_flags[g, child] & SOLVED):
            continue
        score = tree.scratch[1, j] - tree.edge_visits[g, e] / (1.0 + visits)
        if score > best:
            best = score
            chosen = j
    return chosen


@njit(cache=True)
def _back_up(tree: Tree, g: int, params: SearchParams) -> None:
    for depth in range(tree.path_length[g] - 1, -1, -1):
        _refresh_value(tree, g, tree.path[g, depth, 0], params)


@njit(cache=True)
def find_leaf(tree: Tree, g: int, params: SearchParams) -> bool:
    """Simulate until a position needs the network (True) or the move's budget is spent (False).

    A simulation that ends in a solved node costs no evaluation and counts all the same.
    """
    root = tree.root[g]
    if not tree.node_flags[g, root] & EVALUATED:
        tree.leaf[g] = root
        tree.path_length[g] = 0
        return True
    while tree.simulations[g] < tree.budget[g]:
        wanted = tree.schedule[tree.considered[g], tree.simulations[g]]
        j = _choose_at_root(tree, g, params, wanted)
        tree.simulations[g] += 1
        tree.root_visits[g, j] += 1
        node = root
        length = 0
        while True:
            e = tree.node_first[g, node] + j
            tree.edge_visits[g, e] += 1
            tree.path[g, length, 0] = node
            tree.path[g, length, 1] = e
            length += 1
            tree.path_length[g] = length
            node = _child_of(tree, g, node, e)
            if not tree.node_flags[g, node] & EVALUATED:
                tree.leaf[g] = node
                return True
            if tree.node_flags[g, node] & SOLVED:
                break
            j = _choose_below(tree, g, node, params)
            if j < 0:
                # Its children were solved by way of another parent.
                _refresh_value(tree, g, node, params)
                break
        _back_up(tree, g, params)
    return False


@njit(cache=True)
def set_evaluation(
    tree: Tree,
    g: int,
    logits: npt.NDArray[np.float32],
    value: float,
    params: SearchParams,
) -> None:
    """Give the waiting leaf its evaluation: logits [A] over all actions, value; back it up."""
    node = tree.leaf[g]
    tree.leaf[g] = -1
    tree.node_net[g, node] = value
    tree.node_value[g, node] = value
    tree.node_flags[g, node] = EVALUATED
    if tree.node_mask[g, node] == 0:
        tree.node_flags[g, node] |= SOLVED
    else:
        _add_edges(tree, g, node, logits)
    _back_up(tree, g, params)


@njit(cache=True)
def _add_edges(tree: Tree, g: int, node: int, logits: npt.NDArray[np.float32]) -> None:
    slots = np.empty(SLOTS, np.int8)
    node_slots(tree, g, node, slots)
    actions = np.empty(MAX_LEGAL, np.int16)
    board = tree.node_board[g, node]
    n = legal_actions(board[0], board[1], slots, actions)
    first = tree.edge_count[g]
    tree.edge_count[g] = first + n
    tree.node_first[g, node] = first
    tree.node_edges[g, node] = n
    highest = -np.inf
    for j in range(n):
        e = first + j
        slot = actions[j] // CELLS
        duplicate = False
        for s in range(slot):
            duplicate |= slots[s] == slots[slot]
        tree.edge_action[g, e] = actions[j]
        tree.edge_logit[g, e] = NEVER if duplicate else logits[actions[j]]
        tree.edge_reward[g, e] = 0.0
        tree.edge_child[g, e] = -1
        tree.edge_visits[g, e] = 0
        highest = max(highest, tree.edge_logit[g, e])
    total = 0.0
    for e in range(first, first + n):
        if tree.edge_logit[g, e] > NEVER:
            total += math.exp(tree.edge_logit[g, e] - highest)
    for e in range(first, first + n):
        if tree.edge_logit[g, e] > NEVER:
            tree.edge_logit[g, e] -= highest + math.log(total)


@njit(cache=True)
def decide(tree: Tree, g: int, params: SearchParams, policy: npt.NDArray[np.float32]) -> int:
    """After the simulations: write the policy target [L], return the root edge index to play.

    The action is the best by gumbel + logit + sigma(Q) among those visited most.
    """
    root = tree.root[g]
    n = tree.node_edges[g, root]
    most = 0
    for j in range(n):
        most = max(most, tree.root_visits[g, j])
    chosen = _choose_at_root(tree, g, params, most)
    policy[:] = 0.0
    for j in range(n):
        policy[j] = tree.scratch[1, j]
    return chosen


@njit(cache=True)
def move_root(tree: Tree, g: int, j: int) -> int:
    """Make the child of root edge ``j`` the root (the graph stays) and return it."""
    child = _child_of(tree, g, tree.root[g], tree.node_first[g, tree.root[g]] + j)
    tree.root[g] = child
    return child
