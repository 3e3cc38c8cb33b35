"""Settings from environment variables."""

from __future__ import annotations

import pytest

from alphatriangle.config import Config, ConfigError, build, from_environment
from alphatriangle.config.toml import toml_value


def test_variables_are_settings_with_the_values_of_set() -> None:
    layer = from_environment(
        {
            "ALPHATRIANGLE_TRAIN__BATCH_SIZE": "64",
            "ALPHATRIANGLE_TRAIN__RUN_NAME": "night",
            "ALPHATRIANGLE_STATS__TENSORBOARD": "false",
            "ALPHATRIANGLE_TRAIN__GRADIENT_CLIP_VALUE": "none",
            "ALPHATRIANGLE_FAILPOINT": "commit.before",
            "PATH": "/bin",
        }
    )
    config = build(layer)
    assert (config.train.batch_size, config.train.run_name) == (64, "night")
    assert config.stats.tensorboard is False
    assert config.train.gradient_clip_value is None
    assert sum(len(fields) for fields in layer.values()) == 4


def test_every_field_of_every_section_has_a_variable() -> None:
    config = Config()
    for section in Config.model_fields:
        for field in type(getattr(config, section)).model_fields:
            value = getattr(getattr(config, section), field)
            name = f"ALPHATRIANGLE_{section}__{field}".upper()
            assert build(from_environment({name: toml_value(value).strip('"')})) == config, name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ALPHATRIANGLE_TRAIN__BATCH_SIZ", r"TRAIN__BATCH_SIZ: .*did you mean 'batch_size'"),
        ("ALPHATRIANGLE_TRIAN__SEED", r"did you mean 'train'"),
        ("ALPHATRIANGLE_TRAIN_SEED", r"two underscores.*ALPHATRIANGLE_TRAIN__SEED"),
        ("ALPHATRIANGLE_TRAIN__", r"ALPHATRIANGLE_TRAIN__: "),
    ],
)
def test_a_name_that_is_no_setting_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_environment({name: "1"})
