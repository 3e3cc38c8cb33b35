"""The puzzle's rows in files: bit boards as two columns, policies as lists of legal actions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from alphatriangle.features.experience import (
    experiences_from_rows,
    padded_policies,
    ragged_policies,
)
from alphatriangle.game.geometry import SLOTS
from alphatriangle.utils.columns import Column, Columns, Ragged
from alphatriangle.utils.types import Experience, Rows

_DENSE: Final = {
    "board_lo": Column("uint64", ()),
    "board_hi": Column("uint64", ()),
    "slots": Column("int8", (SLOTS,)),
    "n_step_return": Column("float32", ()),
}
_LISTS: Final = {"actions": np.dtype(np.int16), "policy": np.dtype(np.float32)}
_ORDER: Final = ("board_lo", "board_hi", "slots", "actions", "policy", "n_step_return")


class ReplayCodec:
    """:class:`Rows` as stored columns.

    ``board_lo`` and ``board_hi`` (occupied cells 0-63 and 64-119, one bit each), ``slots`` (shape
    indices, -1 empty), ``actions`` and ``policy`` (the legal actions and their probabilities; both
    empty for an afterstate), ``n_step_return``.
    """

    no_rows: Final[Columns] = Rows.zeros(0).columns()

    def encode(self, columns: Columns) -> dict[str, npt.NDArray[Any] | Ragged]:
        """The stored columns of the rows."""
        rows = Rows(**columns)
        offsets, actions, probabilities = ragged_policies(rows)
        return {
            "board_lo": rows.boards[:, 0],
            "board_hi": rows.boards[:, 1],
            "slots": rows.slots,
            "actions": Ragged(offsets, actions),
            "policy": Ragged(offsets, probabilities),
            "n_step_return": rows.returns,
        }

    def decode(self, stored: Mapping[str, npt.NDArray[Any] | Ragged]) -> dict[str, Any]:
        """The rows, bit for bit.

        Raises:
            ValueError: these are not the columns of this game, or a policy is too long.
        """
        policy = stored.get("policy")
        if tuple(stored) != _ORDER or not all(map(_is_right, stored.items())):
            raise ValueError("its columns are not those of this game's rows")
        assert isinstance(policy, Ragged)
        count = len(policy.offsets) - 1
        boards = np.empty((count, 2), np.uint64)
        boards[:, 0] = stored["board_lo"]
        boards[:, 1] = stored["board_hi"]
        policies = padded_policies(*policy)
        return {
            "boards": boards,
            "slots": stored["slots"],
            "policies": policies,
            "returns": stored["n_step_return"],
        }

    def items(self, columns: Columns) -> Iterator[Experience]:
        """See :func:`experiences_from_rows`."""
        return experiences_from_rows(Rows(**columns))


def _is_right(item: tuple[str, npt.NDArray[Any] | Ragged]) -> bool:
    name, column = item
    if isinstance(column, Ragged):
        return _LISTS.get(name) == column.values.dtype
    return _DENSE.get(name) == Column.of(column)


CODEC: Final = ReplayCodec()
