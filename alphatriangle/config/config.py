"""The whole configuration and where it comes from."""

from __future__ import annotations

import difflib
import json
import tomllib
import types
from pathlib import Path
from typing import Any, Final, Self, Union, get_args, get_origin

from pydantic import Field, ValidationError, model_validator

from alphatriangle.config.base import OnResume, Section, on_resume, only_for
from alphatriangle.config.env_config import EnvConfig
from alphatriangle.config.model_config import ModelConfig
from alphatriangle.config.ntuple_config import NTupleConfig
from alphatriangle.config.persistence_config import PersistenceConfig
from alphatriangle.config.search_config import MOST_SIMULATIONS, SearchConfig
from alphatriangle.config.stats_config import StatsConfig
from alphatriangle.config.train_config import TrainConfig

MOST_COPIES: Final = 64
"""Of an n-tuple network's tables, that learn at the same time: see ``docs/learning.md``."""

Layer = dict[str, dict[str, Any]]
"""Settings of some fields: section -> field -> value."""


class ConfigError(ValueError):
    """A configuration cannot be used; the message names the key, the value and the bound."""


class Config(Section):
    """All sections."""

    train: TrainConfig = Field(default_factory=TrainConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    ntuple: NTupleConfig = Field(default_factory=NTupleConfig)
    search: SearchConfig = Field(default_factory=SearchConfig)
    env: EnvConfig = Field(default_factory=EnvConfig)
    persistence: PersistenceConfig = Field(default_factory=PersistenceConfig)
    stats: StatsConfig = Field(default_factory=StatsConfig)

    @model_validator(mode="after")
    def _copies_agree(self) -> Self:
        if self.model.kind == "ntuple" and self.train.num_workers > MOST_COPIES:
            raise ValueError(
                f"train.num_workers {self.train.num_workers}: at most {MOST_COPIES} copies of an "
                "n-tuple network's tables learn at once, and from 8 on more bring little"
            )
        return self

    @model_validator(mode="after")
    def _kind_can_think_so_long(self) -> Self:
        wanted = self.stats.gate_simulations or 0
        if self.model.kind == "convolutional" and wanted > MOST_SIMULATIONS:
            raise ValueError(
                f"stats.gate_simulations {wanted}: the search of a convolutional network takes at "
                f"most {MOST_SIMULATIONS} a move"
            )
        return self

    @model_validator(mode="after")
    def _batches_agree(self) -> Self:
        train = self.train
        if self.model.kind != "convolutional":
            return self  # nothing of this has any effect
        if train.batch_size > train.buffer_capacity:
            raise ValueError(
                f"train.batch_size {train.batch_size} exceeds buffer_capacity "
                f"{train.buffer_capacity}"
            )
        if train.min_buffer_size_to_train > train.buffer_capacity:
            raise ValueError(
                f"train.min_buffer_size_to_train {train.min_buffer_size_to_train} exceeds "
                f"buffer_capacity {train.buffer_capacity}"
            )
        if train.lr_scheduler_type == "CosineAnnealingLR" and (
            train.lr_scheduler_eta_min > train.learning_rate
        ):
            raise ValueError(
                f"train.lr_scheduler_eta_min {train.lr_scheduler_eta_min} exceeds "
                f"learning_rate {train.learning_rate}"
            )
        return self

    @model_validator(mode="after")
    def _support_holds_returns(self) -> Self:
        if self.model.kind != "convolutional":
            return self
        reach = 1.0 / (1.0 - self.train.gamma)
        if self.model.value_max < reach:
            raise ValueError(
                f"model.value_max {self.model.value_max:g} is below {reach:g}, what a good game "
                f"returns with train.gamma {self.train.gamma:g}; raise one or lower the other"
            )
        return self


def merge(*layers: Layer) -> Layer:
    """Later layers over earlier ones, field by field."""
    merged: Layer = {}
    for layer in layers:
        for section, fields in layer.items():
            merged.setdefault(section, {}).update(fields)
    return merged


def build(layer: Layer) -> Config:
    """Validate ``layer`` over the defaults.

    Raises:
        ConfigError: an unknown key or a bad value; one message for all of them.
    """
    _check_names(layer)
    try:
        return Config.model_validate(layer)
    except ValidationError as e:
        raise ConfigError("; ".join(_describe(error) for error in e.errors())) from e


def check(layer: Layer) -> None:
    """Validate each setting of ``layer`` by itself, whatever the others will be.

    Raises:
        ConfigError: an unknown key or a bad value; one message for all of them.
    """
    _check_names(layer)
    try:
        Config.model_validate(layer)
    except ValidationError as e:
        # What does not belong to one field is about several: that is for :func:`build` to judge.
        wrong = [error for error in e.errors() if len(error["loc"]) > 1]
        if wrong:
            raise ConfigError("; ".join(map(_describe, wrong))) from e


def read_settings(path: Path) -> Layer:
    """The settings of a TOML file with one table a section, or of a run's ``configs.json``.

    Raises:
        ConfigError: the file is missing, is not TOML or JSON, or is not made of sections.
    """
    is_json = path.suffix == ".json"
    try:
        with path.open("rb") as f:
            data: Any = json.load(f) if is_json else tomllib.load(f)
    except OSError as e:
        raise ConfigError(f"cannot read the config file {path}: {e.strerror}") from e
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{path} is not {'JSON' if is_json else 'TOML'}: {e}") from e
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is not made of sections such as train")
    layer: Layer = {}
    for key, value in data.items():
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {key!r} stands outside a section such as [train]")
        # TOML has no null; as with --set, the word stands for it.
        layer[key] = {k: None if v == "none" else v for k, v in value.items()}
    return layer


def parse_setting(text: str) -> Layer:
    """``section.field=value`` as a layer; the value is TOML, or else a plain string.

    Raises:
        ConfigError: the text has another form or names no field.
    """
    key, equals, value = text.partition("=")
    section, dot, field = key.strip().partition(".")
    if not (equals and dot and field):
        raise ConfigError(f"--set {text!r}: expected section.field=value, as train.batch_size=128")
    if value.strip().lower() in ("none", "null"):
        parsed: Any = None
    else:
        try:
            parsed = tomllib.loads(f"v = {value.strip()}")["v"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
    layer: Layer = {section: {field: parsed}}
    _check_names(layer)
    return layer


def _sections() -> dict[str, type[Section]]:
    return {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def kinds() -> dict[str, OnResume]:
    """``section.field`` -> what becomes of a change on resume."""
    return {
        f"{name}.{key}": on_resume(field)
        for name, section in _sections().items()
        for key, field in section.model_fields.items()
    }


def network_kinds() -> dict[str, str | None]:
    """``section.field`` -> the one kind of network that takes notice of it; None: every kind."""
    return {
        f"{name}.{key}": only_for(field)
        for name, section in _sections().items()
        for key, field in section.model_fields.items()
    }


def section_names() -> list[str]:
    """In the order in which they are written."""
    return list(_sections())


def _nearest(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(sorted(words))}"


def _check_names(layer: Layer) -> None:
    sections = _sections()
    for section, fields in layer.items():
        if section not in sections:
            raise ConfigError(f"unknown section {section!r}{_nearest(section, list(sections))}")
        known = list(sections[section].model_fields)
        for field in fields:
            if field not in known:
                raise ConfigError(f"unknown key '{section}.{field}'{_nearest(field, known)}")


def _expected(key: tuple[Any, ...]) -> str:
    """The type of a field in a person's words, where that helps."""
    if len(key) != 2 or key[0] not in _sections():
        return ""
    field = _sections()[key[0]].model_fields.get(key[1])
    if field is None:
        return ""
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation):
        return " (or none)"
    return ""


def _describe(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"][:2])
    message = str(error["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    if error["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key} is {error['input']!r}: {message}{_expected(error['loc'])}"
