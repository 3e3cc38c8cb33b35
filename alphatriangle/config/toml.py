"""Configuration as TOML that explains itself; reading it gives the same configuration."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from alphatriangle.config.base import OnResume, Section, labels
from alphatriangle.config.config import Config


def to_toml(config: Config) -> str:
    """One table a section, each field under its description and what it is on a resume."""
    tables = [
        "# When a run is resumed, a setting that is\n"
        + "\n".join(f"# [{kind}]: {kind.meaning}" for kind in OnResume)
        + "\n# One that is for one kind of network (model.kind) has no effect on others."
    ]
    for name in Config.model_fields:
        section: Section = getattr(config, name)
        lines = [f"[{name}]"]
        for field, info in type(section).model_fields.items():
            # Labels stay in one piece.
            label = labels(info).replace(" ", "\N{NO-BREAK SPACE}")
            text = f"{info.description} [{label}]"
            wrapped = textwrap.wrap(text, 98, initial_indent="# ", subsequent_indent="# ")
            lines += [line.replace("\N{NO-BREAK SPACE}", " ") for line in wrapped]
            lines.append(f"{field} = {toml_value(getattr(section, field))}")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def toml_value(value: Any) -> str:
    """A value as TOML, which has no null: that is the word none."""
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        # JSON escapes are TOML escapes, but for the surrogate pairs of rare characters.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(toml_value(v) for v in value)}]"
    return repr(value)


def differences(one: Config, other: Config) -> dict[str, tuple[Any, Any]]:
    """``section.field`` -> both values, where they differ."""
    found = {}
    for name in Config.model_fields:
        left, right = getattr(one, name), getattr(other, name)
        for field in type(left).model_fields:
            values = (getattr(left, field), getattr(right, field))
            if values[0] != values[1]:
                found[f"{name}.{field}"] = values
    return found
