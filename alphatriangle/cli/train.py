"""``alphatriangle train``."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.console import Console

from alphatriangle.cli.common import (
    EXIT_FAILED,
    AsJson,
    DataDir,
    Debug,
    FailedError,
    environment_note,
    given_settings,
    reported_errors,
    set_settings,
    what_goes_on,
)
from alphatriangle.cli.tables import scores_table
from alphatriangle.config import PRESETS, Layer, merge
from alphatriangle.utils.invocation import command
from alphatriangle.utils.signals import (
    GOES_ON,
    StopRequest,
    StopRequested,
    stop_on_signals,
)
from alphatriangle.utils.terminal import UnfailingStream, drop_unwritten

if TYPE_CHECKING:
    from alphatriangle.training.display.display import Display
    from alphatriangle.training.run import TrainingOutcome
    from alphatriangle.training.run_plan import RunPlan


class LogLevel(StrEnum):
    """What goes into a run's log."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class LogFormat(StrEnum):
    """How progress is told."""

    text = "text"
    json = "json"


def _workers(text: str) -> int:
    """A number, or -1 for ``auto``."""
    if text == "auto":
        return -1
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither auto nor a number of processes")
    return int(text)


def train(
    preset: Annotated[
        str | None,
        typer.Option(help=f"Ready settings: {', '.join(PRESETS)}. New runs default to laptop."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings over the preset's.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.field=value, over all but options; repeatable."),
    ] = None,
    run_name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps in all, earlier ones included.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            parser=_workers,
            metavar="N|auto",
            help="Self-play processes; 0 plays in this one, exactly repeatable; auto takes "
            "cores - 1, in a cluster all that have a free CPU. For an n-tuple network: copies that "
            "learn at once, exactly repeatable with any number; auto is 2.",
            show_default="auto",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    resume: Annotated[
        str,
        typer.Option(
            help="auto, never, latest, the name of a run, the path of a checkpoint, or the URL of "
            "a run in a replica."
        ),
    ] = "auto",
    data_dir: DataDir = None,
    as_json: AsJson = False,
    log_format: Annotated[
        LogFormat,
        typer.Option(help="How progress is told: for people, or as one JSON object a line."),
    ] = LogFormat.text,
    log_level: Annotated[
        LogLevel,
        typer.Option(help="From which level on messages go into the run's logs/train.log."),
    ] = LogLevel.info,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile",
            help="Find out where the time of the loop and of a self-play worker goes: shown, and in"
            " profile_data/.",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and the result.")] = False,
    debug: Debug = False,
) -> None:
    """Train an agent; start it again with the same command and it goes on.

    Ctrl-C, SIGTERM or a closed terminal saves and stops; a second Ctrl-C stops at once. What cannot
    be shown ends nothing: the reader of a pipe may go away.

    Without --run-name it goes on with the latest run of the preset: an interrupted one to its end,
    a complete one for as many steps again. A --run-name that is new begins afresh, or, with
    --resume, with the state of another run, sharing its files.

    Without a terminal progress is a line every few seconds; --log-format json makes each an object.

    Settings: the preset, over it the file, over that the environment
    (ALPHATRIANGLE_TRAIN__BATCH_SIZE=128), over that --set and the other options. A run that is gone
    on with has its own settings in place of a preset's.

    Examples:

      alphatriangle train --preset quick
      alphatriangle train --preset laptop --run-name first --set ntuple.explore=0.2
      alphatriangle train --resume first --max-steps 100000
      alphatriangle train --resume latest --run-name branch
      alphatriangle train --resume s3://bucket/alphatriangle/first

    Exit codes: 0 trained, stopped by a signal, or nothing left to do; 1 training or the last save
    failed, or another writer has the run's replica; 2 bad input, or a replica that cannot be
    reached when the run is to come from it.
    """
    flags = {"num_workers": workers, "seed": seed}
    named = _given({**flags, "run_name": run_name, "max_steps": max_steps})
    folder = _given({"root_data_dir": data_dir})
    with reported_errors(debug), stop_on_signals(own_process=True) as stop:
        try:
            with stop.at_once():
                settings = merge(given_settings(config, set_), {"train": _given(flags)})
                stronger = merge(set_settings(set_), {"train": named, "persistence": folder})
                plan, display = _plan_and_display(
                    stop,
                    settings,
                    (preset, run_name, max_steps, resume, data_dir),
                    sys.stderr if as_json else sys.stdout,
                    environment_note(stronger),
                    as_json_lines=log_format is LogFormat.json and not quiet,
                    quiet=quiet,
                )
            outcome = _carry_out(plan, display, stop, log_level, profile=profile)
        except StopRequested:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"stopped by {stop.stopped_by}; {GOES_ON}\n")
            return
        _tell(outcome, plan, display, as_json=as_json)
    drop_unwritten(sys.stdout)
    if outcome.save_failed or outcome.is_fenced:
        raise typer.Exit(EXIT_FAILED)


