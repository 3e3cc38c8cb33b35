"""Configuration as TOML: what is written is what is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphatriangle.config import PRESETS, Config, build, preset, read_settings
from alphatriangle.config.base import labels
from alphatriangle.config.toml import differences, to_toml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives(tmp_path: Path, name: str) -> None:
    config = build(preset(name))
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config))
    assert build(read_settings(path)) == config


@given(
    st.floats(1e-9, 1e9),
    st.none() | st.floats(1e-6, 1e6),
    st.none() | st.just("StepLR"),
    st.none() | TEXT.filter(lambda t: t != "none"),
    st.booleans(),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_survive(
    tmp_path: Path,
    rate: float,
    clip: float | None,
    schedule: str | None,
    buffer: str | None,
    per: bool,
) -> None:
    train = {
        "learning_rate": rate,
        "gradient_clip_value": clip,
        "lr_scheduler_type": schedule,
        "load_buffer_path": buffer,
        "use_per": per,
    }
    config = build({"train": train})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8", newline="")
    assert build(read_settings(path)) == config


def test_every_field_is_explained() -> None:
    text = to_toml(Config())
    for name, field in Config.model_fields.items():
        section = field.annotation
        assert f"[{name}]" in text
        for key, info in section.model_fields.items():  # type: ignore[union-attr]
            assert info.description, f"{name}.{key}"
            above, _, _ = text.partition(f"[{name}]\n")[2].partition(f"\n{key} = ")
            assert above.endswith(f"[{labels(info)}]"), "what becomes of it on a resume, too"
    assert max(map(len, text.splitlines())) <= 100


def test_differences_name_both_values() -> None:
    one, other = build({}), build({"train": {"batch_size": 7}, "model": {"conv_channels": 8}})
    assert differences(one, other) == {"train.batch_size": (256, 7), "model.conv_channels": (64, 8)}
    assert differences(one, one) == {}
