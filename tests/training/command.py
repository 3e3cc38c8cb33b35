"""Run the real command in a real process."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any

from tests.conftest import tiny_settings

COMMAND = [sys.executable, "-c", "from alphatriangle.cli.app import main; main()"]


def alphatriangle(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=240, **options
    )


def train_arguments(data: Path, *more: str, steps: int = 24) -> list[str]:
    return [
        "train", "--preset", "convolutional-quick", "--run-name", "r", "--data-dir", str(data),
        "--seed", "7", "--max-steps", str(steps), *tiny_settings(), *more,
    ]  # fmt: skip


def of_kind(kind: str) -> list[str]:
    """Options that make a small run of this kind of network."""
    settings = {"model.kind": kind, "ntuple.deals_per_step": 200, "ntuple.sample_every": 7}
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def start(arguments: list[str], output: IO[str] | None = None) -> subprocess.Popen[str]:
    """Start a command whose output comes line by line, or goes into a file.

    Who runs for long and is not read needs the file: a full pipe stops it.
    """
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE if output is None else output,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def fork(arguments: list[str], output: Path, **environment: str) -> BaseProcess:
    """Start a command in a fork of a process that has imported the large libraries.

    For loops over many short lives, of which those imports would be the most. POSIX.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "numba", "pyarrow", "pydantic", "typer", "rich"])
    process = context.Process(target=_command, args=(arguments, output, environment))
    process.start()
    return process


def _command(arguments: list[str], output: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with output.open("w") as f:
        os.dup2(f.fileno(), sys.stdout.fileno())
        os.dup2(f.fileno(), sys.stderr.fileno())
    from alphatriangle.cli.app import main

    sys.argv = ["alphatriangle", *arguments]
    main()


def send_when(
    process: subprocess.Popen[str], condition: Callable[[], bool], number: signal.Signals
) -> bool:
    """Send the signal as soon as the condition holds; False when the process ended before."""
    while process.poll() is None:
        if condition():
            process.send_signal(number)
            return True
    return False


def commits(data: Path, run: str = "r") -> list[str]:
    return sorted(p.name for p in (data / "runs" / run / "commits").glob("step_*.json"))


def show(data: Path, run: str = "r") -> dict[str, Any]:
    result = alphatriangle("runs", "show", run, "--data-dir", str(data), "--json")
    assert result.returncode == 0, result.stderr
    facts: dict[str, Any] = json.loads(result.stdout)
    return facts
