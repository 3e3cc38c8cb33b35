"""The examples run as they stand, one after the other in one folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def run_twice(name: str, folder: Path) -> tuple[str, str]:
    """What it prints, and what it prints when it is started again where it has ended well."""
    first, second = run(name, folder), run(name, folder)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    return first.stdout, second.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    first, second = run_twice("train_and_resume", folder)
    assert "going on with run 'example' at step 4 to step 8" in first
    assert "run 'example' already has 8 steps" in second
    return folder


def test_there_is_a_test_for_every_example() -> None:
    source = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.stem}"' in source, path


def test_inference(trained: Path) -> None:
    for printed in run_twice("load_for_inference", trained):
        assert "example at step 8: " in printed


def test_other_tools_read_the_replay(trained: Path) -> None:
    for printed in run_twice("read_the_replay", trained):
        assert "shapes left" in printed
        assert "best" in printed


def test_own_features(tmp_path: Path) -> None:
    for printed in run_twice("own_features", tmp_path):
        # The same judgement with one placement of foresight scores 38.
        assert float(printed.rpartition(":")[2]) > 20


def test_a_loop_that_is_killed_goes_on_exactly(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, complete = run_twice("crash_safe_loop", tmp_path / "whole")
    assert "going on at step 200" in complete
    assert complete.splitlines()[-1] == whole.splitlines()[-1]
    killed = run("crash_safe_loop", tmp_path, ALPHATRIANGLE_FAILPOINT="commit.after:2")
    assert killed.returncode == -signal.SIGKILL
    again = run("crash_safe_loop", tmp_path)
    assert "going on at step 100" in again.stdout
    assert again.stdout.splitlines()[-1] == whole.splitlines()[-1]
