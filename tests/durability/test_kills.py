"""SIGKILL at random moments until the run completes: it ends as the run that was never killed."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.durability.budget import budget, report
from tests.training.command import alphatriangle, commits, fork, of_kind, show, train_arguments

KILLS = budget(12, 500)
# A step and its save take longer where the tables are.
STEPS = {"convolutional": 150, "ntuple": 20}


def newest_step(data: Path) -> int:
    """As the commit files say; beside a training, retention may be faster than the reader."""
    steps = [0]
    for path in _commit_files(data):
        with contextlib.suppress(FileNotFoundError):
            steps.append(json.loads(path.read_bytes())["global_step"])
    return max(steps)


def _commit_files(data: Path) -> list[Path]:
    return [data / "runs/r/commits" / name for name in commits(data)]


@pytest.mark.parametrize("kind", ["convolutional", "ntuple"])
def test_killed_at_random_moments(tmp_path: Path, kind: str) -> None:
    """Runs that complete before there have been enough kills are compared and begun anew."""
    frequent = ["--workers", "0", "--set", "persistence.save_freq_steps=1", *of_kind(kind)]
    steps = STEPS[kind]
    calm = train_arguments(tmp_path / "calm", *frequent, "--json", steps=steps)
    result = alphatriangle(*calm)
    assert result.returncode == 0, result.stderr
    expected = json.loads(result.stdout)["state_digest"]
    data = tmp_path / "killed"
    arguments = train_arguments(data, *frequent, steps=steps)
    rng = random.Random(7)
    kills = newest = 0
    while kills < KILLS:
        output = tmp_path / "output.txt"
        process = fork(arguments, output)
        # Loading, the first rows, or some steps and saves: whatever the moment brings.
        process.join(timeout=rng.uniform(0.0, 2.0))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), output.read_text()
        kills += process.exitcode != 0
        step = newest_step(data)
        assert step >= newest, "a committed step is never gone"
        newest = step
        if step == steps:
            assert alphatriangle(*arguments).returncode == 0
            assert show(data)["state_digest"] == expected
            shutil.rmtree(data)
            newest = 0
    assert alphatriangle(*arguments).returncode == 0
    assert show(data)["state_digest"] == expected
    report(f"kills at random moments, {kind}", kills=kills, lost=0)
