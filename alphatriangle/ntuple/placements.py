"""How many placements each shape has on a board. Generated; see ``generate``."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from alphatriangle.game.bits import popcount
from alphatriangle.utils.kernels import inner

_U: Final = np.uint64


@inner
def sum_of_counts(weights: npt.NDArray[np.float32], lo: np.uint64, hi: np.uint64) -> np.float32:
    """The sum of the weights of all numbers of placements; ``weights`` begin with theirs."""
    l0 = ~lo & _U(0xFFFFEFFF8FFE0FF8)
    h0 = ~hi & _U(0x1FF07FF1FFF7FF)
    l1 = (l0 >> _U(1)) | (h0 << _U(63))
    h1 = h0 >> _U(1)
    l2 = (l0 >> _U(2)) | (h0 << _U(62))
    h2 = h0 >> _U(2)
    l13 = (l0 >> _U(13)) | (h0 << _U(51))
    h13 = h0 >> _U(13)
    l14 = (l0 >> _U(14)) | (h0 << _U(50))
    h14 = h0 >> _U(14)
    l15 = (l0 >> _U(15)) | (h0 << _U(49))
    h15 = h0 >> _U(15)
    l16 = (l0 >> _U(16)) | (h0 << _U(48))
    h16 = h0 >> _U(16)
    l17 = (l0 >> _U(17)) | (h0 << _U(47))
    h17 = h0 >> _U(17)
    t0 = t1 = np.float32(0)
    a = l0 & _U(0xAAAAAAAA8AAA0AA8)
    b = h0 & _U(0xAA02AA0AAA2AA)
    t0 += weights[_U(0) + _U(popcount(a) + popcount(b))]
    a = l0 & l15 & _U(0xAAAAAAAA8AAA0AA8)
    b = h0 & h15 & _U(0x2AA0AAA2AA)
    t1 += weights[_U(64) + _U(popcount(a) + popcount(b))]
    a = l0 & _U(0x5555455505540550)
    b = h0 & _U(0x15505551555555)
    t0 += weights[_U(128) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & _U(0xAA02AA0AAA2AA)
    t1 += weights[_U(192) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & _U(0x5555455505540550)
    b = h0 & h1 & _U(0x5501550555155)
    t0 += weights[_U(256) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l2 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h2 & _U(0x2A00AA02AA0AA)
    t1 += weights[_U(320) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l2 & _U(0x5155415501540150)
    b = h0 & h1 & h2 & _U(0x5501550555155)
    t0 += weights[_U(384) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l2 & l15 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h2 & h15 & _U(0xAA02AA0AA)
    t1 += weights[_U(448) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l2 & l17 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h2 & h17 & _U(0xAA02AA0AA)
    t0 += weights[_U(512) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l15 & l16 & _U(0x4555455505540550)
    b = h0 & h1 & h15 & h16 & _U(0x1540554155)
    t1 += weights[_U(576) + _U(popcount(a) + popcount(b))]
    a = l0 & l2 & l15 & l16 & l17 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h2 & h15 & h16 & h17 & _U(0xAA02AA0AA)
    t0 += weights[_U(640) + _U(popcount(a) + popcount(b))]
    a = l0 & l13 & l14 & l15 & _U(0x8AAA8AAA0AA80AA0)
    b = h0 & h13 & h14 & h15 & _U(0x2A80AA82AA)
    t1 += weights[_U(704) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l15 & l16 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h15 & h16 & _U(0xAA02AA0AA)
    t0 += weights[_U(768) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l15 & l16 & l17 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h15 & h16 & h17 & _U(0xAA02AA0AA)
    t1 += weights[_U(832) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l2 & l15 & l16 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h2 & h15 & h16 & _U(0xAA02AA0AA)
    t0 += weights[_U(896) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l2 & l15 & l17 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h2 & h15 & h17 & _U(0xAA02AA0AA)
    t1 += weights[_U(960) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l2 & l16 & l17 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h2 & h16 & h17 & _U(0xAA02AA0AA)
    t0 += weights[_U(1024) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l16 & _U(0x5555455505540550)
    b = h0 & h1 & h16 & _U(0x1550555155)
    t1 += weights[_U(1088) + _U(popcount(a) + popcount(b))]
    a = l0 & l14 & l15 & _U(0x8AAA8AAA8AAA0AA8)
    b = h0 & h14 & h15 & _U(0x2A80AA82AA)
    t0 += weights[_U(1152) + _U(popcount(a) + popcount(b))]
    a = l0 & l15 & l16 & _U(0xA2AAAAAA8AAA0AA8)
    b = h0 & h15 & h16 & _U(0xAA02AA0AA)
    t1 += weights[_U(1216) + _U(popcount(a) + popcount(b))]
    a = l0 & l14 & l15 & l16 & _U(0x82AA8AAA8AAA0AA8)
    b = h0 & h14 & h15 & h16 & _U(0xA802A80AA)
    t0 += weights[_U(1280) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l2 & l16 & _U(0x5155415501540150)
    b = h0 & h1 & h2 & h16 & _U(0x1550555155)
    t1 += weights[_U(1344) + _U(popcount(a) + popcount(b))]
    a = l0 & l1 & l15 & _U(0xA2AAA2AA82AA02A8)
    b = h0 & h1 & h15 & _U(0x2AA0AAA2AA)
    t0 += weights[_U(1408) + _U(popcount(a) + popcount(b))]
    return t0 + t1
