"""Games in flight as flat arrays, and the kernels that move them on.

A *lane* holds one game at a time; when the game ends, the lane takes the next episode. A lane never
waits for another: it moves on inside the kernel until it needs the network, so that each lane has
one row in every network call.

What becomes training rows are *events*: before each placement the position with its improved
policy, and after a placement that empties the slots the afterstate, without a policy. Leaving a
position costs one discount and pays the placement; leaving an afterstate pays the survival bonus of
the new deal and costs none. So for both kinds

    return(event) = rewards of the next n placements + gamma^n * value of the event after them,

discounted per placement, with the search's own value at the end (n-step return). Events of an
episode are numbered from 0 in the order in which they happen, which is the order of their rows.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.game.geometry import EMPTY, MAX_LEGAL, SLOTS
from alphatriangle.game.kernels import SURVIVAL_BONUS, deal, step
from alphatriangle.search import tree as tr
from alphatriangle.search.tree import SearchParams, Tree
from alphatriangle.utils.kernels import copy_into, inner, kernel
from alphatriangle.utils.seeding import derive_key, mix64
from alphatriangle.utils.streams import STREAM_DEAL, STREAM_GUMBEL


class Lanes(NamedTuple):
    """G games and their pending events (P at most)."""

    episode: npt.NDArray[np.int64]  # [G] -1: the lane is empty
    board: npt.NDArray[np.uint64]  # [G, 2]
    slots: npt.NDArray[np.int8]  # [G, 3]
    deals: npt.NDArray[np.int64]  # [G]
    moves: npt.NDArray[np.int64]  # [G]
    score: npt.NDArray[np.float64]  # [G]
    rows: npt.NDArray[np.int64]  # [G] simulations that cost an evaluation, in this episode
    history: npt.NDArray[np.int16]  # [G, max moves] actions
    event_first: npt.NDArray[np.int64]  # [G] oldest pending event, a ring of P
    event_count: npt.NDArray[np.int64]  # [G]
    event_board: npt.NDArray[np.uint64]  # [G, P, 2]
    event_slots: npt.NDArray[np.int8]  # [G, P, 3]
    event_policy: npt.NDArray[np.float32]  # [G, P, L]
    event_value: npt.NDArray[np.float64]  # [G, P]
    event_reward: npt.NDArray[np.float64]  # [G, P]
    event_placements: npt.NDArray[np.int8]  # [G, P] 1 for a position, 0 for an afterstate


class Output(NamedTuple):
    """What a round hands out."""

    counts: npt.NDArray[np.int64]  # [2] rows, finished episodes
    boards: npt.NDArray[np.uint64]  # [R, 2]
    slots: npt.NDArray[np.int8]  # [R, 3]
    policies: npt.NDArray[np.float32]  # [R, L]
    returns: npt.NDArray[np.float32]  # [R]
    row_episode: npt.NDArray[np.int64]  # [R] whose row it is
    row_number: npt.NDArray[np.int32]  # [R] which of that episode's events
    finished_lane: npt.NDArray[np.int64]  # [G]
    finished_episode: npt.NDArray[np.int64]  # [G]
    finished_moves: npt.NDArray[np.int64]  # [G]
    finished_score: npt.NDArray[np.float64]  # [G]
    finished_rows: npt.NDArray[np.int64]  # [G]
    finished_truncated: npt.NDArray[np.bool_]  # [G]
    finished_history: npt.NDArray[np.int16]  # [G, max moves]


class PlayParams(NamedTuple):
    """What the rules of playing need beside the search's settings."""

    seed: int
    n_step: int
    max_moves: int
    record: bool  # whether events become rows


# Sums over all lanes, for search health: see SelfPlay.
COUNTERS: Final = 8
MOVES, SIMULATIONS, ROWS_EVALUATED, DEPTH = range(4)
ENTROPY, VALUE_ERROR, VALUE_COUNT, CLEARED = range(4, COUNTERS)


def event_capacity(n_step: int) -> int:
    """n placements, the afterstates between them, and one more of each."""
    return n_step + n_step // SLOTS + 4


