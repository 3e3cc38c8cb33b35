"""Settings: layers, presets, and messages that name the key, the value and the bound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from alphatriangle.config import (
    PRESETS,
    Config,
    ConfigError,
    build,
    kinds,
    merge,
    parse_setting,
    preset,
    read_settings,
)
from alphatriangle.config.base import Section, on_resume


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_valid_and_survive_json(name: str) -> None:
    config = build(preset(name))
    assert build(json.loads(config.model_dump_json())) == config


def test_every_field_says_what_it_is() -> None:
    for section in Config.model_fields.values():
        model = section.annotation
        assert isinstance(model, type)
        assert issubclass(model, Section)
        for name, field in model.model_fields.items():
            if name not in ("run_name", "value_min"):
                assert field.description, f"{model.__name__}.{name}"


def test_every_field_says_what_becomes_of_it_on_a_resume() -> None:
    """What each kind means is shown by ``tests/training/test_settings_on_resume.py``."""
    declared = kinds()
    for name, section in Config.model_json_schema()["$defs"].items():
        for field, schema in section["properties"].items():
            key = f"{name.removesuffix('Config').lower()}.{field}"
            assert schema["on_resume"] == declared[key], "and the schema, for editors"

    class Unfinished(Section):
        field: int = 0

    with pytest.raises(TypeError, match="Live, Fixed or Irrelevant"):
        on_resume(Unfinished.model_fields["field"])


def test_later_layers_win_field_by_field() -> None:
    merged = merge({"train": {"seed": 1, "batch_size": 8}}, {"train": {"seed": 2}})
    assert merged == {"train": {"seed": 2, "batch_size": 8}}


def test_sections_are_frozen() -> None:
    config = build({})
    with pytest.raises(ValidationError, match="frozen"):
        config.train.seed = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("train.seed=5", 5),
        ("train.seed = 5 ", 5),
        ("train.run_name=first", "first"),
        ('train.run_name="5"', "5"),
        ("train.gradient_clip_value=none", None),
        ("train.use_per=true", True),
        ("train.learning_rate=1e-3", 1e-3),
        ('persistence.allowed_globals=["a.B"]', ["a.B"]),
    ],
)
def test_settings_are_parsed_as_toml_or_text(text: str, value: object) -> None:
    ((fields),) = parse_setting(text).values()
    assert list(fields.values()) == [value]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"train": {"batch_size": 0}}, r"train\.batch_size is 0: .*greater than or equal to 1"),
        ({"train": {"batch_sice": 8}}, r"'train\.batch_sice'; did you mean 'batch_size'\?"),
        ({"trian": {}}, "did you mean 'train'"),
        ({"train": {"batch_size": 600_000}}, "600000 exceeds buffer_capacity 100000"),
        ({"train": {"gamma": 1.0}}, r"train\.gamma is 1\.0"),
        ({"train": {"gamma": 0.999}}, r"value_max 60 is below 1000.*gamma 0\.999"),
        ({"model": {"value_min": 70.0}}, r"value_min 70\.0 is not below value_max 60\.0"),
        ({"train": {"device": "gpu"}}, r"train\.device is 'gpu'"),
        ({"train": {"optimizer_type": "Adamw"}}, r"train\.optimizer_type is 'Adamw'.*'AdamW'"),
        ({"train": {"seed": "x"}}, r"train\.seed is 'x'.*integer"),
        ({"persistence": {"allowed_globals": ["os"]}}, r"persistence\.allowed_globals"),
    ],
)
def test_errors_name_the_key_the_value_and_the_bound(layer: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(layer)


def test_all_errors_are_said_at_once() -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size.*; model\.conv_channels"):
        build({"train": {"batch_size": 0}, "model": {"conv_channels": 0}})


def test_toml_files(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[train]\nseed = 5\n[model]\nconv_channels = 16\n")
    assert build(read_settings(path)).model.conv_channels == 16
    path.write_text("seed = 5")
    with pytest.raises(ConfigError, match="outside a section"):
        read_settings(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not TOML"):
        read_settings(path)
    with pytest.raises(ConfigError, match="cannot read"):
        read_settings(tmp_path)


def test_more_copies_than_there_is_room_for_are_refused() -> None:
    """Of an n-tuple network's tables; self-play processes may be many."""
    build({"model": {"kind": "ntuple"}, "train": {"num_workers": 64}})
    build({"train": {"num_workers": 65}})
    with pytest.raises(ConfigError, match=r"train\.num_workers 65: at most 64 copies"):
        build({"model": {"kind": "ntuple"}, "train": {"num_workers": 65}})
