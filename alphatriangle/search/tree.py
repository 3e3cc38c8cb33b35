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
from alphatriangle.utils.kernels import inner, kernel
from alphatriangle.utils.seeding import draw_gumbel

EVALUATED: Final = np.uint8(1)
SOLVED: Final = np.uint8(2)
NEVER: Final = -1e30
"""Logit of an action that duplicates another (same shape in an earlier slot): never played."""
SMALLEST_PRIOR: Final = 1e-30
"""An action that may be played can always be told from one that may not."""


# A call copies every array header of the tree: what runs in every simulation is inlined.
_inlined = inner(forceinline=True)


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
    edge_logit: npt.NDArray[np.float32]  # [G, E] below the node's largest, or NEVER
    edge_prior: npt.NDArray[np.float32]  # [G, E] their softmax: see set_priors
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
    seen: npt.NDArray[np.int32]  # [L] see _look
    seen_q: npt.NDArray[np.float64]  # [L] see _look
    scratch: npt.NDArray[np.float64]  # [2, L] completed Q and improved policy of the last decision


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
        edge_prior=zeros((games, e), np.float32),
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
        seen=zeros((MAX_LEGAL,), np.int32),
        seen_q=zeros((MAX_LEGAL,), np.float64),
        scratch=zeros((2, MAX_LEGAL), np.float64),
    )


@_inlined
def node_slots(tree: Tree, g: int, node: int, out: npt.NDArray[np.int8]) -> None:
    """Write the shapes that ``node`` still has into ``out`` [3]."""
    for s in range(SLOTS):
        if (tree.node_mask[g, node] >> np.uint8(s)) & np.uint8(1):
            out[s] = tree.slots[g, s]
        else:
            out[s] = EMPTY


@_inlined
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


@kernel
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
    tree.root[g] = _add_node(tree, g, lo, hi, np.uint8(mask))
    tree.leaf[g] = -1


@inner
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


class _Look(NamedTuple):
    """What is known of a node's actions, in terms of completed Q; see :func:`_look`."""

    seen: int  # actions whose child is evaluated: tree.seen[:seen], their Q in tree.seen_q
    visits: int  # of those; all others have none
    unseen: float  # prior probability of all the others together
    mixed: float  # the Q of each of those
    top: float  # the largest Q there is
    sigma: float  # what a difference in Q is worth as one in logits
    solved: bool  # nothing is left to evaluate below any action


@_inlined
def _look(tree: Tree, g: int, node: int, params: SearchParams) -> _Look:
    """Look at a node's actions once, and write those seen before into ``tree.seen``.

    An action that has not been evaluated gets the mixed value of section 3.4 (appendix D), the same
    for all. So whatever weighs them needs only the sum of their priors: an exponential for each
    action that has been seen, of which there are few, and one for all the rest.
    """
    first = tree.node_first[g, node]
    seen = 0
    solved = True
    visits = 0
    most = 0
    prior = 0.0
    unseen = 0.0
    weighted = 0.0
    lowest = np.inf
    highest = -np.inf
    for j in range(tree.node_edges[g, node]):
        e = first + j
        child = tree.edge_child[g, e]
        p = tree.edge_prior[g, e]
        if child >= 0 and tree.node_flags[g, child] & EVALUATED:
            value = tree.edge_reward[g, e] + params.gamma * tree.node_value[g, child]
            tree.seen[seen] = j
            tree.seen_q[seen] = value
            seen += 1
            prior += p
            weighted += p * value
            visits += tree.edge_visits[g, e]
            most = max(most, tree.edge_visits[g, e])
            lowest = min(lowest, value)
            highest = max(highest, value)
            solved &= (tree.node_flags[g, child] & SOLVED) != 0
        else:
            unseen += p
            solved &= p == 0.0
    mixed = float(tree.node_net[g, node])
    if seen > 0:
        mixed = (mixed + visits * weighted / prior) / (1.0 + visits)
    top = max(highest, mixed) if unseen > 0.0 else highest
    spread = max(highest, mixed) - min(lowest, mixed)
    sigma = (params.c_visit + most) * params.c_scale / max(spread, params.q_range_floor)
    return _Look(seen, visits, unseen, mixed, top, sigma, solved)


