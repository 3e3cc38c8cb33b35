"""A real SIGKILL of a real training process at every named place of saving."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.storage.failpoints import FAILPOINTS
from tests.durability.budget import report
from tests.training.command import alphatriangle, fork, show, train_arguments

STEPS = 80
SAVING = [
    name for name in FAILPOINTS if not name.startswith(("start", "train", "outbox", "replica"))
]
OUTBOX = [name for name in FAILPOINTS if name.startswith("outbox")]


def arguments(data: Path, *more: str) -> list[str]:
    frequent = ["--set", "persistence.save_freq_steps=2", "--set", "persistence.keep_last=3"]
    return train_arguments(data, "--workers", "0", *frequent, *more, steps=STEPS)


def die_at(data: Path, failpoint: str, *more: str) -> None:
    output = data / "output.txt"
    process = fork(arguments(data, *more), output, ALPHATRIANGLE_FAILPOINT=failpoint)
    process.join(timeout=240)
    said = f"{failpoint} was not reached: {output.read_text()}"
    assert process.exitcode == -signal.SIGKILL, said


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory) -> str:
    data = tmp_path_factory.mktemp("never-killed")
    result = alphatriangle(*arguments(data, "--json"))
    assert result.returncode == 0, result.stderr
    return str(json.loads(result.stdout)["state_digest"])


def test_one_run_killed_at_every_failpoint_ends_as_if_it_never_was(
    tmp_path: Path, never_killed: str
) -> None:
    newest = 0
    for name in SAVING:
        die_at(tmp_path, f"{name}:2")
        state = load_for_reading(PersistenceConfig(root_data_dir=tmp_path), "r")
        assert state.rejected == []
        assert state.commit is not None
        assert state.commit.global_step >= newest, "what was committed stays committed"
        newest = state.commit.global_step
    assert newest < STEPS
    assert alphatriangle(*arguments(tmp_path)).returncode == 0
    assert show(tmp_path)["state_digest"] == never_killed
    verified = alphatriangle("runs", "verify", "r", "--data-dir", str(tmp_path))
    assert verified.returncode == 0
    report("kills at failpoints", kills=len(SAVING), lost=0)


def test_uploads_survive_a_kill_at_every_failpoint(tmp_path: Path) -> None:
    mlflow = ["--set", "persistence.mlflow=true"]
    for name in OUTBOX:
        die_at(tmp_path, f"{name}:3", *mlflow)
    assert alphatriangle(*arguments(tmp_path, *mlflow)).returncode == 0
    log = tmp_path / "runs/r/mlflow_uploads.jsonl"
    uploaded = [json.loads(line).get("path") for line in log.read_text().splitlines()]
    commit = json.loads(max((tmp_path / "runs/r/commits").glob("*.json")).read_text())
    artifacts = next((tmp_path / "mlruns/artifacts").glob("*/artifacts"))
    for file in commit["files"]:
        assert uploaded.count(file["path"]) >= 1
        assert (artifacts / file["path"]).stat().st_size == file["size"]
    report("kills while uploading", kills=len(OUTBOX), lost=0)
