"""``AlphaTriangleNet``: a small residual network with a policy head and a categorical value head.

Residual trunk as in AlphaGo Zero (Silver et al., 2017); the value is a distribution over fixed
atoms (C51, Bellemare et al., 2017), whose logits are float32 in any arithmetic: they span a hundred
and more, which bfloat16 rounds to halves. The feature vector enters after the first convolution as
a bias per channel, and again in the value head.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from alphatriangle.config import ModelConfig
from alphatriangle.features import OTHER_FEATURES, PLANES
from alphatriangle.game.geometry import ACTIONS, CELLS, SLOTS

VALUE_PLANES: Final = 4
"""Planes of the trunk's summary that the value head sees cell by cell."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, C, 8, 15] -> [B, C, 8, 15]."""
        y = F.relu_(self.norm1(self.conv1(x)))
        return F.relu_(self.norm2(self.conv2(y)).add_(x))


class AlphaTriangleNet(nn.Module):
    """Policy logits over all actions and value logits over the atoms."""

    support: torch.Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        channels = config.conv_channels
        self.stem = nn.Conv2d(PLANES, channels, 3, padding=1, bias=False)
        self.vector = nn.Linear(OTHER_FEATURES, channels)
        self.stem_norm = nn.BatchNorm2d(channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels) for _ in range(config.num_residual_blocks)
        )
        self.policy_head = nn.Conv2d(channels, SLOTS, 1)
        self.value_planes = nn.Conv2d(channels, VALUE_PLANES, 1)
        inputs = VALUE_PLANES * CELLS + channels + OTHER_FEATURES
        self.value_hidden = nn.Linear(inputs, config.value_hidden)
        self.value_head = nn.Linear(config.value_hidden, config.num_value_atoms)
        # Start from "all actions alike, lowest values likeliest": returns are near 0 at first.
        nn.init.zeros_(self.policy_head.weight)
        nn.init.zeros_(self.value_head.weight)
        atoms = torch.linspace(config.value_min, config.value_max, config.num_value_atoms)
        self.register_buffer("support", atoms, persistent=False)
        with torch.no_grad():
            self.value_head.bias.copy_(-(atoms - atoms[0]))

    def forward(
        self, grid: torch.Tensor, other_features: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """grid [B, 9, 8, 15], other_features [B, 92] -> policy [B, 360], value logits [B, K]."""
        x = self.stem(grid).add_(self.vector(other_features)[:, :, None, None])
        x = F.relu_(self.stem_norm(x))
        for block in self.blocks:
            x = block(x)
        # Slots x rows x columns is exactly the order of the actions.
        heads = self._heads(x)
        policy = heads[:, :SLOTS].reshape(-1, ACTIONS)
        planes = F.relu(heads[:, SLOTS:]).flatten(1)
        hidden = torch.cat([planes, x.mean(dim=(2, 3)), other_features], dim=1)
        hidden = F.relu(self.value_hidden(hidden)).float()
        with torch.autocast(x.device.type, enabled=False):
            return policy, self.value_head(hidden)

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        """Both 1x1 convolutions as one, which reads the trunk once: [B, C, 8, 15] ->
        [B, SLOTS + VALUE_PLANES, 8, 15]."""
        heads = (self.policy_head, self.value_planes)
        biases = [head.bias for head in heads if head.bias is not None]
        return F.conv2d(x, torch.cat([head.weight for head in heads]), torch.cat(biases))

    def expected_value(self, value_logits: torch.Tensor) -> torch.Tensor:
        """[B, K] logits -> [B] expectation over the atoms, in float32."""
        return (torch.softmax(value_logits.float(), dim=1) * self.support).sum(dim=1)
