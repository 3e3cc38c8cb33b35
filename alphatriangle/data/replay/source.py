"""What saving needs of a replay, and what a save has of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from alphatriangle.data.replay.segments import RowsKind
from alphatriangle.utils.columns import Columns


class ReplaySource(Protocol):
    """What saving needs of a replay buffer: numbered rows in named columns.

    A row does not change once it has been added and is saved once. Columns that do change
    (priorities) are saved whole each time.
    """

    @property
    def codec_name(self) -> str:
        """How its rows are coded in files; "" as they are: see ``data.replay.codecs``."""

    @property
    def total_added(self) -> int:
        """Rows ever added: the number of the next one."""

    @property
    def oldest(self) -> int:
        """Number of the oldest row still there."""

    def counters(self) -> dict[str, Any]:
        """Everything but columns, with the lineage of the row numbers."""

    def row_views(self, first: int, end: int) -> Sequence[Columns]:
        """The rows numbered [first, end) in order, in pieces, at least one, that may alias what is
        in use."""

    def mutable_views(self) -> Mapping[str, Sequence[npt.NDArray[Any]]]:
        """Columns that change, oldest row first, likewise."""


class RestorableReplay(ReplaySource, Protocol):
    """A replay that can become the one that was saved."""

    def load_state_dict(self, state: Mapping[str, Any], pieces: Iterable[Columns]) -> None:
        """Become the replay of these counters and these rows, in pieces, oldest first.

        Raises:
            ValueError: they do not fit; the message says how.
        """


@dataclass(frozen=True)
class CapturedReplay:
    """Of a replay, what changes and the rows that are in no segment yet."""

    kind: RowsKind
    counters: dict[str, Any]
    mutable: dict[str, npt.NDArray[Any]]
    new_rows: dict[str, npt.NDArray[Any]]
    first_new_row: int
