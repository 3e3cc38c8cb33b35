"""SIGKILL of each kind of process of a training with Ray: nothing that was committed is gone."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.durability.budget import budget, report
from tests.durability.test_kills import newest_step
from tests.training.command import alphatriangle, show, start, train_arguments

ROUNDS = budget(1, 8)
STEPS = 150


def children(pid: int) -> dict[int, str]:
    """The processes below one, with the first words of their commands. Linux."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                names[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(after_name[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return {child: names[child] for child in below - {pid}}


VICTIMS: dict[str, Callable[[str], bool]] = {
    "worker": lambda command: "ray::" in command and "Worker" in command,
    "supervisor": lambda command: "alphatriangle.training.play.supervisor" in command,
    "raylet": lambda command: "/raylet/raylet " in command,
    "GCS": lambda command: "gcs_server" in command,
}


@pytest.mark.timeout(budget(900, 36_000))
def test_a_training_with_ray_survives_kills_of_its_processes(tmp_path: Path) -> None:
    """Without any of Ray's the trainer goes on; without the trainer, the run when it is started
    again, behind its last commit."""
    frequent = ["--workers", "1", "--set", "persistence.save_freq_steps=2"]
    arguments = train_arguments(tmp_path, *frequent, steps=STEPS)
    rng = random.Random(8)
    newest = 0
    for victim in ["worker", "trainer", "supervisor", "raylet", "GCS"] * ROUNDS:
        if newest > STEPS - 50:
            # Too little is left to be killed in: the next kill is of a new run.
            _goes_on_to_its_end(arguments, tmp_path)
            shutil.rmtree(tmp_path / "runs")
            newest = 0
        process = start(arguments)
        # Rows come, steps are made and saved: now everything runs that there is.
        _until_saved(process, tmp_path, newest + 1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0.0, 0.3))
        assert process.poll() is None, process.communicate()[0]
        _kill(process.pid, victim)
        if victim != "trainer":
            # It gets another one and saves what comes of that; then it is told to stop.
            _until_saved(process, tmp_path, newest_step(tmp_path) + 30)
            process.terminate()
        output, _ = process.communicate(timeout=240)
        if victim != "trainer":
            assert process.returncode == 0, output
        step = newest_step(tmp_path)
        assert step > newest, output
        newest = step
        report(f"kills with Ray: {victim}", kills=1, lost=0)
    _goes_on_to_its_end(arguments, tmp_path)


def _until_saved(process: subprocess.Popen[str], data: Path, step: int) -> None:
    """Wait for a commit of ``step`` or later, or the end of the process."""
    while newest_step(data) < step and process.poll() is None:
        # Looking all the time would take a core away from those that are looked at.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.02)


def _goes_on_to_its_end(arguments: list[str], data: Path) -> None:
    """Without Ray it may even have got there before."""
    assert alphatriangle(*arguments).returncode == 0
    facts = show(data)
    assert (facts["step"], facts["state"]) == (STEPS, "complete")
    assert facts["rejected_commits"] == []


def _kill(trainer: int, victim: str) -> None:
    if victim == "trainer":
        os.kill(trainer, signal.SIGKILL)
        return
    found = [pid for pid, command in children(trainer).items() if VICTIMS[victim](command)]
    assert found, children(trainer)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
