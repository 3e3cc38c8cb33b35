"""The machine is lost with its disk, at random moments, again and again: another one goes on from
the replica, and ends as the run that was never interrupted and has no replica."""

from __future__ import annotations

import json
import random
import shutil
import signal
from pathlib import Path

from tests.durability.budget import budget, report
from tests.training.command import alphatriangle, fork, show, train_arguments

LOSSES = budget(6, 500)
STEPS = 40
BAD_INPUT = 2


def newest_there(store: Path) -> int:
    """The step of the newest commit that the store holds, as its files say."""
    files = (store / "r").glob("e*/commits/*.json")
    return max((json.loads(f.read_bytes())["commit"]["global_step"] for f in files), default=0)


def test_lost_at_random_moments(tmp_path: Path) -> None:
    """Every third machine finds the store out of reach at its start, and must not begin anew."""
    frequent = ["--workers", "0", "--set", "persistence.save_freq_steps=1"]
    calm = train_arguments(tmp_path / "calm", *frequent, "--json", steps=STEPS)
    result = alphatriangle(*calm)
    assert result.returncode == 0, result.stderr
    expected = json.loads(result.stdout)["state_digest"]
    store, away = tmp_path / "store", tmp_path / "away"
    store.mkdir()
    replicated = [*frequent, "--set", f"persistence.replica={store.as_uri()}"]
    rng, output = random.Random(11), tmp_path / "output.txt"
    losses = refused = newest = equal = 0
    while losses < LOSSES:
        machine = tmp_path / f"machine{losses}"
        arguments = train_arguments(machine, *replicated, steps=STEPS)
        if losses % 3 == 1:
            store.rename(away)
            process = fork(arguments, output)
            process.join()
            away.rename(store)
            assert process.exitcode == BAD_INPUT, output.read_text()
            assert "nothing older was taken in its place" in output.read_text()
            assert not list(machine.glob("runs/r/commits/*.json"))
            refused += 1
        process = fork(arguments, output)
        # Restoring, claiming, some steps and saves, handing over: whatever the moment brings.
        process.join(timeout=rng.uniform(0.5, 4.0))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), output.read_text()
        losses += 1
        step = newest_there(store)
        assert step >= newest, "what has been acknowledged is never gone"
        newest = step
        if process.exitcode == 0:
            assert show(machine)["state_digest"] == expected
            equal += 1
            shutil.rmtree(store)
            store.mkdir()
            newest = 0
        shutil.rmtree(machine, ignore_errors=True)
    last = tmp_path / "last"
    done = alphatriangle(*train_arguments(last, *replicated, steps=STEPS))
    assert done.returncode == 0, done.stderr
    assert show(last)["state_digest"] == expected
    report("machines lost", losses=losses, refused=refused, equal=equal + 1, lost=0)
