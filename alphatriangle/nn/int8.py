"""The trunk's convolutions in 8-bit integers: twice bfloat16's rate where the CPU has VNNI or AMX.

Post-training static quantisation (Jacob et al., 2018, sections 2 and 3): weights symmetric with a
scale for each output channel, activations unsigned (they come out of rectifiers) with one scale for
each layer. Everything outside the trunk stays in float32. A value is off by about as much as in
bfloat16, whose 8 significant bits it shares.

The scales are a function of the weights alone: of the largest activations on a fixed set of
positions. So the same weights play the same games in every process and after every resume.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from alphatriangle.features import encode
from alphatriangle.game import GameState
from alphatriangle.game.geometry import COLS, ROWS
from alphatriangle.nn.inference import FusedNet, InferenceNet, UnsetConv2d, bias_of
from alphatriangle.nn.model import AlphaTriangleNet

_SEED: Final = 8
_POSITIONS: Final = 32
_EVERY: Final = 3
_HEADROOM: Final = 1.25
"""Activations may exceed the largest on the fixed positions by this factor before they are cut."""
_STEPS: Final = 255
_SAME: Final = (1, 1)


@functools.cache
def _positions() -> tuple[torch.Tensor, torch.Tensor]:
    """Network input of some positions of random games, empty boards to full ones."""
    rng = np.random.default_rng(_SEED)
    boards: list[npt.NDArray[np.uint64]] = []
    slots: list[npt.NDArray[np.int8]] = []
    episode = moves = 0
    while len(boards) < _POSITIONS:
        game = GameState(_SEED, episode)
        while len(legal := game.legal_actions()) > 0:
            if moves % _EVERY == 0:
                boards.append(game.board.copy())
                slots.append(game.slots.copy())
            game.step(int(rng.choice(legal)))
            moves += 1
        episode += 1
    grid, other = encode(np.array(boards[:_POSITIONS]), np.array(slots[:_POSITIONS]))
    return torch.from_numpy(grid), torch.from_numpy(other)


@torch.inference_mode()
def activation_scales(net: InferenceNet) -> list[float]:
    """What one step of 255 is worth: in the trunk's input, then in every convolution's output."""
    weight = net.stem.weight
    grid, other = (x.to(weight.device) for x in _positions())
    x = net.enter(grid.contiguous(memory_format=torch.channels_last), other)
    largest = [x.max()]
    for i in range(0, len(net.convs), 2):
        y = F.relu(net.convs[i](x))
        x = F.relu(x + net.convs[i + 1](y))
        largest += [y.max(), x.max()]
    return [max(float(m) * _HEADROOM / _STEPS, 1e-6) for m in largest]


def _quantised(conv: nn.Conv2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights as integers of -127 to 127, and what one step is worth in each output channel."""
    weight = conv.weight.detach().float()
    scales = weight.abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / 127
    return (weight / scales[:, None, None, None]).round().to(torch.int8), scales


class SimulatedInt8Net(InferenceNet):
    """What :class:`Int8Net` computes, in float32 on any device: its fallback and its reference."""

    def __init__(self, net: AlphaTriangleNet) -> None:
        super().__init__(net)
        self.scales = activation_scales(self)
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            weight, scales = _quantised(conv)
            conv.weight = nn.Parameter(weight * scales[:, None, None, None])

    def trunk(self, x: torch.Tensor) -> torch.Tensor:
        """As :meth:`InferenceNet.trunk`, rounded after every convolution."""
        x = self._rounded(x, 0)
        for i in range(0, len(self.convs), 2):
            y = self._rounded(F.relu(self.convs[i](x)), i + 1)
            x = self._rounded(F.relu(x + self.convs[i + 1](y)), i + 2)
        return x

    def _rounded(self, x: torch.Tensor, layer: int) -> torch.Tensor:
        return torch.fake_quantize_per_tensor_affine(x, self.scales[layer], 0, 0, _STEPS)


