"""The front for anybody's loop: killed at any moment it goes on exactly, and it says what does not
fit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alphatriangle.config import PersistenceConfig
from alphatriangle.data import Ring, Saver, state_digest
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import SaveFailedError, StateMismatchError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.runs.compare import compare_states
from alphatriangle.data.runs.fork import fork_run
from alphatriangle.data.schemas import LoadedTrainingState
from tests.training.command import alphatriangle

PROGRAM = """
import random, sys
import numpy as np
import torch
from alphatriangle.data import Ring, Saver
from alphatriangle.utils.global_rng import seed_everything

seed_everything(0)
model = torch.nn.Linear(3, 1)
target = torch.nn.Linear(3, 1)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7)
noise = np.random.default_rng(4)
env = {"position": 0, "seen": []}
ring = Ring(40, {"x": ("float32", (3,)), "y": "float32"}, mutable={"error": "float64"})
with Saver(sys.argv[1], "loop", replay=ring, every=5) as saver:
    start = saver.restore({"model": model, "target": target, "optimizer": optimizer,
                           "schedule": schedule, "noise": noise, "env": env})
    for step in range(start, 60):
        x = noise.normal(size=(4, 3)).astype(np.float32)
        ring.add({"x": x, "y": x.sum(1) + np.float32(random.random()), "error": np.zeros(4)})
        places = ring.positions()[np.random.randint(0, len(ring), 8)]
        loss = (model(torch.from_numpy(ring["x"][places]))[:, 0] + torch.rand(8)
                - torch.from_numpy(ring["y"][places])).square()
        ring["error"][places] = loss.detach().numpy()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        schedule.step()
        env["position"] += 1
        env["seen"] = env["seen"][-3:] + [step]
        if step % 9 == 0:
            target.load_state_dict(model.state_dict())
        print(step, flush=True)
        saver.save(step + 1, metrics={"loss": loss.mean().item()})
