"""Configuration: frozen pydantic models, one section a file."""

from alphatriangle.config.base import OnResume
from alphatriangle.config.config import (
    Config,
    ConfigError,
    Layer,
    build,
    check,
    kinds,
    merge,
    network_kinds,
    parse_setting,
    read_settings,
)
from alphatriangle.config.env_config import EnvConfig
from alphatriangle.config.environment import from_environment
from alphatriangle.config.model_config import ModelConfig
from alphatriangle.config.ntuple_config import NTupleConfig
from alphatriangle.config.persistence_config import PersistenceConfig
from alphatriangle.config.presets import PRESETS, preset
from alphatriangle.config.search_config import SearchConfig
from alphatriangle.config.stats_config import StatsConfig
from alphatriangle.config.train_config import TrainConfig

__all__ = [
    "PRESETS",
    "Config",
    "ConfigError",
    "EnvConfig",
    "Layer",
    "ModelConfig",
    "NTupleConfig",
    "OnResume",
    "PersistenceConfig",
    "SearchConfig",
    "StatsConfig",
    "TrainConfig",
    "build",
    "check",
    "from_environment",
    "kinds",
    "merge",
    "network_kinds",
    "parse_setting",
    "preset",
    "read_settings",
]