@_inlined
def _weigh(tree: Tree, g: int, node: int, look: _Look) -> tuple[float, float]:
    """Sums of prior * exp(sigma * (Q - top)) over all actions, and of that times Q.

    The first normalises the improved policy, their ratio is the expectation of Q under it.
    """
    first = tree.node_first[g, node]
    total = look.unseen * math.exp(look.sigma * (look.mixed - look.top))
    value = total * look.mixed
    for i in range(look.seen):
        weight = math.exp(look.sigma * (tree.seen_q[i] - look.top))
        weight *= tree.edge_prior[g, first + tree.seen[i]]
        total += weight
        value += weight * tree.seen_q[i]
    return total, value


@_inlined
def _refresh_value(tree: Tree, g: int, node: int, params: SearchParams) -> None:
    """Recompute the value of ``node`` from its children, and whether it is solved.

    The expectation of completed Q under the improved policy, or once solved, the largest Q.
    """
    look = _look(tree, g, node, params)
    if look.solved:
        tree.node_value[g, node] = look.top
        tree.node_flags[g, node] |= SOLVED
    else:
        total, value = _weigh(tree, g, node, look)
        tree.node_value[g, node] = value / total


@_inlined
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
        child = _add_node(tree, g, lo, hi, np.uint8(mask))
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


@_inlined
def _choose_at_root(tree: Tree, g: int, params: SearchParams, wanted: int) -> int:
    """Index of the best root action that has ``wanted`` visits, by gumbel + logit + sigma(Q)."""
    root = np.int64(tree.root[g])
    first = tree.node_first[g, root]
    look = _look(tree, g, root, params)
    chosen = -1
    best = NEVER
    for i in range(look.seen):
        j = tree.seen[i]
        if tree.root_visits[g, j] == wanted:
            score = tree.root_gumbel[g, j] + tree.edge_logit[g, first + j]
            score += look.sigma * (tree.seen_q[i] - look.mixed)
            if score > best:
                best = score
                chosen = j
    if wanted > 0:
        return chosen
    i = 0
    for j in range(tree.node_edges[g, root]):
        if i < look.seen and tree.seen[i] == j:
            i += 1
            continue
        score = tree.root_gumbel[g, j] + tree.edge_logit[g, first + j]
        if score > best:
            best = score
            chosen = j
    return chosen


@_inlined
def _choose_below(tree: Tree, g: int, node: int, params: SearchParams) -> int:
    """Index of the unsolved action furthest below its share of visits (section 5, eq. 14)."""
    first = tree.node_first[g, node]
    look = _look(tree, g, node, params)
    total, _ = _weigh(tree, g, node, look)
    chosen = -1
    best = -np.inf
    for i in range(look.seen):
        j = tree.seen[i]
        e = first + j
        if not tree.node_flags[g, tree.edge_child[g, e]] & SOLVED:
            share = math.exp(look.sigma * (tree.seen_q[i] - look.top)) / total
            score = tree.edge_prior[g, e] * share - tree.edge_visits[g, e] / (1.0 + look.visits)
            if score > best:
                best = score
                chosen = j
    share = math.exp(look.sigma * (look.mixed - look.top)) / total
    i = 0
    for j in range(tree.node_edges[g, node]):
        if i < look.seen and tree.seen[i] == j:
            i += 1
            continue
        prior = tree.edge_prior[g, first + j]
        if prior > 0.0 and prior * share > best:
            best = prior * share
            chosen = j
    return chosen


@_inlined
def _back_up(tree: Tree, g: int, params: SearchParams) -> None:
    for depth in range(tree.path_length[g] - 1, -1, -1):
        _refresh_value(tree, g, np.int64(tree.path[g, depth, 0]), params)


