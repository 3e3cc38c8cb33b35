"""What is measured and where it goes."""

from __future__ import annotations

from pydantic import Field

from alphatriangle.config.base import Irrelevant, Live, Section


class StatsConfig(Section):
    """Aggregation interval and sinks."""

    log_freq_steps: Irrelevant[int] = Field(default=10, ge=1)
    """Training steps over which events are aggregated into one point of a curve."""
    evaluation_games: Live[int] = Field(default=100, ge=0, le=100_000)
    """Games that the agents before and after training play when the run is complete; 0 means no
    evaluation."""
    evaluation_precision: Live[float] = Field(default=0.0, ge=0.0, le=1.0)
    """They play fewer, once the 95% interval of the mean is within this share of it; 0 plays
    all."""
    gate_games: Live[int] = Field(default=64, ge=0, le=100_000)
    """Games by which a checkpoint shows that it is better than the best; 0 means that none is
    marked as the best."""
    gate_simulations: Live[int | None] = Field(default=None, ge=0, le=10_000_000)
    """Simulations in those games, a move or a deal; none means as many as the agent plays with, and
    so does 0 for a convolutional network, which needs some. An n-tuple network then plans alone."""
    gate_freq_steps: Live[int] = Field(default=1000, ge=1)
    """Training steps between two such candidates; they are taken from those that are saved."""
    tensorboard: Irrelevant[bool] = True
    """Write curves for TensorBoard into the run's folder."""
