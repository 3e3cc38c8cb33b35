"""``alphatriangle config``."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from alphatriangle.cli.common import (
    AsJson,
    DataDir,
    Debug,
    UsageError,
    console_for,
    given_settings,
    persistence,
    print_json,
    reported_errors,
)
from alphatriangle.cli.help import App
from alphatriangle.config import (
    PRESETS,
    Config,
    Layer,
    build,
    merge,
    preset,
    read_settings,
)
from alphatriangle.config.toml import differences, to_toml, toml_value

app = App(help="Look at settings.")

Source = Annotated[str, typer.Argument(help=f"A preset ({', '.join(PRESETS)}) or a run.")]


def _settings(source: str, data_dir: Path | None) -> Layer:
    """The settings of a preset or of a run."""
    if source in PRESETS:
        return preset(source)
    from alphatriangle.data.path_manager import PathManager

    paths = PathManager(persistence(data_dir), source)
    if not paths.configs.exists():
        close = difflib.get_close_matches(source, [*PRESETS, *paths.run_names()], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UsageError(
            f"{source!r} is no preset ({', '.join(PRESETS)}) and no run with a "
            f"{paths.configs}{hint}"
        )
    return read_settings(paths.configs)


@app.command()
def show(
    source: Source = "laptop",
    config: Annotated[Path | None, typer.Option(help="TOML file with settings over it.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="section.field=value, over all; repeatable.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print the settings of a preset or a run as TOML that explains itself.

    What it prints can be changed and given to train --config. Stronger than the preset are a file,
    then the environment (ALPHATRIANGLE_TRAIN__BATCH_SIZE=128), then --set.

    Example:

      alphatriangle config show quick > mine.toml

    Exit codes: 0 done; 2 bad input.
    """
    with reported_errors(debug):
        settings = build(merge(_settings(source, data_dir), given_settings(config, set_)))
        if as_json:
            print_json(settings.model_dump(mode="json"))
        else:
            typer.echo(to_toml(settings), nl=False)


@app.command()
def diff(
    one: Source,
    other: Source,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print where the settings of two presets or runs differ.

    Example:

      alphatriangle config diff quick laptop

    Exit codes: 0 done, also when nothing differs; 2 bad input.
    """
    with reported_errors(debug):
        left, right = (build(_settings(name, data_dir)) for name in (one, other))
        found = differences(left, right)
        if as_json:
            print_json({key: _plain(values) for key, values in found.items()})
            return
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
        for column in ("setting", one, other):
            table.add_column(column, overflow="fold")
        for key, values in found.items():
            table.add_row(key, *map(toml_value, values))
        console_for(as_json).print(table if found else "no difference")


def _plain(values: tuple[Any, ...]) -> list[Any]:
    return [str(v) if isinstance(v, Path) else v for v in values]


@app.command()
def schema() -> None:
    """Print the JSON schema of a configuration, for editors.

    Example:

      alphatriangle config schema > alphatriangle.schema.json

    Exit codes: 0 done.
    """
    print_json(Config.model_json_schema())
