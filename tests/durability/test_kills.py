"""SIGKILL at random moments until the run completes: it ends as the run that was never killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.durability.budget import budget, report
from tests.training.command import alphatriangle, commits, show, start, train_arguments

KILLS = budget(20, 500)
RAY_KILLS = budget(1, 8)
STEPS = 300


def newest_step(data: Path) -> int:
    """As the commit files say; beside a training, retention may be faster than the reader."""
    steps = [0]
    for path in _commit_files(data):
        with contextlib.suppress(FileNotFoundError):
            steps.append(json.loads(path.read_bytes())["global_step"])
    return max(steps)


def _commit_files(data: Path) -> list[Path]:
    return [data / "runs/r/commits" / name for name in commits(data)]


def kill_after_first_words(arguments: list[str], words: str, seconds: float) -> bool:
    """Kill a training some time after it has said ``words``; False when it ended before."""
    process = start(arguments)
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            break
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return True
    finally:
        process.communicate()


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """Runs that complete before there have been enough kills are compared and begun anew."""
    frequent = ["--workers", "0", "--set", "persistence.save_freq_steps=1"]
    calm = train_arguments(tmp_path / "calm", *frequent, "--json", steps=STEPS)
    result = alphatriangle(*calm)
    assert result.returncode == 0, result.stderr
    expected = json.loads(result.stdout)["state_digest"]
    data = tmp_path / "killed"
    arguments = train_arguments(data, *frequent, steps=STEPS)
    rng = random.Random(7)
    kills = newest = 0
    while kills < KILLS:
        # Loading, the first rows, or some steps and saves: whatever the moment brings.
        kills += kill_after_first_words(arguments, "run 'r'", rng.uniform(0.2, 3.0))
        step = newest_step(data)
        assert step >= newest, "a committed step is never gone"
        newest = step
        if step == STEPS:
            assert alphatriangle(*arguments).returncode == 0
            assert show(data)["state_digest"] == expected
            shutil.rmtree(data)
            newest = 0
    assert alphatriangle(*arguments).returncode == 0
    assert show(data)["state_digest"] == expected
    report("kills at random moments", kills=kills, lost=0)


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
    "raylet": lambda command: "/raylet/raylet " in command,
    "GCS": lambda command: "gcs_server" in command,
}


@pytest.mark.parametrize("victim", ["trainer", *VICTIMS])
def test_a_process_of_a_training_with_ray_killed(tmp_path: Path, victim: str) -> None:
    """Whichever it is, the run goes on behind its last commit when it is started again.

    Without its worker the trainer goes on; without Ray itself it may end, but not well and not
    without a commit.
    """
    steps = 40 * RAY_KILLS + 60
    frequent = ["--workers", "1", "--set", "persistence.save_freq_steps=2"]
    arguments = train_arguments(tmp_path, *frequent, steps=steps)
    rng = random.Random(victim)
    newest = 0
    for _ in range(RAY_KILLS):
        process = start(arguments)
        assert process.stdout is not None
        # Rows come, steps are made and saved: now everything runs that there is.
        while newest_step(tmp_path) <= newest and process.poll() is None:
            pass
        assert process.poll() is None, process.communicate()[0]
        wait = rng.uniform(0.0, 0.3)
        try:
            process.wait(timeout=wait)
        except subprocess.TimeoutExpired:
            _kill(process.pid, victim)
        output, _ = process.communicate(timeout=240)
        step = newest_step(tmp_path)
        assert step > newest, output
        newest = step
        if victim == "worker":
            assert process.returncode == 0, output
        if step == steps:
            # It went on without it: the next kill is of a new run.
            _is_complete(tmp_path, steps)
            shutil.rmtree(tmp_path / "runs")
            newest = 0
    assert alphatriangle(*arguments).returncode == 0
    _is_complete(tmp_path, steps)
    report(f"kills with Ray: {victim}", kills=RAY_KILLS, lost=0)


def _is_complete(data: Path, steps: int) -> None:
    facts = show(data)
    assert (facts["step"], facts["state"]) == (steps, "complete")
    assert facts["rejected_commits"] == []


def _kill(trainer: int, victim: str) -> None:
    if victim == "trainer":
        os.kill(trainer, signal.SIGKILL)
        return
    found = [pid for pid, command in children(trainer).items() if VICTIMS[victim](command)]
    assert found, children(trainer)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
