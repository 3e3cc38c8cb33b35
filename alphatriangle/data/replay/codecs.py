"""Between the columns that a replay has in memory and those of its files.

Most are the same. A replay that pads lists in memory, or computes what it could store, gives its
codec a name: with :func:`register_codec` before anything of it is saved or loaded. Files say the
name and nothing else, so that no file chooses what code runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from alphatriangle.data.errors import UnknownCodecError

if TYPE_CHECKING:
    import numpy.typing as npt

    from alphatriangle.data.replay.arrow import Stored
    from alphatriangle.utils.columns import Columns

PLAIN: Final = ""
"""The name of the codec that changes nothing."""


class Codec(Protocol):
    """Columns to stored columns and back, exactly."""

    @property
    def no_rows(self) -> Columns:
        """The columns of a replay without rows, as far as they are known."""

    def encode(self, columns: Columns) -> Stored:
        """What is written for these rows."""

    def decode(self, stored: Stored) -> dict[str, npt.NDArray[Any]]:
        """The rows that were encoded.

        Raises:
            ValueError: no rows are written so.
        """

    def items(self, columns: Columns) -> Iterator[Any]:
        """The rows one by one, as those who work with single rows want them."""


class PlainCodec:
    """Stores columns as they are; a single row is a dictionary."""

    no_rows: Final[Columns] = {}

    def encode(self, columns: Columns) -> Stored:
        """The same."""
        return columns

    def decode(self, stored: Stored) -> dict[str, npt.NDArray[Any]]:
        """The same.

        Raises:
            ValueError: a column holds lists.
        """
        for name, column in stored.items():
            if isinstance(column, tuple):
                raise ValueError(f"column {name!r} holds lists, which only a codec reads")
        return dict(stored)  # type: ignore[arg-type]

    def items(self, columns: Columns) -> Iterator[dict[str, Any]]:
        """Name -> value or array."""
        for i in range(len(next(iter(columns.values()), ()))):
            yield {name: array[i] for name, array in columns.items()}


_known: dict[str, Codec | str] = {PLAIN: PlainCodec()}


def register_codec(name: str, codec: Codec | str) -> None:
    """Make a codec known under the name that files give it.

    A ``module:attribute`` is imported when it is needed first.
    """
    _known[name] = codec


def codec_named(name: str) -> Codec:
    """The codec of that name.

    Raises:
        UnknownCodecError: nobody has registered one.
    """
    codec = _known.get(name)
    if codec is None:
        raise UnknownCodecError(
            f"rows are coded by {name!r}, which is not known here: import the program that "
            "registers it (alphatriangle.data.replay.codecs.register_codec) first"
        )
    if isinstance(codec, str):
        module, _, attribute = codec.partition(":")
        codec = _known[name] = getattr(importlib.import_module(module), attribute)
    return codec
