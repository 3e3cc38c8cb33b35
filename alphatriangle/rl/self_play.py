"""Self-play: many games in lockstep against the network, rows and finished episodes out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.config import EnvConfig, SearchConfig
from alphatriangle.game.geometry import SLOTS
from alphatriangle.rl import lanes as ln
from alphatriangle.rl.games import Game, pack_games, put_game, rows_out, take_game, unpack_games
from alphatriangle.search import tree as tr
from alphatriangle.search.search import Evaluator, evaluate
from alphatriangle.utils.types import Episode, Rows

_ROUNDS_BETWEEN: Final = 16


class PlayResult(NamedTuple):
    """What a stretch of self-play brought."""

    rows: Rows
    episodes: list[Episode]
    health: dict[str, float]  # search statistics of the stretch
    origins: npt.NDArray[np.int64]  # [N, 2] of each row: its episode, and which event of it it is
    recorded: list[Episode] | None = None  # the episodes to be kept; None for all


# Per-lane prefixes: arrays of the tree of which only the first node_count / edge_count count.
_NODE_ARRAYS = (
    "node_board",
    "node_mask",
    "node_flags",
    "node_first",
    "node_edges",
    "node_net",
    "node_value",
)
_EDGE_ARRAYS = ("edge_action", "edge_logit", "edge_reward", "edge_child", "edge_visits")
_NOT_STATE = ("schedule", "seen", "seen_q", "scratch", "path", "path_length", "leaf", "edge_prior")


@dataclass
class _Spent:
    """What a stretch of self-play cost, and what for."""

    tree: float = 0.0  # seconds
    network: float = 0.0
    features: float = 0.0
    distinct: int = 0  # positions, within each network call

    def health(self, counters: npt.NDArray[np.float64]) -> dict[str, float]:
        return {
            "tree_seconds": self.tree,
            "network_seconds": self.network,
            "features_seconds": self.features,
            "distinct": self.distinct / max(counters[ln.ROWS_EVALUATED], 1.0),
        }


class SelfPlay:
    """Plays episodes in ``games`` lanes.

    Everything that happens depends on (seed, episodes given, weights used when): no clock, no
    global generator. Between two calls the whole state is in plain arrays (:meth:`state_dict`).
    """

    def __init__(
        self,
        network: Evaluator,
        search: SearchConfig,
        env: EnvConfig,
        *,
        games: int,
        gamma: float,
        n_step: int,
        seed: int,
        noise: bool = True,
        record: bool = True,
        refill: Callable[[int], Iterable[int]] | None = None,
    ) -> None:
        """``refill(n)``, where given, is asked for n more episodes when a lane could run dry."""
        self.network = network
        self._refill = refill
        self.games = games
        self._search = tr.params_from_config(search, gamma, noise)
        self._play = ln.PlayParams(seed, n_step, env.max_moves_per_episode, record)
        self._lanes = ln.make_lanes(games, self._play)
        self._tree = tr.make_tree(games, self._search)
        self._waiting = np.empty(0, np.int64)
        self._homeless: list[Game] = []
        self._known_rows: dict[int, int] = {}
        self._spent = _Spent()
        self._round_rows = ln.rows_per_round(games, n_step) if record else 0
        self._out = ln.make_output(games, self._round_rows, self._play)
        self._boards = np.empty((games, 2), np.uint64)
        self._slots = np.empty((games, SLOTS), np.int8)
        self._lane_of_row = np.empty(games, np.int64)

    def add_episodes(self, episodes: Iterable[int]) -> None:
        """Let lanes take these episodes, in this order, as they become free."""
        more = np.fromiter(episodes, np.int64)
        self._waiting = np.concatenate([self._waiting, more])

    def leave_out(self, known_rows: Mapping[int, int]) -> None:
        """Of these episodes so many rows, the first ones, have come before: they are not handed
        out again, whoever plays on from an earlier position."""
        self._known_rows.update(known_rows)

    def adopt(self, games: Iterable[Game]) -> None:
        """Play these games on, before any other, as lanes become free."""
        self._homeless += games

    @property
    def waiting(self) -> int:
        """Episodes given but not started. Keep at least ``games`` of them and no lane runs dry."""
        return len(self._waiting)

    def unfinished(self) -> list[int]:
        """Every episode given and not finished, in ascending order."""
        flying = self._lanes.episode[self._lanes.episode >= 0]
        homeless = [game.episode for game in self._homeless]
        return sorted([*flying.tolist(), *self._waiting.tolist(), *homeless])

    def flying(self) -> npt.NDArray[np.int64]:
        """[K, 2] games that have begun, and how many rows of each have been handed out."""
        lanes = np.flatnonzero(self._lanes.episode >= 0)
        episodes, rows = self._lanes.episode[lanes], rows_out(self._lanes, lanes)
        if self._known_rows:
            rows = np.maximum(rows, [self._known_rows.get(int(e), 0) for e in episodes])
        return np.stack([episodes, rows], axis=1)

    def games_in_flight(self) -> list[Game]:
        """Each of them as it can be played on by anybody, its search begun anew."""
        lanes = np.flatnonzero(self._lanes.episode >= 0)
        return [take_game(self._lanes, int(g)) for g in lanes] + self._homeless

    def _take_in(self) -> None:
        """Homeless games take the free lanes."""
        for g in np.flatnonzero(self._lanes.episode < 0)[: len(self._homeless)]:
            put_game(self._lanes, g, self._homeless.pop(0))
            board = self._lanes.board[g]
            tr.reset_root(self._tree, g, board[0], board[1], self._lanes.slots[g])

    def _round(self, counters: npt.NDArray[np.float64]) -> int:
        """One network call for all lanes; rows and episodes go to the output. Returns its rows."""
        if self._refill is not None and self.waiting < self.games:
            self.add_episodes(self._refill(self.games - self.waiting))
        begin = time.perf_counter()
        if self._homeless:
            self._take_in()
        # While games wait for a lane, no other takes one that becomes free.
        waiting = self._waiting[: 0 if self._homeless else None]
        n, taken = ln.next_leaves(
            self._lanes,
            self._tree,
            self._out,
            self._search,
            self._play,
            waiting,
            self._boards,
            self._slots,
            self._lane_of_row,
            counters,
        )
        self._waiting = self._waiting[taken:]
        if n:
            boards, slots = self._boards[:n], self._slots[:n]
            self._spent.distinct += ln.distinct_rows(boards, slots)
            asked, features = time.perf_counter(), self._features_seconds()
            logits, values = evaluate(self.network, boards, slots)
            answered, features = time.perf_counter(), self._features_seconds() - features
            lanes_of_rows = self._lane_of_row[:n]
            ln.give_evaluations(
                self._lanes, self._tree, self._search, self._play, lanes_of_rows, logits, values
            )
            self._spent.network += answered - asked - features
            self._spent.features += features
            begin += answered - asked
        self._spent.tree += time.perf_counter() - begin
        return int(n)

    def _features_seconds(self) -> float:
        """Of the network so far; other evaluators have no features to make."""
        return getattr(self.network, "features_seconds", 0.0)

    def play(self, min_rows: int, max_rounds: int | None = None) -> PlayResult:
        """Play on until at least ``min_rows`` rows have come out, or no episode is left.

        With ``min_rows`` 0 and finite episodes, plays them all to the end. ``max_rounds`` ends the
        call sooner; several short calls do exactly what one long call does.

        Raises:
            EvaluationNotFiniteError: the network says what is not finite; the games cannot go on.
        """
        counters = np.zeros(ln.COUNTERS)
        self._spent = _Spent()
        parts: list[Rows] = []
        origins: list[npt.NDArray[np.int64]] = []
        episodes: list[Episode] = []
        total = rounds = 0
        while True:
            self._out.counts[:] = 0
            played = self._round(counters)
            rounds += played > 0
            rows, origin = self._rows_out()
            parts.append(rows)
            origins.append(origin)
            episodes += self._episodes_out()
            total += len(parts[-1])
            enough = (min_rows and total >= min_rows) or rounds == max_rounds
            if (played == 0 and not self._homeless) or enough:
                break
        health = _health(counters, rounds, self.games) | self._spent.health(counters)
        return PlayResult(Rows.concatenate(parts), episodes, health, np.concatenate(origins))

    def _rows_out(self) -> tuple[Rows, npt.NDArray[np.int64]]:
        """Those that have not come before, and where they are from."""
        out, n = self._out, int(self._out.counts[0])
        which: Any = slice(n)
        if self._known_rows:
            known = [self._known_rows.get(int(e), 0) for e in out.row_episode[:n]]
            which = np.flatnonzero(out.row_number[:n] >= np.array(known, np.int64))
        rows = Rows(out.boards, out.slots, out.policies, out.returns)[which]
        rows = rows if self._known_rows else Rows(**{k: v.copy() for k, v in vars(rows).items()})
        return rows, np.stack([out.row_episode[which], out.row_number[which]], axis=1)

    def _episodes_out(self) -> list[Episode]:
        out = self._out
        for e in out.finished_episode[: int(out.counts[1])] if self._known_rows else ():
            self._known_rows.pop(int(e), None)
        return [
            Episode(
                episode=int(out.finished_episode[i]),
                seed=self._play.seed,
                moves=out.finished_history[i, : out.finished_moves[i]].copy(),
                score=float(out.finished_score[i]),
                simulations=int(out.finished_rows[i]),
                truncated=bool(out.finished_truncated[i]),
            )
            for i in range(int(out.counts[1]))
        ]

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything: games, graphs (their used parts), pending events, episodes."""
        lanes = {name: array.copy() for name, array in self._lanes._asdict().items()}
        # Beyond its moves a lane's history holds those of games before: not part of the state.
        lanes["history"] = _used(self._lanes.history, self._lanes.moves)
        tree: dict[str, Any] = {}
        for name, array in self._tree._asdict().items():
            if name in _NOT_STATE:
                continue
            if name in _NODE_ARRAYS:
                tree[name] = _used(array, self._tree.node_count)
            elif name in _EDGE_ARRAYS:
                tree[name] = _used(array, self._tree.edge_count)
            else:
                tree[name] = array.copy()
        state = {"lanes": lanes, "tree": tree, "waiting": self._waiting.copy()}
        if self._known_rows:
            state["known_rows"] = dict(self._known_rows)
        if self._homeless:
            state["homeless"] = pack_games(self._homeless)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned.

        Raises:
            ValueError: the state is of another number of games or other search settings.
        """
        self._check_fits(state)
        for name, array in self._lanes._asdict().items():
            if name == "history":
                _put_used(array, state["lanes"]["moves"], state["lanes"][name])
            else:
                array[...] = state["lanes"][name]
        tree = state["tree"]
        for name, array in self._tree._asdict().items():
            if name in _NODE_ARRAYS:
                _put_used(array, tree["node_count"], tree[name])
            elif name in _EDGE_ARRAYS:
                _put_used(array, tree["edge_count"], tree[name])
            elif name not in _NOT_STATE:
                array[...] = tree[name]
        for g in range(self.games):
            for node in range(self._tree.node_count[g]):
                tr.set_priors(self._tree, g, node)
        self._tree.leaf[:] = -1
        self._waiting = state["waiting"].copy()
        self._known_rows = dict(state.get("known_rows", {}))
        self._homeless = unpack_games(state["homeless"]) if "homeless" in state else []

    def _check_fits(self, state: dict[str, Any]) -> None:
        theirs = {
            "games": len(state["lanes"]["episode"]),
            "pending events": state["lanes"]["event_value"].shape[1],
        }
        ours = {"games": self.games, "pending events": self._lanes.event_value.shape[1]}
        if theirs != ours:
            raise ValueError(
                f"games in flight were saved with {theirs}, this configuration has {ours}"
            )
        if state["tree"]["node_count"].max(initial=0) > self._tree.node_board.shape[1]:
            raise ValueError("games in flight were saved with more simulations than configured")


def _used(array: npt.NDArray[Any], counts: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([array[g, :n] for g, n in enumerate(counts)])


def _put_used(array: npt.NDArray[Any], counts: npt.NDArray[Any], used: npt.NDArray[Any]) -> None:
    start = 0
    for g, n in enumerate(counts):
        array[g, :n] = used[start : start + n]
        start += int(n)


def _health(counters: npt.NDArray[np.float64], rounds: int, games: int) -> dict[str, float]:
    moves = max(counters[ln.MOVES], 1.0)
    rows = counters[ln.ROWS_EVALUATED]
    return {
        "moves": float(counters[ln.MOVES]),
        "triangles_cleared": float(counters[ln.CLEARED]),
        "simulations": float(counters[ln.SIMULATIONS]),
        "positions": float(rows),
        "batch_fill": float(rows / max(rounds * games, 1)),
        "depth": float(counters[ln.DEPTH] / max(rows, 1.0)),
        "policy_entropy": float(counters[ln.ENTROPY] / moves),
        "value_error": float(counters[ln.VALUE_ERROR] / max(counters[ln.VALUE_COUNT], 1.0)),
    }


def play_episodes(
    network: Evaluator,
    search: SearchConfig,
    env: EnvConfig,
    *,
    episodes: list[int],
    seed: int,
    gamma: float,
    between: Callable[[int], None] = lambda finished: None,
) -> list[Episode]:
    """Play these episodes to the end without noise; in the order of ``episodes``.

    ``between`` is called now and then with the number of games that are over; what it raises ends
    them.
    """
    player = SelfPlay(
        network,
        search,
        env,
        games=len(episodes),
        gamma=gamma,
        n_step=1,
        seed=seed,
        noise=False,
        record=False,
    )
    player.add_episodes(episodes)
    played: dict[int, Episode] = {}
    while len(played) < len(episodes):
        between(len(played))
        played |= {e.episode: e for e in player.play(0, _ROUNDS_BETWEEN).episodes}
    return [played[e] for e in episodes]
