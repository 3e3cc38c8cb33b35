"""SIGKILL at random moments until the run completes: it ends as the run that was never killed."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
from pathlib import Path

from tests.durability.budget import budget, report
from tests.training.command import alphatriangle, commits, show, start, train_arguments

KILLS = budget(20, 500)
STEPS = 200


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
        kills += kill_after_first_words(arguments, "run 'r'", rng.uniform(0.2, 2.0))
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
