"""What is measured and where it goes."""

from __future__ import annotations

from pydantic import Field

from alphatriangle.config.base import Section


class StatsConfig(Section):
    """Aggregation interval and sinks."""

    log_freq_steps: int = Field(default=10, ge=1)
    """Training steps over which events are aggregated into one point of a curve."""
    evaluation_games: int = Field(default=100, ge=0, le=100_000)
    """Games that the agent plays before and after training; 0 means no evaluation."""
    tensorboard: bool = True
    """Write curves for TensorBoard into the run's folder."""
