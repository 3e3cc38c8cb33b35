"""``--workers 0``: interrupted in any way and started again, a run ends where it would have."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.training.command import (
    alphatriangle,
    commits,
    of_kind,
    send_when,
    show,
    start,
    train_arguments,
)


class Whole(NamedTuple):
    """A run that was never stopped."""

    options: list[str]
    """What makes it of its kind."""
    digest: str


@pytest.fixture(scope="module", params=["convolutional", "ntuple"])
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Whole:
    data = tmp_path_factory.mktemp("uninterrupted")
    options = ["--workers", "0", *of_kind(request.param)]
    result = alphatriangle(*train_arguments(data, *options, "--json"))
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert outcome["complete"]
    assert outcome["state_digest"] == show(data)["state_digest"]
    return Whole(options, str(outcome["state_digest"]))


def test_the_same_command_elsewhere_gives_the_same_digest(
    tmp_path: Path, uninterrupted: Whole
) -> None:
    arguments = train_arguments(tmp_path, *uninterrupted.options, "--run-name", "another-name")
    assert alphatriangle(*arguments).returncode == 0
    assert show(tmp_path, "another-name")["state_digest"] == uninterrupted.digest


def test_another_seed_gives_another_digest(tmp_path: Path, uninterrupted: Whole) -> None:
    arguments = train_arguments(tmp_path, *uninterrupted.options, "--seed", "8")
    assert alphatriangle(*arguments).returncode == 0
    assert show(tmp_path)["state_digest"] != uninterrupted.digest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_by_a_signal_and_continued(
    tmp_path: Path, uninterrupted: Whole, number: signal.Signals
) -> None:
    arguments = train_arguments(tmp_path, *uninterrupted.options)
    process = start(arguments)
    assert send_when(process, lambda: len(commits(tmp_path)) >= 2, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert f"stopped by {number.name}" in output
    before = show(tmp_path)
    assert 0 < before["step"] < 24
    assert before["state"] == "unfinished"
    assert alphatriangle(*arguments).returncode == 0
    after = show(tmp_path)
    assert (after["step"], after["state"]) == (24, "complete")
    assert after["state_digest"] == uninterrupted.digest


def test_killed_again_and_again(tmp_path: Path, uninterrupted: Whole) -> None:
    """SIGKILL before the first commit, and after every two further ones, whatever it is doing."""
    arguments = train_arguments(tmp_path, *uninterrupted.options)
    kills = 0
    for needed in (0, 1, 3, 5):
        process = start(arguments)
        kills += send_when(process, lambda n=needed: run_exists(tmp_path, n), signal.SIGKILL)  # type: ignore[misc]
        process.communicate(timeout=60)
    assert kills >= 3
    assert alphatriangle(*arguments).returncode == 0
    assert show(tmp_path)["state_digest"] == uninterrupted.digest


def run_exists(data: Path, needed_commits: int) -> bool:
    return (data / "runs/r/run.json").exists() and len(commits(data)) >= needed_commits


def test_a_second_trainer_is_told_who_is_the_first(tmp_path: Path) -> None:
    arguments = train_arguments(tmp_path, "--workers", "0", steps=5000)
    first = start(arguments)
    try:
        assert first.stdout is not None
        for line in first.stdout:
            if line.startswith("step"):
                break
        second = alphatriangle(*arguments)
        assert second.returncode == 2
        assert f"process {first.pid} on" in second.stderr
        assert second.stderr.count("\n") == 1
        assert "running" in alphatriangle("runs", "list", "--data-dir", str(tmp_path)).stdout
    finally:
        first.kill()
        first.communicate()
    short = train_arguments(tmp_path, "--workers", "0", steps=1)
    assert alphatriangle(*short).returncode == 0, "a lock left by the dead is no lock"