def _plan_and_display(
    stop: StopRequest,
    settings: Layer,
    request: tuple[str | None, str | None, int | None, str, Path | None],
    stream: TextIO,
    about_environment: str | None,
    *,
    as_json_lines: bool,
    quiet: bool,
) -> tuple[RunPlan, Display]:
    with stop.importing():
        from alphatriangle.training.display.display import Display, JsonDisplay, console_on
        from alphatriangle.training.from_replica import with_run_here
        from alphatriangle.training.run_plan import TrainRequest, plan_run

    preset, run_name, max_steps, resume, data_dir = request
    asked = TrainRequest(
        preset=preset,
        settings=settings,
        run_name=run_name,
        max_steps=max_steps,
        resume=resume,
        data_dir=data_dir,
    )
    display = (JsonDisplay if as_json_lines else Display)(console_on(stream), quiet=quiet)
    plan = plan_run(with_run_here(asked, display))
    for note in (plan.message, about_environment):
        if note is not None:
            display.note(note)
    return plan, display


def _carry_out(
    plan: RunPlan, display: Display, stop: StopRequest, log_level: LogLevel, *, profile: bool
) -> TrainingOutcome:
    with stop.importing():
        from alphatriangle.data.errors import FencedError
        from alphatriangle.data.runs.summary import has_settings
        from alphatriangle.training.play.ray_play import WorkersFailedError
        from alphatriangle.training.run import Watching
        from alphatriangle.training.run import train as run_training
        from alphatriangle.utils.errors import TrainingDivergedError
    # What has been imported stays: to look through it for cycles takes half a second each time.
    gc.freeze()
    try:
        return run_training(plan, display, stop, Watching(log_level, profile))
    except WorkersFailedError as e:
        folder = plan.config.persistence.root_data_dir
        said = "; ".join([str(e), *getattr(e, "__notes__", [])])
        if has_settings(plan.config.persistence, plan.run_name):
            again = what_goes_on(plan.run_name, folder)
            said += f"; the run goes on from what is saved with {again}"
        raise FailedError(said) from e
    except (TrainingDivergedError, FencedError) as e:
        raise FailedError("; ".join([str(e), *getattr(e, "__notes__", [])])) from e


def _tell(outcome: TrainingOutcome, plan: RunPlan, display: Display, *, as_json: bool) -> None:
    from alphatriangle.training.display.display import JsonDisplay

    if as_json:
        UnfailingStream(sys.stdout).write(json.dumps(outcome.as_dict(), indent=2) + "\n")
    elif isinstance(display, JsonDisplay):
        display.say("outcome", **outcome.as_dict())
    elif not plan.nothing_to_do:
        _print_outcome(display.console, outcome, str(plan.config.persistence.root_data_dir))
    elif outcome.replica is not None:
        display.note(f"replica       {outcome.replica.text}")


def _given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _print_outcome(console: Console, outcome: Any, data_dir: str) -> None:
    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if outcome.scores:
        console.print()
        games = outcome.scores[0].games
        console.print(scores_table(outcome.scores, f"{games} games each, the same deals"))
    say("")
    place = f"{data_dir}/runs/{outcome.run_name}"
    minutes = f"{outcome.seconds / 60:.1f} minutes"
    if outcome.save_failed:
        say(
            f"run {outcome.run_name!r} reached step {outcome.global_step}, but the last save "
            "failed: the commits before it are intact, and the same command goes on from them"
        )
    elif outcome.complete:
        say(f"run {outcome.run_name!r} is complete: {outcome.global_step} steps in {minutes}")
    else:
        say(
            f"run {outcome.run_name!r} stopped by {outcome.stopped_by} at step "
            f"{outcome.global_step} of {outcome.target_steps}; the same command goes on"
        )
    if not outcome.complete and not outcome.state_digest:
        return  # nothing was done that could be looked at
    say(f"saved in      {place}")
    if outcome.state_digest:
        say(f"state digest  {outcome.state_digest}")
    if outcome.replica is not None:
        say(f"replica       {outcome.replica.text}")
    if outcome.uploads_waiting:
        say(f"MLflow        {outcome.uploads_waiting} files wait; the next start uploads them")
    say("")
    name = outcome.run_name
    where = [] if data_dir == ".alphatriangle_data" else ["--data-dir", data_dir]
    say("next:")
    for words in (
        ["runs", "show", name],
        ["watch", name, "--game", "best"],
        ["report", name],
        ["eval", name],
        ["ui", "tensorboard"],
    ):
        say(f"  {command(*words, *where)}")
