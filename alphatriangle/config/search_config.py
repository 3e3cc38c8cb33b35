"""The search."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from alphatriangle.config.base import Convolutional, Live, Section

MOST_SIMULATIONS: Final = 4096
"""A move: a game's tree has room for them."""


class SearchConfig(Section):
    """Gumbel search with sequential halving (Danihelka et al., 2022)."""

    num_simulations: Live[Convolutional[int]] = Field(default=16, ge=1, le=MOST_SIMULATIONS)
    """Simulations a move; each evaluates at most one new position."""
    max_considered_actions: Live[Convolutional[int]] = Field(default=8, ge=1, le=144)
    """Root actions that sequential halving starts from."""
    gumbel_scale: Live[Convolutional[float]] = Field(default=0.3, ge=0.0, le=10.0)
    """Scale of the root's exploration noise in self-play; evaluation plays without."""
    c_visit: Live[Convolutional[float]] = Field(default=50.0, ge=0.0)
    """sigma(q) = (c_visit + most visits) * c_scale * q (section 3.4 of the paper)."""
    c_scale: Live[Convolutional[float]] = Field(default=0.2, gt=0.0)
    """See ``c_visit``."""
    q_range_floor: Live[Convolutional[float]] = Field(default=2.0, gt=0.0)
    """Q is scaled by its range at the node, but by no less than this, so that noise stays noise."""
