"""``python -m alphatriangle.ntuple.generate`` writes the module ``placements``.

Counting the placements of all shapes is half the work of an evaluation in a loop and a fifth of it
written out: shapes share the shifted words of the free cells, and all masks are constants.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alphatriangle.game.geometry import ANCHORS, NUM_SHAPES, PLAYABLE, SHAPE_OFFSETS, SHAPE_SIZE
from alphatriangle.ntuple.layout import COUNTS

PATH: Final = Path(__file__).with_name("placements.py")

_HEAD: Final = '''"""How many placements each shape has on a board. Generated; see ``generate``."""

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
'''


def _hex(word: int) -> str:
    return f"0x{word:X}"


def _shifted() -> list[str]:
    """Lines that shift the free cells so that a shape fits where the words of its cells are set."""
    lines = [f"l0 = ~lo & _U({_hex(PLAYABLE[0])})", f"h0 = ~hi & _U({_hex(PLAYABLE[1])})"]
    for d in sorted(set(SHAPE_OFFSETS.ravel().tolist()) - {0}):
        lines += [f"l{d} = (l0 >> _U({d})) | (h0 << _U({64 - d}))", f"h{d} = h0 >> _U({d})"]
    return lines


def _anchors(shape: int) -> list[str]:
    """Lines that leave the shape's anchors in ``a`` and ``b``."""
    offsets = SHAPE_OFFSETS[shape, : SHAPE_SIZE[shape]].tolist()
    words = [" & ".join(f"{word}{d}" for d in offsets) for word in "lh"]
    return [
        f"{name} = {word} & _U({_hex(anchors)})"
        for name, word, anchors in zip("ab", words, ANCHORS[shape], strict=True)
    ]


def source() -> str:
    """The text of the module."""
    lines = [*_shifted(), "t0 = t1 = np.float32(0)"]
    for shape in range(NUM_SHAPES):
        both = "_U(popcount(a) + popcount(b))"
        lines += [*_anchors(shape), f"t{shape % 2} += weights[_U({shape * COUNTS}) + {both}]"]
    lines.append("return t0 + t1")
    return _HEAD + "".join(f"    {line}\n" for line in lines)


if __name__ == "__main__":
    PATH.write_text(source())