@inner
def find_leaf(tree: Tree, g: int, params: SearchParams) -> bool:
    """Simulate until a position needs the network (True) or the move's budget is spent (False).

    A simulation that ends in a solved node costs no evaluation and counts all the same.
    """
    root = np.int64(tree.root[g])
    if not tree.node_flags[g, root] & EVALUATED:
        tree.leaf[g] = root
        tree.path_length[g] = 0
        return True
    while tree.simulations[g] < tree.budget[g]:
        wanted = np.int64(tree.schedule[tree.considered[g], tree.simulations[g]])
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


@inner
def set_evaluation(
    tree: Tree,
    g: int,
    logits: npt.NDArray[np.float32],
    value: float,
    params: SearchParams,
) -> None:
    """Give the waiting leaf its evaluation: logits [A] over all actions, value; back it up."""
    node = np.int64(tree.leaf[g])
    tree.leaf[g] = -1
    tree.node_net[g, node] = value
    tree.node_value[g, node] = value
    tree.node_flags[g, node] = EVALUATED
    if tree.node_mask[g, node] == 0:
        tree.node_flags[g, node] |= SOLVED
    else:
        _add_edges(tree, g, node, logits)
    _back_up(tree, g, params)


@_inlined
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
    duplicate = np.zeros(SLOTS, np.bool_)
    for slot in range(SLOTS):
        for s in range(slot):
            duplicate[slot] |= slots[s] == slots[slot]
    highest = -np.inf
    for j in range(n):
        e = first + j
        tree.edge_action[g, e] = actions[j]
        tree.edge_reward[g, e] = 0.0
        tree.edge_child[g, e] = -1
        tree.edge_visits[g, e] = 0
        if duplicate[actions[j] // CELLS]:
            tree.edge_logit[g, e] = NEVER
        else:
            tree.edge_logit[g, e] = logits[actions[j]]
            highest = max(highest, logits[actions[j]])
    for e in range(first, first + n):
        if tree.edge_logit[g, e] > NEVER:
            tree.edge_logit[g, e] -= highest
    set_priors(tree, g, node)


@kernel
def set_priors(tree: Tree, g: int, node: int) -> None:
    """Priors of a node's actions from their logits: 0 for duplicates, above 0 for all else."""
    first = tree.node_first[g, node]
    end = first + tree.node_edges[g, node]
    total = 0.0
    for e in range(first, end):
        tree.edge_prior[g, e] = 0.0
        if tree.edge_logit[g, e] > NEVER:
            tree.edge_prior[g, e] = max(math.exp(tree.edge_logit[g, e]), SMALLEST_PRIOR)
        total += tree.edge_prior[g, e]
    for e in range(first, end):
        tree.edge_prior[g, e] /= total


@kernel
def decide(tree: Tree, g: int, params: SearchParams, policy: npt.NDArray[np.float32]) -> int:
    """After the simulations: write the policy target [L], return the root edge index to play.

    The policy is softmax(logits + sigma(completed Q)), the action the best by gumbel + logit +
    sigma(Q) among those visited most. ``tree.scratch`` keeps completed Q and policy.
    """
    root = np.int64(tree.root[g])
    first = tree.node_first[g, root]
    n = tree.node_edges[g, root]
    look = _look(tree, g, root, params)
    q, improved = tree.scratch[0], tree.scratch[1]
    q[:n] = look.mixed
    for i in range(look.seen):
        q[tree.seen[i]] = tree.seen_q[i]
    total = 0.0
    for j in range(n):
        improved[j] = tree.edge_prior[g, first + j] * math.exp(look.sigma * (q[j] - look.top))
        total += improved[j]
    policy[:] = 0.0
    most = 0
    for j in range(n):
        improved[j] /= total
        policy[j] = improved[j]
        most = max(most, tree.root_visits[g, j])
    return _choose_at_root(tree, g, params, np.int64(most))


@inner
def move_root(tree: Tree, g: int, j: int) -> int:
    """Make the child of root edge ``j`` the root (the graph stays) and return it."""
    root = np.int64(tree.root[g])
    child = _child_of(tree, g, root, tree.node_first[g, root] + j)
    tree.root[g] = child
    return child