def make_lanes(games: int, play: PlayParams) -> Lanes:
    """Empty lanes."""
    p = event_capacity(play.n_step) if play.record else 1

    def zeros(shape: tuple[int, ...], dtype: Any) -> Any:
        return np.zeros((games, *shape), dtype)

    return Lanes(
        episode=np.full(games, -1, np.int64),
        board=zeros((2,), np.uint64),
        slots=np.full((games, SLOTS), EMPTY, np.int8),
        deals=zeros((), np.int64),
        moves=zeros((), np.int64),
        score=zeros((), np.float64),
        rows=zeros((), np.int64),
        history=zeros((play.max_moves,), np.int16),
        event_first=zeros((), np.int64),
        event_count=zeros((), np.int64),
        event_board=zeros((p, 2), np.uint64),
        event_slots=zeros((p, SLOTS), np.int8),
        event_policy=zeros((p, MAX_LEGAL), np.float32),
        event_value=zeros((p,), np.float64),
        event_reward=zeros((p,), np.float64),
        event_placements=zeros((p,), np.int8),
    )


def rows_per_round(games: int, n_step: int) -> int:
    """The most rows one round can hand out: three moves a lane and the end of an episode."""
    return games * (2 * SLOTS + event_capacity(n_step))


def make_output(games: int, rows: int, play: PlayParams) -> Output:
    """Room for ``rows`` rows and the episodes of one round."""
    return Output(
        counts=np.zeros(2, np.int64),
        boards=np.empty((rows, 2), np.uint64),
        slots=np.empty((rows, SLOTS), np.int8),
        policies=np.empty((rows, MAX_LEGAL), np.float32),
        returns=np.empty(rows, np.float32),
        row_episode=np.empty(rows, np.int64),
        row_number=np.empty(rows, np.int32),
        finished_lane=np.empty(games, np.int64),
        finished_episode=np.empty(games, np.int64),
        finished_moves=np.empty(games, np.int64),
        finished_score=np.empty(games, np.float64),
        finished_rows=np.empty(games, np.int64),
        finished_truncated=np.empty(games, np.bool_),
        finished_history=np.empty((games, play.max_moves), np.int16),
    )


@inner
def _write_row(lanes: Lanes, out: Output, g: int, event: int, number: int, i: int) -> None:
    copy_into(out.boards[i], lanes.event_board[g, event])
    copy_into(out.slots[i], lanes.event_slots[g, event])
    copy_into(out.policies[i], lanes.event_policy[g, event])
    out.row_episode[i] = lanes.episode[g]
    out.row_number[i] = number


@inner
def _emit(lanes: Lanes, out: Output, g: int, event: int, number: int, n_step_return: float) -> None:
    i = out.counts[0]
    out.counts[0] = i + 1
    _write_row(lanes, out, g, event, number, i)
    out.returns[i] = n_step_return


@inner
def _push_event(
    lanes: Lanes,
    out: Output,
    play: PlayParams,
    gamma: float,
    g: int,
    slots: npt.NDArray[np.int8],
    policy: npt.NDArray[np.float32],
    value: float,
    placements: int,
    number: int,
) -> int:
    """Append event ``number`` of the episode; hand out the oldest ones, whose n placements it
    completes."""
    capacity = lanes.event_value.shape[1]
    while lanes.event_count[g] > 0:
        first = lanes.event_first[g]
        seen = 0
        discount = 1.0
        total = 0.0
        for k in range(lanes.event_count[g]):
            event = (first + k) % capacity
            seen += lanes.event_placements[g, event]
            total += discount * lanes.event_reward[g, event]
            if lanes.event_placements[g, event]:
                discount *= gamma
        if seen < play.n_step:
            break
        oldest = number - lanes.event_count[g]
        _emit(lanes, out, g, first, oldest, total + discount * value)
        lanes.event_first[g] = (first + 1) % capacity
        lanes.event_count[g] -= 1
    event = (lanes.event_first[g] + lanes.event_count[g]) % capacity
    lanes.event_count[g] += 1
    copy_into(lanes.event_board[g, event], lanes.board[g])
    copy_into(lanes.event_slots[g, event], slots)
    copy_into(lanes.event_policy[g, event], policy)
    lanes.event_value[g, event] = value
    lanes.event_reward[g, event] = 0.0
    lanes.event_placements[g, event] = placements
    return event


