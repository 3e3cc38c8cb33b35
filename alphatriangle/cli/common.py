"""What all commands share: options, error lines, tables."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from alphatriangle.config import (
    ConfigError,
    Layer,
    PersistenceConfig,
    build,
    from_environment,
    merge,
    parse_setting,
    read_settings,
)
from alphatriangle.data.errors import DataError, RunNotFoundError
from alphatriangle.utils.errors import DeviceNotAvailableError, NotFiniteError
from alphatriangle.utils.invocation import command
from alphatriangle.utils.terminal import drop_unwritten

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of all data.", show_default=".alphatriangle_data"),
]


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """For the shell: the names of runs that begin with what has been typed."""
    from alphatriangle.data.path_manager import PathManager

    try:
        names = PathManager(persistence(context.params.get("data_dir")), "any").run_names()
    except (ConfigError, DataError):
        return []
    return [name for name in names if name.startswith(incomplete)]


Run = Annotated[str, typer.Argument(help="Name of a run.", autocompletion=complete_run)]
LatestRun = Annotated[
    str | None,
    typer.Argument(help="Name of a run.", show_default="the latest", autocompletion=complete_run),
]
Checkpoint = Annotated[
    str, typer.Option(help="Which of the run's checkpoints: latest, best, or a step.")
]
Step = Annotated[
    int | None, typer.Option(min=0, help="Step of the commit.", show_default="the newest")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys instead.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


class UsageError(Exception):
    """What was asked for cannot be done as asked."""


class FailedError(Exception):
    """It could not be carried through; the exit code says so."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Rich would end the process with exit code 1; :func:`reported_errors` knows better."""
        raise BrokenPipeError


def console_for(as_json: bool = False) -> Console:
    """Where people read: standard output, or standard error when that belongs to JSON."""
    return _Console(stderr=as_json)


def print_problem(console: Console, text: str) -> None:
    """A line about something that is wrong, as it is."""
    console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)


def what_goes_on(run: str, data_dir: Path | None) -> str:
    """What trains ``run`` further: the command, or the program of somebody else's loop."""
    from alphatriangle.data.runs.summary import has_settings

    if not has_settings(persistence(data_dir), run):
        return "the program that saved it"
    where = [] if data_dir is None else ["--data-dir", str(data_dir)]
    return command("train", "--run-name", run, *where)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def given_settings(config: Path | None, set_: list[str] | None) -> Layer:
    """What the person has set: a TOML file, over it the environment, over both ``--set``."""
    written = read_settings(config) if config is not None else {}
    return merge(written, from_environment(os.environ), set_settings(set_))


def set_settings(set_: list[str] | None) -> Layer:
    """What ``--set`` says; of two for the same field the last."""
    return merge(*[parse_setting(text) for text in set_ or []])


def environment_note(stronger: Layer) -> str | None:
    """A line that says which settings come from the environment, where nobody else would see it.

    Not those that the command itself sets to something else: ``stronger``.
    """
    found = [
        f"{section}.{field}={value}"
        for section, fields in from_environment(os.environ).items()
        for field, value in fields.items()
        if field not in stronger.get(section, {})
    ]
    return f"from the environment: {', '.join(found)}" if found else None


def persistence(data_dir: Path | None) -> PersistenceConfig:
    """The persistence settings for a data folder."""
    own = from_environment(os.environ).get("persistence", {})
    folder = {} if data_dir is None else {"root_data_dir": str(data_dir)}
    return build({"persistence": {**own, **folder}}).persistence


def chosen_run(config: PersistenceConfig, run: str | None, purpose: str) -> str:
    """The run that was named, else the one committed to last.

    Raises:
        RunNotFoundError: none was named and none has a commit.
    """
    from alphatriangle.data.runs.summary import latest_run

    if run is not None:
        return run
    found = latest_run(config)
    if found is None:
        raise RunNotFoundError(
            f"{config.root_data_dir} has no run to {purpose}; "
            f"{command('train', '--preset', 'quick')} makes one"
        )
    return found.name


@contextlib.contextmanager
def reported_errors(debug: bool) -> Iterator[None]:
    """Bad input is one line and exit code 2, a failure one line and exit code 1."""
    try:
        yield
    except (ConfigError, DataError, DeviceNotAvailableError, UsageError) as e:
        _report(e, debug)
        raise typer.Exit(EXIT_BAD_INPUT) from e
    except FailedError as e:
        _report(e, debug)
        raise typer.Exit(EXIT_FAILED) from e
    except NotFiniteError as e:
        _report(FailedError(f"{e}: an earlier --checkpoint may know better"), debug)
        raise typer.Exit(EXIT_FAILED) from e
    except BrokenPipeError:
        # The reader has seen enough; keep Python from complaining about the closed pipe at exit.
        drop_unwritten(sys.stdout)
        raise typer.Exit(0) from None
    except OSError as e:
        # The file system says no where nobody has expected it.
        where = f"{e.filename}: " if e.filename else ""
        _report(FailedError(f"{where}{e.strerror or e}"), debug)
        raise typer.Exit(EXIT_FAILED) from e


def _report(error: Exception, debug: bool) -> None:
    # Where nobody reads it, the exit code is left.
    with contextlib.suppress(OSError, ValueError):
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"error: {error}\n")
