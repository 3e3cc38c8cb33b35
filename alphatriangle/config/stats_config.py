"""What is measured and where it goes."""

from __future__ import annotations

from pydantic import Field

from alphatriangle.config.base import Section


class StatsConfig(Section):
    """Aggregation interval and sinks."""

    log_freq_steps: int = Field(default=10, ge=1)
    """Training steps over which events are aggregated into one point of a curve."""
    tensorboard: bool = True
    """Write curves for TensorBoard into the run's folder."""