@inner
def _flush_events(
    lanes: Lanes, out: Output, gamma: float, g: int, value: float, counters: npt.NDArray[np.float64]
) -> None:
    """The episode is over: hand out all pending events, ``value`` being what follows the last."""
    capacity = lanes.event_value.shape[1]
    first = lanes.event_first[g]
    count = lanes.event_count[g]
    total = value
    base = out.counts[0]
    out.counts[0] = base + count
    oldest = lanes.moves[g] + lanes.deals[g] - 1 - count
    for k in range(count - 1, -1, -1):
        event = (first + k) % capacity
        discount = gamma if lanes.event_placements[g, event] else 1.0
        total = lanes.event_reward[g, event] + discount * total
        counters[VALUE_ERROR] += abs(total - lanes.event_value[g, event])
        counters[VALUE_COUNT] += 1
        _write_row(lanes, out, g, event, oldest + k, base + k)
        out.returns[base + k] = total
    lanes.event_count[g] = 0


@inner
def start_episode(lanes: Lanes, tree: Tree, g: int, episode: int, play: PlayParams) -> None:
    """Put a fresh game into the lane."""
    lanes.episode[g] = episode
    lanes.board[g, 0] = 0
    lanes.board[g, 1] = 0
    lanes.deals[g] = 1
    lanes.moves[g] = 0
    lanes.score[g] = 0.0
    lanes.rows[g] = 0
    lanes.event_first[g] = 0
    lanes.event_count[g] = 0
    deal(derive_key(play.seed, STREAM_DEAL, episode), 0, lanes.slots[g])
    tr.reset_root(tree, g, lanes.board[g, 0], lanes.board[g, 1], lanes.slots[g])


@inner
def _begin_move(lanes: Lanes, tree: Tree, search: SearchParams, play: PlayParams, g: int) -> None:
    key = derive_key(play.seed, STREAM_GUMBEL, lanes.episode[g])
    tr.start_move(tree, g, search, key, lanes.moves[g])


@inner
def _finish_move(
    lanes: Lanes,
    tree: Tree,
    out: Output,
    search: SearchParams,
    play: PlayParams,
    g: int,
    policy: npt.NDArray[np.float32],
    empty_policy: npt.NDArray[np.float32],
    counters: npt.NDArray[np.float64],
) -> bool:
    """The search of this move is done: play it. Returns whether the episode ended."""
    root = np.int64(tree.root[g])
    j = tr.decide(tree, g, search, policy)
    counters[MOVES] += 1
    counters[SIMULATIONS] += tree.simulations[g]
    for k in range(tree.node_edges[g, root]):
        if policy[k] > 0.0:
            counters[ENTROPY] -= policy[k] * np.log(policy[k])
    event = 0
    if play.record:
        event = _push_event(
            lanes,
            out,
            play,
            search.gamma,
            g,
            lanes.slots[g],
            policy,
            tree.node_value[g, root],
            np.int64(1),
            lanes.moves[g] + lanes.deals[g] - 1,
        )
    action = np.int64(tree.edge_action[g, tree.node_first[g, root] + j])
    child = tr.move_root(tree, g, j)
    child_value = tree.node_value[g, child]
    lanes.history[g, lanes.moves[g]] = action
    key = derive_key(play.seed, STREAM_DEAL, lanes.episode[g])
    reward, cleared, done, dealt = step(lanes.board[g], lanes.slots[g], action, key, lanes.deals[g])
    lanes.deals[g] += dealt
    lanes.moves[g] += 1
    lanes.score[g] += reward
    counters[CLEARED] += cleared
    if play.record:
        bonus = 0.0 if done else SURVIVAL_BONUS
        if dealt:
            lanes.event_reward[g, event] = reward - bonus
            none = np.empty(SLOTS, np.int8)
            for s in range(SLOTS):
                none[s] = EMPTY
            number = lanes.moves[g] + lanes.deals[g] - 2
            event = _push_event(
                lanes,
                out,
                play,
                search.gamma,
                g,
                none,
                empty_policy,
                child_value,
                np.int64(0),
                number,
            )
            lanes.event_reward[g, event] = bonus
        else:
            lanes.event_reward[g, event] = reward
    truncated = not done and lanes.moves[g] >= play.max_moves
    if done or truncated:
        if play.record:
            _flush_events(lanes, out, search.gamma, g, 0.0 if done else child_value, counters)
        f = out.counts[1]
        out.counts[1] = f + 1
        out.finished_lane[f] = g
        out.finished_episode[f] = lanes.episode[g]
        out.finished_moves[f] = lanes.moves[g]
        out.finished_score[f] = lanes.score[g]
        out.finished_rows[f] = lanes.rows[g]
        out.finished_truncated[f] = truncated
        for move in range(lanes.moves[g]):
            out.finished_history[f, move] = lanes.history[g, move]
        return True
    if dealt:
        tr.reset_root(tree, g, lanes.board[g, 0], lanes.board[g, 1], lanes.slots[g])
    else:
        _begin_move(lanes, tree, search, play, g)
    return False


