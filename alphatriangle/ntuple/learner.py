"""Rounds of learning: several copies at once, each in a thread of its own, put together exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from alphatriangle.ntuple import online
from alphatriangle.ntuple.beam import make_beam
from alphatriangle.ntuple.bit_extract import Way, best_way
from alphatriangle.ntuple.layout import SIZE, fold
from alphatriangle.ntuple.merging import lay_out, merge, move_towards
from alphatriangle.ntuple.one_hot import one_hot_policies
from alphatriangle.ntuple.tables import FloatArray, Tables
from alphatriangle.utils.interrupting import in_order
from alphatriangle.utils.types import Episode, Rows

_AVERAGED: Final = 0.3
"""The average moves by 1 / (1 + 0.3 n) in round n: it spans about the last third of all rounds."""
_EXPLORED: Final = 4
_WINDOW: Final = 10
_DEALS_BETWEEN: Final = 2_000


class RoundResult(NamedTuple):
    """What a round brought."""

    episodes: list[Episode]  # finished games that began with an empty board, copy after copy
    rows: Rows  # positions and afterstates of sampled deals; returns are chances to survive
    deals: int  # played and learned from, by all copies
    evaluations: int  # boards judged
    games: int  # ended, those that were restarted included
    value_error: float  # mean squared TD error of a chance to survive
    seconds: float  # of processor time, all copies together


class OnlineLearner:
    """Learns tables by playing.

    A round is a function of (settings, seed, state) alone: no clock, no global generator. Of
    several copies each begins with the same tables and plays and learns by itself; the differences
    of weights and rates are then added up in the order of the copies. So two copies learn in half
    the time (almost) what one learns, and the result is exact for a given number of copies.
    """

    def __init__(
        self,
        tables: Tables,
        *,
        seed: int,
        gamma: float = 0.98,
        width: int = 3,
        explore: float = 0.3,
        rate: float = 4.0,
        restart: float = 0.5,
        copies: int = 1,
        first_episode: int = 0,
        max_moves: int = 30_000,
        sample: int = 0,
        way: Way | None = None,
    ) -> None:
        """``tables`` get new arrays at the end of each round.

        gamma: a chance to survive is one of living on for 1 / (1 - gamma) deals on average.
        width: of the beam that is learned with. explore: share of the deals at which one of the 4
        best plans is played. rate: of learning, the sum over all weights of a board. restart: share
        of games that begin up to 10 deals before the end of the last one. max_moves: placements
        after which a game is given up; its end is then not learned from. sample: rows are taken
        from every so many deals, 0 for none. way: how bits are packed, by default the best.
        """
        self.tables = tables
        self.copies = copies
        self.rounds = 0
        self._settings = online.Settings(
            seed=seed, first=first_episode, step=copies, gamma=gamma, rate=rate, width=width,
            explore=explore, explored=_EXPLORED, restart=restart, window=_WINDOW,
            max_moves=max_moves, sample=sample,
        )  # fmt: skip
        self._way = way or best_way()
        self._games = [online.make_game(copy, max_moves) for copy in range(copies)]
        self._beams = [make_beam(max(width, _EXPLORED)) for _ in range(copies)]

    def round(self, deals: int, between: Callable[[], None] = lambda: None) -> RoundResult:
        """Play ``deals`` deals on each copy, learning from each; the GIL is free meanwhile.

        Several rounds do not add up to one: with each the copies meet and the average moves on.

        ``between`` is called by all copies every few hundredths of a second; what it raises ends
        the round, and everything is as it was before.
        """
        before = self.state_dict()
        for beam in self._beams:
            beam.counters[1] = 0
        policy = fold(self.tables.weights)
        copies = np.empty((self.copies, SIZE, 3), np.float32)

        def play(copy: int) -> tuple[online.Output, float]:
            return self._play(copy, copies[copy], policy, deals, between)

        try:
            with ThreadPoolExecutor(self.copies) as pool:
                played = list(in_order([pool.submit(play, n) for n in range(self.copies)]))
        except BaseException:
            self.load_state_dict(before)
            raise
        self._take_over(copies)
        outs = [out for out, _ in played]
        sums = np.sum([out.sums for out in outs], axis=0)
        return RoundResult(
            episodes=[episode for out in outs for episode in self._episodes(out)],
            rows=Rows.concatenate([_rows(out) for out in outs]),
            deals=deals * self.copies,
            evaluations=sum(int(beam.counters[1]) for beam in self._beams),
            games=int(sums[online.ENDED]),
            value_error=float(sums[online.ERROR] / max(sums[online.LEARNED], 1.0)),
            seconds=sum(seconds for _, seconds in played),
        )

    def _play(
        self,
        copy: int,
        tables: online.Learned,
        policy: FloatArray,
        deals: int,
        between: Callable[[], None],
    ) -> tuple[online.Output, float]:
        begin = time.thread_time()
        base, way = self.tables, self._way
        lay_out(base.weights, base.errors, base.absolute, tables)
        out = online.make_output(deals, self._settings)
        game, beam = self._games[copy], self._beams[copy]
        folded = type(way)(folded=True)
        for start in range(0, deals, _DEALS_BETWEEN):
            between()
            few = min(_DEALS_BETWEEN, deals - start)
            online.play_and_learn(way, folded, policy, self._settings, tables, game, few, beam, out)
        return out, time.thread_time() - begin

    def _take_over(self, copies: npt.NDArray[np.float32]) -> None:
        base = self.tables
        weights, errors, absolute = merge(base.weights, base.errors, base.absolute, copies)
        self.rounds += 1
        average = move_towards(base.average, weights, 1.0 / (1.0 + _AVERAGED * self.rounds))
        state = {"weights": weights, "errors": errors, "absolute": absolute, "average": average}
        base.load_state_dict(state)

    def _episodes(self, out: online.Output) -> list[Episode]:
        ends = out.moves_end.tolist()
        return [
            Episode(
                episode=int(out.episode[i]),
                seed=self._settings.seed,
                moves=out.moves[ends[i - 1] if i else 0 : ends[i]].copy(),
                score=float(out.score[i]),
                simulations=0,
                truncated=bool(out.truncated[i]),
            )
            for i in range(int(out.counts[online.EPISODES]))
        ]

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that the next round depends on, but for settings and tables."""
        games: dict[str, npt.NDArray[Any]] = {}
        for name in online.Game._fields:
            arrays = [getattr(game, name) for game in self._games]
            if name == "history":
                used = zip(arrays, self._used_history(), strict=True)
                games[name] = np.concatenate([array[:n] for array, n in used])
            else:
                games[name] = np.stack(arrays)
        return {"games": games, "rounds": self.rounds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` returned.

        Raises:
            ValueError: the state is of another number of copies, or of longer games than are
                allowed here.
        """
        games = state["games"]
        copies = len(games["numbers"])
        if copies != self.copies:
            raise ValueError(f"saved with {copies} copies of the tables, this has {self.copies}")
        moves = games["numbers"][:, online.MOVES]
        if moves.max() > self._settings.max_moves:
            raise ValueError(f"a game of {moves.max()} moves, more than {self._settings.max_moves}")
        for name in online.Game._fields:
            if name == "history":
                continue
            for game, array in zip(self._games, games[name], strict=True):
                getattr(game, name)[...] = array
        start = 0
        for game, used in zip(self._games, self._used_history(), strict=True):
            game.history[:used] = games["history"][start : start + used]
            start += used
        self.rounds = int(state["rounds"])

    def _used_history(self) -> list[int]:
        """How many moves of each game are kept: none of one that was restarted."""
        numbers = [game.numbers for game in self._games]
        return [int(n[online.MOVES]) if n[online.EPISODE] >= 0 else 0 for n in numbers]


def _rows(out: online.Output) -> Rows:
    n = int(out.counts[online.ROWS])
    boards, slots = out.boards[:n], out.slots[:n]
    return Rows(boards, slots, one_hot_policies(boards, slots, out.actions[:n]), out.values[:n])
