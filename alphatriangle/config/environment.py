"""Settings from environment variables: ``ALPHATRIANGLE_TRAIN__BATCH_SIZE=128``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from alphatriangle.config.config import ConfigError, Layer, merge, parse_setting, section_names

PREFIX: Final = "ALPHATRIANGLE_"


def from_environment(variables: Mapping[str, str]) -> Layer:
    """The settings among ``variables``: ``ALPHATRIANGLE_<SECTION>__<FIELD>``, values as in --set.

    Raises:
        ConfigError: a name that means to be a setting and is none, or a value that cannot be read.
    """
    layers = []
    for name in sorted(variables):
        if not name.startswith(PREFIX):
            continue
        section, separator, field = name.removeprefix(PREFIX).lower().partition("__")
        if not separator:
            first, _, rest = section.partition("_")
            if first in section_names():
                raise ConfigError(
                    f"{name}: two underscores stand between section and key: "
                    f"{PREFIX}{first.upper()}__{rest.upper()}"
                )
            continue  # Something else of ours, such as a failpoint.
        try:
            layers.append(parse_setting(f"{section}.{field}={variables[name]}"))
        except ConfigError as e:
            raise ConfigError(f"environment variable {name}: {e}") from e
    return merge(*layers)
