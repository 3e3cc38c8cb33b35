"""Persistence of training state: see README.md for the promises and the layout."""

from alphatriangle.data.data_manager import DataManager
from alphatriangle.data.digest import state_digest
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
