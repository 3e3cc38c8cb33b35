"""The examples run as they stand, one after the other in one folder."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.runs.compare import compare_states
from alphatriangle.data.schemas import LoadedTrainingState

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(
    name: str, folder: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), *words],
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


LOOPS = {
    "cleanrl_dqn": ("cleanrl-dqn", 2000),
    "openspiel_alphazero": ("connect-four", 60),
    "sb3_dqn": ("sb3-dqn", 1500),
    "supervised_loop": ("supervised", 120),
}
"""Loops on what others wrote: the name of its run, and its steps."""


# By itself: a signal from here might come when it has long been complete. What is written behind
# the loop is wherever it is.
KILL_AFTER = """
import os, runpy, signal, sys

class Output:
    left, stdout = int(sys.argv[1]), sys.stdout

    def write(self, text):
        self.stdout.write(text)
        self.stdout.flush()
        self.left -= text.count("\\n")
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def flush(self):
        self.stdout.flush()

sys.stdout, sys.argv = Output(), sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class Loop:
    """One of them in a folder; told where and for how long, or as it stands."""

    def __init__(self, name: str, folder: Path, *, is_told: bool = False) -> None:
        self.name, self.folder = name, folder
        self.run_name, steps = LOOPS[name]
        data = folder / "runs_folder"
        self.words = (str(data), str(steps)) if is_told else ()
        self.settings = PersistenceConfig(root_data_dir=data)
        folder.mkdir()

    def complete(self) -> list[str]:
        """Run it to its end; returns what it has said."""
        done = run(self.name, self.folder, *self.words, OMP_NUM_THREADS="1")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[-1].startswith("complete at step"), done.stdout
        return lines

    def kill_at(self, failpoint: str) -> None:
        more = {"OMP_NUM_THREADS": "1", "ALPHATRIANGLE_FAILPOINT": failpoint}
        killed = run(self.name, self.folder, *self.words, **more)
        assert killed.returncode == -signal.SIGKILL, killed.stderr

    def kill_after(self, lines: int) -> str:
        """Kill it in the moment in which it has said so many lines; returns the first."""
        program = [sys.executable, "-c", KILL_AFTER, str(lines)]
        killed = subprocess.run(
            [*program, str(EXAMPLES / f"{self.name}.py"), *self.words],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        return killed.stdout.splitlines()[0]

    def state(self) -> LoadedTrainingState:
        return load_for_reading(self.settings, self.run_name)

    def commits(self) -> list[int]:
        found = list_commits(PathManager(self.settings, self.run_name)).commits
        return [stored.commit.sequence for stored in found]


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_on_another_library_that_is_killed_ends_as_if_it_never_was(
    name: str, tmp_path: Path
) -> None:
    whole, killed = Loop(name, tmp_path / "whole", is_told=True), Loop(name, tmp_path / "killed")
    said = whole.complete()
    commits = whole.commits()
    assert whole.complete()[-1] == said[-1]
    assert whole.commits() == commits, "a complete loop has nothing to do"

    # So little each time that it is never complete before the last.
    draw = random.Random(name)
    few = len(said) // 8
    killed.kill_at("commit.after:2")
    first = killed.kill_after(draw.randint(2, few))
    assert first.startswith("going on at step")
    killed.kill_at("write.checkpoint:1")
    for _ in range(2):
        killed.kill_after(draw.randint(1, few))
    assert killed.complete()[-1] == said[-1]
    assert compare_states(whole.state(), killed.state()) == []
