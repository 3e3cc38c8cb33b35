"""AlphaTriangle: an AlphaZero-style trainer whose training state is never lost."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from alphatriangle.data.replay.codecs import register_codec
from alphatriangle.utils.environment import prepare_environment

if TYPE_CHECKING:
    from alphatriangle.api import evaluate, load_run, train
    from alphatriangle.config import Config, ConfigError
    from alphatriangle.data import (
        BufferData,
        CheckpointData,
        DataError,
        DataManager,
        LoadedTrainingState,
        PathManager,
        Serializer,
    )
    from alphatriangle.game import GameState

__version__ = "0.1.0"

__all__ = [
    "BufferData",
    "CheckpointData",
    "Config",
    "ConfigError",
    "DataError",
    "DataManager",
    "GameState",
    "LoadedTrainingState",
    "PathManager",
    "Serializer",
    "evaluate",
    "load_run",
    "train",
]

_HOMES: Final = {
    "Config": "config",
    "ConfigError": "config",
    "GameState": "game",
    "evaluate": "api",
    "load_run": "api",
    "train": "api",
}

prepare_environment()
# Files of replay rows name their codec; where the puzzle's is, only the program knows.
register_codec("alphatriangle", "alphatriangle.features.replay_codec:CODEC")


def __getattr__(name: str) -> Any:
    # On first use: the import of the package itself takes no time.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'data')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