@kernel
def next_leaves(
    lanes: Lanes,
    tree: Tree,
    out: Output,
    search: SearchParams,
    play: PlayParams,
    waiting: npt.NDArray[np.int64],
    boards: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.int8],
    games: npt.NDArray[np.int64],
    counters: npt.NDArray[np.float64],
) -> tuple[int, int]:
    """Move every lane on to the next position it needs the network for.

    ``waiting`` are the episodes that lanes may start, taken from the front. Returns (rows written
    to ``boards``, ``slots`` and ``games``, episodes taken).
    """
    policy = np.zeros(MAX_LEGAL, np.float32)
    empty_policy = np.zeros(MAX_LEGAL, np.float32)
    n = 0
    taken = 0
    for g in range(len(lanes.episode)):
        while True:
            if lanes.episode[g] < 0:
                if taken == len(waiting):
                    break
                start_episode(lanes, tree, g, waiting[taken], play)
                taken += 1
            if tr.find_leaf(tree, g, search):
                leaf = np.int64(tree.leaf[g])
                copy_into(boards[n], tree.node_board[g, leaf])
                tr.node_slots(tree, g, leaf, slots[n])
                games[n] = g
                lanes.rows[g] += 1
                counters[ROWS_EVALUATED] += 1
                counters[DEPTH] += tree.path_length[g]
                n += 1
                break
            if _finish_move(lanes, tree, out, search, play, g, policy, empty_policy, counters):
                lanes.episode[g] = -1
    return n, taken


@kernel
def distinct_rows(boards: npt.NDArray[np.uint64], slots: npt.NDArray[np.int8]) -> int:
    """How many different positions there are among N, by a 64-bit hash of each."""
    hashes = np.empty(len(boards), np.uint64)
    for i in range(len(boards)):
        shapes = np.uint64(0)
        for s in range(SLOTS):
            shapes = (shapes << np.uint64(8)) | np.uint64(slots[i, s] + 1)
        hashes[i] = mix64(mix64(mix64(boards[i, 0]) ^ boards[i, 1]) ^ shapes)
    hashes.sort()
    count = min(len(hashes), 1)
    for i in range(1, len(hashes)):
        count += hashes[i] != hashes[i - 1]
    return count


@kernel
def give_evaluations(
    lanes: Lanes,
    tree: Tree,
    search: SearchParams,
    play: PlayParams,
    games: npt.NDArray[np.int64],
    logits: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32],
) -> None:
    """Hand the network's answers to the lanes that asked."""
    for i in range(len(games)):
        g = games[i]
        is_root = tree.leaf[g] == tree.root[g]
        tr.set_evaluation(tree, g, logits[i], values[i], search)
        if is_root:
            _begin_move(lanes, tree, search, play, g)
