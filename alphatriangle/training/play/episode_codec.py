"""The books of episodes as a commit has them: exact, and close to what they say in the sense of
information theory.

Workers play their games in lockstep, in the order of their numbers. So the rows that games have
handed out fall slowly from one number to the next; the differences are small, and compress.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_LEVEL: Final = 19
"""Of zstandard; takes a fifth of a second for half a million games."""


def encode(books: dict[str, Any]) -> dict[str, Any]:
    """For a commit.

    Args:
        books: ``first`` and ``count``, the window of episode numbers; ``open`` and ``has_rows``,
            one bit each for every number in it, packed; ``rows``, of those that have any, how many.
    """
    is_open = np.unpackbits(books["open"], count=books["count"]).astype(np.bool_)
    has_rows = np.unpackbits(books["has_rows"], count=books["count"])
    steps = np.diff(books["rows"].astype(np.int32), prepend=np.int32(0))
    zigzag = ((steps << 1) ^ (steps >> 31)).astype(np.uint32)
    planes = [(zigzag >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)]
    return {
        "first": books["first"],
        "count": books["count"],
        # Only what is open can have handed out rows.
        "packed": [_pack(books["open"]), _pack(np.packbits(has_rows[is_open])), _pack_all(planes)],
    }


def decode(state: dict[str, Any]) -> dict[str, Any]:
    """What :func:`encode` was given; states of before it are that already.

    Raises:
        ValueError: it is not what :func:`encode` returns.
    """
    if "packed" not in state:
        return state
    packed_open, packed_rows, planes = state["packed"]
    count = int(state["count"])
    is_open = _unpack(packed_open, (count + 7) // 8)
    which = np.flatnonzero(np.unpackbits(is_open, count=count))
    begun = np.unpackbits(_unpack(packed_rows, (len(which) + 7) // 8), count=len(which))
    has_rows = np.zeros(count, np.uint8)
    has_rows[which] = begun
    parts = _unpack(planes, 3 * int(begun.sum())).reshape(3, -1).astype(np.int64)
    zigzag = parts[0] | parts[1] << 8 | parts[2] << 16
    rows = np.cumsum((zigzag >> 1) ^ -(zigzag & 1))
    if rows.min(initial=0) < 0 or rows.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError("the books of episodes have impossible numbers of rows")
    return {
        "first": state["first"],
        "count": count,
        "open": is_open,
        "has_rows": np.packbits(has_rows),
        "rows": rows.astype(np.uint16),
    }


def _pack_all(planes: list[npt.NDArray[np.uint8]]) -> bytes:
    return _pack(np.concatenate(planes))


def _pack(array: npt.NDArray[np.uint8]) -> bytes:
    import pyarrow as pa

    packed: bytes = pa.Codec("zstd", _LEVEL).compress(array.tobytes(), asbytes=True)
    return packed


def _unpack(packed: bytes, size: int) -> npt.NDArray[np.uint8]:
    import pyarrow as pa

    try:
        plain = pa.Codec("zstd").decompress(packed, decompressed_size=size, asbytes=True)
    except (OSError, pa.ArrowException) as e:
        raise ValueError(f"the books of episodes cannot be unpacked: {e}") from e
    if len(plain) != size:
        raise ValueError("the books of episodes are of another length than they say")
    return np.frombuffer(plain, np.uint8)
