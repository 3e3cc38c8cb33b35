"""The game. Its rules are fixed; only how long an episode may last is not."""

from __future__ import annotations

from pydantic import Field

from alphatriangle.config.base import Live, Section


class EnvConfig(Section):
    """Episodes."""

    max_moves_per_episode: Live[int] = Field(default=4000, ge=3, le=1_000_000)
    """An episode is cut here; its last returns are bootstrapped, not taken as a lost game."""
