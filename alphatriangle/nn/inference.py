"""The network as it is evaluated: batch norm folded away, and where there is, convolutions fused.

Built anew from the training network whenever the weights change; equal to it in ``eval`` mode up to
rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from alphatriangle.game.geometry import ACTIONS, CELLS, COLS, ROWS, SLOTS
from alphatriangle.nn.model import AlphaTriangleNet, ResidualBlock


class UnsetConv2d(nn.Conv2d):
    """A convolution whose maker sets its weights: initial ones would be drawn for nothing, and from
    torch's global generator, on which training depends."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class UnsetLinear(nn.Linear):
    """Likewise."""

    def reset_parameters(self) -> None:
        """Draw nothing."""


class InferenceNet(nn.Module):
    """The same function with every batch norm folded into its convolution."""

    def __init__(self, net: AlphaTriangleNet) -> None:
        super().__init__()
        self.stem = _folded(net.stem, net.stem_norm)
        scale = net.stem_norm.weight / torch.sqrt(_variance(net.stem_norm) + net.stem_norm.eps)
        self.vector = UnsetLinear(net.vector.in_features, net.vector.out_features)
        self.vector.weight = nn.Parameter(net.vector.weight * scale[:, None])
        self.vector.bias = nn.Parameter(net.vector.bias * scale)
        self.convs = nn.ModuleList()
        for block in net.blocks:
            assert isinstance(block, ResidualBlock)
            self.convs.append(_folded(block.conv1, block.norm1))
            self.convs.append(_folded(block.conv2, block.norm2))
        self.policy_head = _copied_conv(net.policy_head)
        self.value_planes = _copied_conv(net.value_planes)
        self.value_hidden = _copied_linear(net.value_hidden)
        self.value_head = _copied_linear(net.value_head)

    def forward(
        self, grid: torch.Tensor, other_features: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`AlphaTriangleNet.forward`."""
        x = self.trunk(self.enter(grid, other_features))
        policy = self.policy_head(x).reshape(-1, ACTIONS)
        planes = F.relu(self.value_planes(x)).flatten(1)
        hidden = torch.cat([planes, x.mean(dim=(2, 3)), other_features], dim=1)
        return policy, self.value_head(F.relu(self.value_hidden(hidden)).float())

    def enter(self, grid: torch.Tensor, other_features: torch.Tensor) -> torch.Tensor:
        """The trunk's input [B, C, 8, 15]."""
        return F.relu(self.stem(grid) + self.vector(other_features)[:, :, None, None])

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """The residual blocks: [B, C, 8, 15] -> [B, C, 8, 15]."""
        for i in range(0, len(self.convs), 2):
            x = F.relu(x + self.convs[i + 1](F.relu(self.convs[i](x))))
        return x

    def with_precision(self, device: torch.device, dtype: torch.dtype) -> InferenceNet:
        """This network on a device, in an arithmetic; the value's logits stay in float32."""
        self.to(device, dtype)
        self.value_head.float()
        return self


class FusedNet:
    """:class:`InferenceNet` on a CPU, with biases, sums and rectifiers inside the convolutions.

    They are oneDNN's, reached through operators that torch keeps for its own compiler: see
    :func:`can_fuse`.
    """

    def __init__(self, net: InferenceNet) -> None:
        self._net = net
        self._stem = _packed(net.stem)
        self._pack([conv for conv in net.convs if isinstance(conv, nn.Conv2d)])
        # Both 1x1 convolutions as one product of matrices over all cells.
        heads = (net.policy_head, net.value_planes)
        self._head_weight = torch.cat([h.weight for h in heads]).detach()[:, :, 0, 0].t()
        self._head_bias = torch.cat([bias_of(h) for h in heads]).detach()

    def __call__(
        self, grid: torch.Tensor, other_features: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`AlphaTriangleNet.forward`; ``grid`` is channels_last."""
        net, batch = self._net, len(grid)
        x = net.vector(other_features)[:, :, None, None].expand(-1, -1, ROWS, COLS)
        x = x.contiguous(memory_format=torch.channels_last)
        _add_conv_relu(x, grid, self._stem)
        x = self._trunk(x)
        cells = x.permute(0, 2, 3, 1).reshape(batch * CELLS, -1)
        heads = torch.addmm(self._head_bias, cells, self._head_weight).view(batch, CELLS, -1)
        policy = heads[:, :, :SLOTS].transpose(1, 2).reshape(batch, ACTIONS)
        planes = F.relu(heads[:, :, SLOTS:]).transpose(1, 2).reshape(batch, -1)
        hidden = torch.cat([planes, x.mean(dim=(2, 3)), other_features], dim=1)
        return policy, net.value_head(F.relu(net.value_hidden(hidden)).float())

    def _pack(self, convs: Sequence[nn.Conv2d]) -> None:
        self._convs = [_packed(conv) for conv in convs]

    def _trunk(self, x: torch.Tensor) -> torch.Tensor:
        for i in range(0, len(self._convs), 2):
            _add_conv_relu(x, _conv_relu(x, self._convs[i]), self._convs[i + 1])
        return x


_Packed = tuple[torch.Tensor, torch.Tensor]
_SAME = (1, 1)


def _packed(conv: nn.Conv2d) -> _Packed:
    """Weights in the layout that oneDNN computes with, and the bias."""
    shape = [128, conv.in_channels, ROWS, COLS]
    pack: Any = torch.ops.mkldnn._reorder_convolution_weight
    weight: torch.Tensor = pack(conv.weight.detach(), _SAME, _SAME, _SAME, 1, shape)
    return weight, bias_of(conv).detach()


def bias_of(conv: nn.Conv2d) -> torch.Tensor:
    """The bias of a convolution that has one."""
    assert conv.bias is not None
    return conv.bias


def _conv_relu(x: torch.Tensor, packed: _Packed) -> torch.Tensor:
    fused: Any = torch.ops.mkldnn._convolution_pointwise
    result: torch.Tensor = fused(x, *packed, _SAME, _SAME, _SAME, 1, "relu", [], "")
    return result


def _add_conv_relu(total: torch.Tensor, x: torch.Tensor, packed: _Packed) -> None:
    """total = relu(total + conv(x)), in place."""
    fused: Any = torch.ops.mkldnn._convolution_pointwise_.binary
    fused(total, x, *packed, _SAME, _SAME, _SAME, 1, "add", 1.0, "relu", [], "")


def _has_onednn() -> bool:
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there


@torch.inference_mode()
def can_fuse(net: InferenceNet, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch has the fused operators, and they compute what ``net`` does.

    They are no public interface: what they do is looked at, on a few random positions, each time a
    network is made.
    """
    if device.type != "cpu" or not _has_onednn():
        return False
    generator = torch.Generator().manual_seed(0)
    grid = torch.rand(5, net.stem.in_channels, ROWS, COLS, generator=generator)
    grid = grid.to(dtype, memory_format=torch.channels_last)
    other = torch.rand(5, net.vector.in_features, generator=generator).to(dtype)
    try:
        fused = FusedNet(net)(grid, other)
    except (AttributeError, RuntimeError, TypeError):
        return False
    rough = 0.1 if dtype == torch.bfloat16 else 1e-3
    return all(
        torch.allclose(a.float(), b.float(), rtol=rough, atol=rough * float(b.abs().max() + 1))
        for a, b in zip(fused, net(grid, other), strict=True)
    )


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    folded = UnsetConv2d(conv.in_channels, conv.out_channels, 3, padding=1)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded.weight = nn.Parameter(conv.weight * scale[:, None, None, None])
    folded.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
    return folded


def _variance(norm: nn.BatchNorm2d) -> torch.Tensor:
    assert norm.running_var is not None
    return norm.running_var


def _copied_conv(conv: nn.Conv2d) -> nn.Conv2d:
    copied = UnsetConv2d(conv.in_channels, conv.out_channels, 1)
    copied.load_state_dict(conv.state_dict())
    return copied


def _copied_linear(linear: nn.Linear) -> nn.Linear:
    copied = UnsetLinear(linear.in_features, linear.out_features)
    copied.load_state_dict(linear.state_dict())
    return copied
