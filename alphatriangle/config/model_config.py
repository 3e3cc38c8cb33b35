"""The network: its kind, sizes and arithmetic."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from alphatriangle.config.base import Convolutional, Fixed, Live, Section


class ModelConfig(Section):
    """The network. What is said of channels, blocks, values and arithmetic is for the convolutional
    kind; the section ``ntuple`` has what is for the other."""

    kind: Fixed[Literal["convolutional", "ntuple"]] = "convolutional"
    """convolutional: a residual network, learned from batches of a replay, for GPUs. ntuple: an
    n-tuple network, tables of what patches of the board are worth, learned online, for CPUs."""
    conv_channels: Fixed[Convolutional[int]] = Field(default=64, ge=4, le=1024)
    """Channels of every convolution of the trunk."""
    num_residual_blocks: Fixed[Convolutional[int]] = Field(default=4, ge=0, le=100)
    """Residual blocks after the first convolution."""
    value_hidden: Fixed[Convolutional[int]] = Field(default=128, ge=4, le=4096)
    """Width of the value head's hidden layer."""
    num_value_atoms: Fixed[Convolutional[int]] = Field(default=101, ge=2, le=1001)
    """Atoms of the categorical value distribution (C51)."""
    value_min: Fixed[Convolutional[float]] = 0.0
    """Lowest value of the support; no return is negative."""
    value_max: Fixed[Convolutional[float]] = 60.0
    """Highest value of the support; returns reach about 1.1 / (1 - gamma)."""
    inference_dtype: Live[Convolutional[Literal["auto", "float32", "bfloat16", "int8"]]] = "auto"
    """Arithmetic of self-play and evaluation; ``auto`` is decided once by capability and kept.
    int8 is for the trunk's convolutions; what is around them stays in float32."""
    fused_inference: Live[Convolutional[Literal["auto", "off"]]] = "auto"
    """Fused convolutions for self-play and evaluation on a CPU; ``auto`` uses them where torch has
    them and they compute the same. Kept like the arithmetic. int8 without them is simulated."""

    @model_validator(mode="after")
    def _support_is_an_interval(self) -> Self:
        if self.value_min >= self.value_max:
            raise ValueError(f"value_min {self.value_min} is not below value_max {self.value_max}")
        return self
