"""SIGKILL at random moments until the run completes: it ends as the run that was never killed."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path

from tests.durability.budget import budget, report
from tests.training.command import alphatriangle, commits, show, start, train_arguments

KILLS = budget(20, 500)
RAY_KILLS = budget(1, 20)
STEPS_A_KILL = 15


def newest_step(data: Path) -> int:
    """As the commit files say, read after the kill."""
    steps = [json.loads(path.read_bytes())["global_step"] for path in _commit_files(data)]
    return max(steps, default=0)


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
    steps = KILLS * STEPS_A_KILL
    frequent = ["--workers", "0", "--set", "persistence.save_freq_steps=1"]
    calm = train_arguments(tmp_path / "calm", *frequent, "--json", steps=steps)
    result = alphatriangle(*calm)
    assert result.returncode == 0, result.stderr
    expected = json.loads(result.stdout)["state_digest"]
    arguments = train_arguments(tmp_path / "killed", *frequent, steps=steps)
    rng = random.Random(7)
    kills = newest = 0
    for _ in range(KILLS):
        # Loading, the first rows, or some steps and saves: whatever the moment brings.
        kills += kill_after_first_words(arguments, "run 'r'", rng.uniform(0.2, 3.0))
        step = newest_step(tmp_path / "killed")
        assert step >= newest, "a committed step is never gone"
        newest = step
        if step == steps:
            break
    assert kills > KILLS / 2
    if newest < steps:
        assert alphatriangle(*arguments).returncode == 0
    assert show(tmp_path / "killed")["state_digest"] == expected
    report("kills at random moments", kills=kills, lost=0)


def test_a_trainer_with_ray_workers_killed(tmp_path: Path) -> None:
    """The run goes on behind the last commit; the counters never run backwards past it."""
    steps = 8 * RAY_KILLS + 8
    frequent = ["--workers", "1", "--set", "persistence.save_freq_steps=2"]
    arguments = train_arguments(tmp_path, *frequent, steps=steps)
    rng = random.Random(3)
    newest = kills = 0
    for _ in range(RAY_KILLS):
        kills += kill_after_first_words(arguments, "playing for the first rows", rng.uniform(1, 4))
        step = newest_step(tmp_path)
        assert step >= newest
        newest = step
    assert alphatriangle(*arguments).returncode == 0
    facts = show(tmp_path)
    assert (facts["step"], facts["state"]) == (steps, "complete")
    assert facts["rejected_commits"] == []
    report("kills with Ray workers", kills=kills, lost=0)