print("stopping" if saver.stopping else "done")
"""


def command(folder: Path) -> list[str]:
    return [sys.executable, "-c", PROGRAM, str(folder)]


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def state(folder: Path, name: str = "loop") -> LoadedTrainingState:
    return load_for_reading(PersistenceConfig(root_data_dir=folder), name)


def digest(folder: Path) -> str:
    found = state(folder)
    assert found.checkpoint_data is not None
    return state_digest(found.checkpoint_data, found.buffer_data)


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("never-killed")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done"
    return folder


def test_a_loop_that_is_killed_again_and_again_ends_as_if_it_never_was(
    tmp_path: Path, never_killed: Path
) -> None:
    """At places in a save and between saves, and told to stop once."""
    for place in ("capture.end:2", "write.segment:2", "commit.before:3", "links.end:1"):
        killed = run(tmp_path, ALPHATRIANGLE_FAILPOINT=place)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    with subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(7):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        said = process.stdout.read()
    assert process.returncode == 0
    assert said.splitlines()[-1] == "stopping"
    done = run(tmp_path)
    assert done.stdout.splitlines()[-1] == "done", done.stderr
    assert digest(tmp_path) == digest(never_killed)
    again = run(tmp_path)
    assert again.stdout == "done\n", "a complete loop has nothing to do"
    assert compare_states(state(tmp_path), state(never_killed)) == []


def test_where_two_states_differ_is_told(never_killed: Path) -> None:
    """Component, tensor, first row, generator."""
    one, other = state(never_killed), state(never_killed)
    assert other.checkpoint_data is not None
    assert other.buffer_data is not None
    other.checkpoint_data.model_state_dict["model.weight"][0, 1] += 1
    other.checkpoint_data.components["env"]["position"] = 7
    del other.checkpoint_data.components["schedule"]
    other.checkpoint_data.rng_state["torch"][3] ^= 1
    rows = other.buffer_data.buffer_list.columns()
    rows["y"] = rows["y"].copy()
    rows["y"][5:] += 1
    found = {d.where: d.what for d in compare_states(one, other)}
    places = ["components.env.position", "components.schedule", "rng.torch", "rows.y"]
    assert sorted(found) == sorted([*places, "model.model.weight"])
    assert found["model.model.weight"].startswith("1 of 3 differ, first at [0, 1]")
    assert found["components.env.position"] == "60 and 7"
    assert found["components.schedule"] == "is only in the first"
    assert found["rows.y"].startswith("35 of 40 differ, first at [5]")


def test_the_command_compares_runs(never_killed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    shutil.copytree(never_killed, folder)
    settings = PersistenceConfig(root_data_dir=folder)
    fork_run(settings, "loop", "same")
    fork_run(settings, "loop", "older", step=55)
    where = ["--data-dir", str(folder)]
    equal = alphatriangle("runs", "compare", "loop", "same", *where)
    assert (equal.returncode, equal.stdout) == (0, "equal\n")
    differs = alphatriangle("runs", "compare", "loop", "older", "--json", *where)
    assert differs.returncode == 1
    places = {d["where"] for d in json.loads(differs.stdout)["differences"]}
    assert {"global_step", "model.model.weight", "components.noise.state.state.state"} <= places
    assert alphatriangle("runs", "verify", "loop", *where).returncode == 0
    listed = json.loads(alphatriangle("runs", "show", "loop", "--json", *where).stdout)
    assert listed["buffer_rows"] == 40
    assert listed["repeat"] is None


def test_commands_send_nobody_to_train_another_programs_run(
    never_killed: Path, tmp_path: Path
) -> None:
    """Not to a command that would refuse it: what trains it is the loop it comes from."""
    folder = tmp_path / "data"
    shutil.copytree(never_killed, folder)
    where = ["--data-dir", str(folder)]
    shown = alphatriangle("runs", "show", "loop", *where)
    assert "repeat        with the program that saved it" in shown.stdout
    forked = alphatriangle("runs", "fork", "loop", "branch", *where)
    assert "the program that saved it goes on with it" in forked.stdout
    explained = alphatriangle("runs", "explain-resume", "loop", *where)
    assert "run 'loop' is of a loop with a Saver" in explained.stdout
    assert "(step 60" in explained.stdout
    buffer = ["--what", "buffer", "--to", str(tmp_path / "b.pkl")]
    refused = alphatriangle("runs", "export", "loop", *buffer, *where)
    assert refused.returncode == 2
    assert "columns x, y" in refused.stderr
    for command in ("train", "eval"):
        name = ["--run-name", "loop"] if command == "train" else ["loop"]
        done = alphatriangle(command, *name, *where)
        assert done.returncode == 2
        assert len(done.stderr) < 1000, done.stderr


def small(folder: Path, **more: Any) -> Saver:
    return Saver(folder, "small", signals=False, **more)


def steps_saved(folder: Path) -> list[int]:
    paths = PathManager(PersistenceConfig(root_data_dir=folder), "small")
    return sorted(s.commit.global_step for s in list_commits(paths).commits)


def test_the_rhythm_the_last_step_and_what_is_the_best(tmp_path: Path) -> None:
    with small(tmp_path, every=4) as saver:
        assert saver.restore({"model": torch.nn.Linear(1, 1)}) == 0
        saved = [saver.save(step, is_best=step == 6) for step in range(1, 8)]
    assert [i for i, was in enumerate(saved, 1) if was] == [4, 6]
    assert steps_saved(tmp_path) == [4, 6, 7]


def test_an_exception_saves_nothing_more_and_loses_nothing(tmp_path: Path) -> None:
    def loop() -> None:
        with small(tmp_path, every=2) as saver:
            saver.restore({"count": {}})
            for step in range(1, 6):
                saver.save(step)
                assert 1 / (5 - step)

    with pytest.raises(ZeroDivisionError):
        loop()
    assert steps_saved(tmp_path) == [2, 4]


PARTS: dict[str, Callable[[], Any]] = {
    "module": lambda: torch.nn.Linear(2, 1),
    "torch generator": lambda: torch.Generator().manual_seed(random.randrange(99)),
    "numpy generator": np.random.default_rng,
    "numpy random state": np.random.RandomState,
    "python random": random.Random,
    "dict": lambda: {"now": random.random(), "inner": [1, (2, 3)]},
}


@pytest.mark.parametrize("kind", PARTS)
def test_parts_of_every_kind_come_back(tmp_path: Path, kind: str) -> None:
    first, second = PARTS[kind](), PARTS[kind]()
    with small(tmp_path) as saver:
        saver.restore({"part": first})
        saver.save(1)
    with small(tmp_path) as saver:
        assert saver.restore({"part": second}) == 1
        saver.save(2)
    one, other = (
        load_for_reading(PersistenceConfig(root_data_dir=tmp_path), "small", step)
        for step in (1, 2)
    )
    assert {d.where for d in compare_states(one, other)} == {"global_step"}


def test_what_does_not_fit_is_named_and_nothing_is_changed(tmp_path: Path) -> None:
    columns = {"x": "float32"}
    with small(tmp_path, replay=Ring(5, columns)) as saver:
        saver.restore({"model": torch.nn.Linear(2, 3), "env": {}})
        saver.save(1)
    model = torch.nn.Linear(4, 3)
    before = model.weight.clone()
    wrong: list[tuple[dict[str, Any], Ring | None, str]] = [
        ({"model": model, "env": {}}, Ring(5, columns), r"weight: file \(3, 2\), model \(3, 4\)"),
        ({"model": torch.nn.Linear(2, 3)}, Ring(5, columns), "part 'env' is missing"),
        ({"model": torch.nn.Linear(2, 3), "env": {}, "x": {}}, Ring(5, columns), "'x' was not"),
        ({"model": torch.nn.Linear(2, 3), "env": {}}, None, "has a replay, and none is given"),
    ]
    for parts, ring, said in wrong:
        with pytest.raises(StateMismatchError, match=said), small(tmp_path, replay=ring) as saver:
            saver.restore(parts)
    assert torch.equal(model.weight, before)
    assert steps_saved(tmp_path) == [1]


def test_parts_without_state_are_refused_by_name(tmp_path: Path) -> None:
    with small(tmp_path) as saver:
        with pytest.raises(TypeError, match="part 'env' is a object"):
            saver.restore({"env": object()})
        with pytest.raises(TypeError, match=r"restore\(\) comes first"):
            saver.save(1)


def test_a_state_that_is_not_finite_is_never_committed(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)

    def loop() -> None:
        with small(tmp_path) as saver:
            saver.restore({"model": model})
            saver.save(1)
            model.weight.data.fill_(torch.nan)
            saver.save(2)
            saver.save(3)

    with pytest.raises(SaveFailedError, match="is not finite"):
        loop()
    assert steps_saved(tmp_path) == [1]
