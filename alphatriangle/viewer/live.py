"""A game as an agent plays it, with what it thinks."""

from __future__ import annotations

from collections.abc import Iterator

from alphatriangle.game import GameState
from alphatriangle.training.agent import Agent
from alphatriangle.viewer.frames import Frame, Option, Thoughts, first_frame, frame_of

OPTIONS_SHOWN = 4


def live_frames(agent: Agent, game: GameState, simulations: int | None = None) -> Iterator[Frame]:
    """Let ``agent`` play ``game`` to its end, a frame at a time.

    It ends like a game of self-play: when nothing fits, or after ``env.max_moves_per_episode``.
    """
    yield first_frame(game)
    while not game.is_over and len(game.moves) < agent.config.env.max_moves_per_episode:
        moves, value = agent.rank(game, simulations)
        options = tuple(
            Option(move.action, move.probability, move.q_value) for move in moves[:OPTIONS_SHOWN]
        )
        frame = frame_of(game, moves[0].action)
        yield frame._replace(thoughts=Thoughts(value, options))