class Int8Net(FusedNet):
    """:class:`InferenceNet` on a CPU with the trunk in integers; oneDNN's operators, as there."""

    def __init__(self, net: InferenceNet) -> None:
        self.scales = activation_scales(net)
        super().__init__(net)

    def _pack(self, convs: Sequence[nn.Conv2d]) -> None:
        self._convs8 = [
            _Convolution(conv, self.scales[i], self.scales[i + 1]) for i, conv in enumerate(convs)
        ]

    def _trunk(self, x: torch.Tensor) -> torch.Tensor:
        x = x.mul_(1.0 / self.scales[0]).round_().clamp_(max=_STEPS)
        x = x.to(torch.int32).to(torch.uint8)  # torch does two fast steps in half the time of one
        for i in range(0, len(self._convs8), 2):
            y = self._convs8[i].relu(x)
            x = self._convs8[i + 1].add_relu(x, self.scales[i], y)
        return x.to(torch.float32).mul_(self.scales[-1])


class _Convolution:
    """A 3x3 convolution from unsigned 8-bit integers to such, weights in oneDNN's layout."""

    def __init__(self, conv: nn.Conv2d, scale_in: float, scale_out: float) -> None:
        weight, scales = _quantised(conv)
        shape = [128, conv.in_channels, ROWS, COLS]
        pack: Any = torch.ops.onednn.qconv_prepack
        packed = pack(weight, scales, scale_in, 0, _SAME, _SAME, _SAME, 1, shape)
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        self._weights = (scale_in, 0, packed, scales, zeros)
        self._bias = bias_of(conv).detach().float()
        self._geometry = (_SAME, _SAME, _SAME, 1)
        self._out = (scale_out, 0, torch.uint8)

    def relu(self, x: torch.Tensor) -> torch.Tensor:
        """relu(conv(x))."""
        run: Any = torch.ops.onednn.qconv2d_pointwise
        result: torch.Tensor = run(
            x, *self._weights, self._bias, *self._geometry, *self._out, "relu", [], ""
        )
        return result

    def add_relu(self, total: torch.Tensor, scale: float, x: torch.Tensor) -> torch.Tensor:
        """relu(total + conv(x)); a step of ``total`` is worth ``scale``."""
        run: Any = torch.ops.onednn.qconv2d_pointwise.binary
        result: torch.Tensor = run(
            *(x, *self._weights, total, self._bias, *self._geometry, *self._out),
            *(scale, 0, "sum", 1.0, "relu", [], ""),
        )
        return result


@torch.inference_mode()
def can_run_int8(device: torch.device) -> bool:
    """Whether this torch has the integer operators, and they compute what they should here.

    Looked at once in each process, on one convolution with the largest values that there are:
    processors without VNNI add 16-bit products that can overflow.
    """
    return device.type == "cpu" and _integers_are_exact()


@functools.cache
def _integers_are_exact() -> bool:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (3, 16, ROWS, COLS), generator=generator)
    total = torch.randint(0, 256, (3, 16, ROWS, COLS), generator=generator)
    conv = UnsetConv2d(16, 16, 3, padding=1)
    nn.init.zeros_(bias_of(conv))
    weight = torch.randint(-127, 128, conv.weight.shape, generator=generator)
    weight[:, 0, 0, 0] = 127
    conv.weight = nn.Parameter(weight.float())
    scale_in, scale_out = 0.5, 64.0
    exact = F.conv2d(x.double() * scale_in, weight.double(), padding=1)
    expected = (
        (F.relu(exact) / scale_out).round().clamp(max=_STEPS),
        (F.relu(exact + total * 16.0) / scale_out).round().clamp(max=_STEPS),
    )
    try:
        layer = _Convolution(conv, scale_in, scale_out)
        x8, total8 = (
            v.to(torch.uint8).contiguous(memory_format=torch.channels_last) for v in (x, total)
        )
        found = layer.relu(x8), layer.add_relu(total8, 16.0, x8)
    except (AttributeError, RuntimeError, TypeError):
        return False
    # A tie may be rounded either way.
    return all(bool((f - e).abs().max() <= 1) for f, e in zip(found, expected, strict=True))
