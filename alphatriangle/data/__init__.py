"""Persistence of training state: see README.md for the promises and the layout."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from alphatriangle.data.commits.digest import state_digest
    from alphatriangle.data.data_manager import DataManager
    from alphatriangle.data.errors import DataError
    from alphatriangle.data.path_manager import PathManager
    from alphatriangle.data.schemas import BufferData, CheckpointData, LoadedTrainingState
    from alphatriangle.data.serializer import Serializer

__all__ = [
    "BufferData",
    "CheckpointData",
    "DataError",
    "DataManager",
    "LoadedTrainingState",
    "PathManager",
    "Serializer",
    "state_digest",
]

_HOMES: Final = {
    "BufferData": "schemas",
    "CheckpointData": "schemas",
    "DataError": "errors",
    "DataManager": "data_manager",
    "LoadedTrainingState": "schemas",
    "PathManager": "path_manager",
    "Serializer": "serializer",
    "state_digest": "commits.digest",
}


def __getattr__(name: str) -> Any:
    # On first use, so that whoever needs only an error or a path does not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
