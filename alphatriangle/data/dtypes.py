"""NumPy dtypes in plain words: what a file may ask for, and whether a dtype is what numpy makes.

A file can set fields, offsets and flags on a dtype as it likes, and an array of such a dtype reads
memory that is not its own. So no dtype is taken from a file unless numpy, asked for the same in
plain words, makes the same.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

NUMERIC: Final = "biufc"
_SIMPLE: Final = re.compile(r"[<>|=][biufcUSVmM]\d{1,9}(\[\d{0,9}[A-Za-zμ]{1,2}\])?")

_COMPARED: Final = ("str", "itemsize", "flags", "alignment", "hasobject", "names", "fields")


def described(dtype: np.dtype[Any]) -> Any:
    """``dtype`` as a string, or nested tuples and lists of plain values: see :func:`made`.

    Raises:
        TypeError: it holds objects, or is no dtype of numpy's own.
    """
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return ("array", described(base), shape)
    if dtype.fields is not None:
        if any(len(entry) > 2 for entry in dtype.fields.values()):
            raise TypeError("its fields have titles")
        fields = [(n, described(dtype.fields[n][0]), dtype.fields[n][1]) for n in dtype.names or ()]
        return ("fields", fields, dtype.itemsize, dtype.isalignedstruct)
    if not _SIMPLE.fullmatch(dtype.str) or np.dtype(dtype.str).type is not dtype.type:
        raise TypeError(f"its dtype is {dtype}")
    return dtype.str


def made(description: object) -> np.dtype[Any]:
    """The dtype that :func:`described` so.

    Raises:
        ValueError: there is none.
    """
    match description:
        case str(name) if _SIMPLE.fullmatch(name):
            return np.dtype(name)
        case ("array", base, tuple(shape)) if all(type(n) is int for n in shape):
            return np.dtype((made(base), shape))
        case ("fields", list(fields), int(itemsize), bool(aligned)):
            names, bases, offsets = zip(*fields, strict=True) if fields else ((), (), ())
            return np.dtype(
                {
                    "names": list(names),
                    "formats": [made(base) for base in bases],
                    "offsets": list(offsets),
                    "itemsize": itemsize,
                },
                align=aligned,
            )
    raise ValueError("no dtype of numbers, strings or times, or fields of them")


def is_sound(dtype: np.dtype[Any]) -> bool:
    """Whether numpy makes the same dtype of the same words, and of those of its parts."""
    try:
        same = made(described(dtype))
    except (TypeError, ValueError):
        return False
    parts = [] if dtype.fields is None else [entry[0] for entry in dtype.fields.values()]
    parts += [] if dtype.subdtype is None else [dtype.base]
    return all(getattr(dtype, name) == getattr(same, name) for name in _COMPARED) and all(
        is_sound(part) for part in parts
    )
