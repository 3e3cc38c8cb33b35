"""Persistence of training state: see README.md for the promises and the layout."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from alphatriangle.data.commits.digest import state_digest
    from alphatriangle.data.data_manager import DataManager
    from alphatriangle.data.errors import DataError
    from alphatriangle.data.path_manager import PathManager
    from alphatriangle.data.saver import Saver
    from alphatriangle.data.schemas import BufferData, CheckpointData, LoadedTrainingState
    from alphatriangle.data.serializer import Serializer
    from alphatriangle.utils.ring import Ring

__all__ = [
    "BufferData",
    "CheckpointData",
    "DataError",
    "DataManager",
    "LoadedTrainingState",
    "PathManager",
    "Ring",
    "Saver",
    "Serializer",
    "state_digest",
]

_HOMES: Final = {
    "BufferData": "alphatriangle.data.schemas",
    "CheckpointData": "alphatriangle.data.schemas",
    "DataError": "alphatriangle.data.errors",
    "DataManager": "alphatriangle.data.data_manager",
    "LoadedTrainingState": "alphatriangle.data.schemas",
    "PathManager": "alphatriangle.data.path_manager",
    "Ring": "alphatriangle.utils.ring",
    "Saver": "alphatriangle.data.saver",
    "Serializer": "alphatriangle.data.serializer",
    "state_digest": "alphatriangle.data.commits.digest",
}


def __getattr__(name: str) -> Any:
    # On first use, so that whoever needs only an error or a path does not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
