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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    done = run("train_and_resume", folder)
    assert done.returncode == 0, done.stderr
    assert "going on with run 'example' at step 4 to step 8" in done.stdout
    return folder


def test_there_is_a_test_for_every_example() -> None:
    source = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.stem}"' in source, path


def test_inference(trained: Path) -> None:
    done = run("load_for_inference", trained)
    assert done.returncode == 0, done.stderr
    assert "example at step 8: " in done.stdout


def test_other_tools_read_the_replay(trained: Path) -> None:
    done = run("read_the_replay", trained)
    assert done.returncode == 0, done.stderr
    assert "shapes left" in done.stdout
    assert "best" in done.stdout


def test_own_features(tmp_path: Path) -> None:
    done = run("own_features", tmp_path)
    assert done.returncode == 0, done.stderr
    # The same judgement with one placement of foresight scores 38.
    assert float(done.stdout.rpartition(":")[2]) > 20


def test_a_loop_that_is_killed_goes_on_exactly(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = run("crash_safe_loop", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    killed = run("crash_safe_loop", tmp_path, ALPHATRIANGLE_FAILPOINT="commit.after:2")
    assert killed.returncode == -signal.SIGKILL
    again = run("crash_safe_loop", tmp_path)
    assert "going on at step 100" in again.stdout
    assert again.stdout.splitlines()[-1] == whole.stdout.splitlines()[-1]
