"""``alphatriangle train``."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from alphatriangle.cli.common import (
    EXIT_FAILED,
    AsJson,
    DataDir,
    Debug,
    FailedError,
    console_for,
    environment_note,
    given_settings,
    print_json,
    reported_errors,
    set_settings,
)
from alphatriangle.cli.tables import scores_table
from alphatriangle.config import PRESETS, merge


class LogFormat(StrEnum):
    """How progress is told."""

    text = "text"
    json = "json"


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
            min=0,
            help="Self-play processes; 0 plays in this one, exactly repeatable.",
            show_default="cores - 1",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of everything random.")] = None,
    resume: Annotated[
        str,
        typer.Option(help="auto, never, latest, the name of a run, or the path of a checkpoint."),
    ] = "auto",
    data_dir: DataDir = None,
    as_json: AsJson = False,
    log_format: Annotated[
        LogFormat,
        typer.Option(help="How progress is told: for people, or as one JSON object a line."),
    ] = LogFormat.text,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and the result.")] = False,
    debug: Debug = False,
) -> None:
    """Train an agent; start it again with the same command and it goes on.

    Ctrl-C or SIGTERM saves and stops. Without --run-name it goes on with the latest run of the
    preset: an interrupted one to its end, a complete one for as many steps again. A --run-name that
    is new begins afresh, or, with --resume, with the state of another run, sharing its files.

    Without a terminal progress is a line every few seconds; --log-format json makes each an object.

    Settings: the preset, over it the file, over that the environment
    (ALPHATRIANGLE_TRAIN__BATCH_SIZE=128), over that --set and the other options. A run that is gone
    on with has its own settings in place of a preset's.

    Examples:

      alphatriangle train --preset quick
      alphatriangle train --preset laptop --run-name first --set train.learning_rate=0.001
      alphatriangle train --resume first --max-steps 100000
      alphatriangle train --resume latest --run-name branch

    Exit codes: 0 trained, stopped by a signal, or nothing left to do; 1 training or the last save
    failed; 2 bad input.
    """
    with reported_errors(debug):
        from alphatriangle.rl import TrainingDivergedError
        from alphatriangle.training.display.display import Display, JsonDisplay
        from alphatriangle.training.play.ray_play import WorkersFailedError
        from alphatriangle.training.run import TrainingOutcome
        from alphatriangle.training.run import train as run_training
        from alphatriangle.training.run_plan import TrainRequest, plan_run

        settings = given_settings(config, set_)
        flags = {"num_workers": workers, "seed": seed}
        settings = merge(settings, {"train": _given(flags)})
        plan = plan_run(
            TrainRequest(
                preset=preset,
                settings=settings,
                run_name=run_name,
                max_steps=max_steps,
                resume=resume,
                data_dir=data_dir,
            )
        )
        console = console_for(as_json)
        kind = JsonDisplay if log_format is LogFormat.json and not quiet else Display
        display = kind(console, quiet=quiet)
        named = _given({**flags, "run_name": run_name, "max_steps": max_steps})
        folder = _given({"root_data_dir": data_dir})
        stronger = merge(set_settings(set_), {"train": named, "persistence": folder})
        for note in (plan.message, environment_note(stronger)):
            if note is not None:
                display.note(note)
        if plan.nothing_to_do:
            outcome = TrainingOutcome.nothing_to_do(plan)
        else:
            try:
                outcome = run_training(plan, display)
            except (TrainingDivergedError, WorkersFailedError) as e:
                raise FailedError(str(e)) from e
        if as_json:
            print_json(outcome.as_dict())
        elif isinstance(display, JsonDisplay):
            display.say("outcome", **outcome.as_dict())
        elif not plan.nothing_to_do:
            _print_outcome(console, outcome, str(plan.config.persistence.root_data_dir))
    if outcome.save_failed:
        raise typer.Exit(EXIT_FAILED)


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
    say(f"saved in      {place}")
    if outcome.state_digest:
        say(f"state digest  {outcome.state_digest}")
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
        ["eval", name, "--simulations", "64"],
        ["ui", "tensorboard"],
    ):
        say(f"  {shlex.join(['alphatriangle', *words, *where])}")
