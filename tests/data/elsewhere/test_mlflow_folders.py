"""What is written for MLflow stays in the data folder that was named, whatever its name or past."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.pruning import carry_out_pruning, plan_pruning
from alphatriangle.data.elsewhere.mlflow_store import tracking_uri
from alphatriangle.data.elsewhere.mlflow_uploads import read_log, remove_stale_links
from alphatriangle.data.path_manager import PathManager
from tests.conftest import tiny_config
from tests.data.helpers import Training, started


def trained(folder: Path, *, run: str = "tiny", keep_last: int = 5, commits: int = 1) -> Training:
    """A run of the data folder, some commits further."""
    persistence = {"mlflow": True, "keep_last": keep_last}
    training = started(tiny_config(folder, train={"run_name": run}, persistence=persistence))
    known = list_commits(training.manager.paths).commits
    training.step = known[0].commit.global_step if known else 0
    for _ in range(commits):
        training.commit()
    training.manager.close()
    assert training.manager.uploads_left == 0
    return training


def removed_links(paths: PathManager) -> int:
    return remove_stale_links(paths, list_commits(paths), read_log(paths.uploads))


def contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%20b c", "Übung 100%", "plain"])
def test_everything_lies_inside_whatever_the_name(tmp_path: Path, name: str) -> None:
    training = trained(tmp_path / name)
    mlruns = training.manager.paths.mlruns
    assert {p.name for p in tmp_path.iterdir()} == {name}
    assert (mlruns / "mlflow.db").read_bytes().startswith(b"SQLite")
    assert list(mlruns.rglob("artifacts/checkpoints/checkpoint_step_1.pkl"))
    run_id = read_log(training.manager.paths.uploads).run_id
    assert run_id is not None
    found = MlflowClient(tracking_uri(mlruns)).list_artifacts(run_id, "commits")
    assert [item.path for item in found] == ["commits/step_1.json"]


@pytest.mark.parametrize("how", ["copied", "moved"])
def test_a_folder_from_elsewhere_writes_nothing_where_it_was(tmp_path: Path, how: str) -> None:
    first = trained(tmp_path / "first")
    before = contents(tmp_path / "first")
    if how == "moved":
        (tmp_path / "first").rename(tmp_path / "second")
        before = {}
    else:
        shutil.copytree(tmp_path / "first", tmp_path / "second", symlinks=True)
    second = trained(tmp_path / "second")
    assert contents(tmp_path / "first") == before
    assert list((tmp_path / "second/data/mlruns").rglob("checkpoint_step_2.pkl"))
    # It stays with the MLflow run that it has begun there.
    log = read_log(second.manager.paths.uploads)
    assert "checkpoints/checkpoint_step_1.pkl" in log.done, "the older files are there as well"
    third = trained(tmp_path / "second")
    assert read_log(third.manager.paths.uploads).run_id == log.run_id
    assert first.manager.run_name == second.manager.run_name


def test_a_run_copied_beside_itself_has_an_mlflow_run_of_its_own(tmp_path: Path) -> None:
    first = trained(tmp_path, run="one").manager.paths
    shutil.copytree(first.run, first.runs / "two", symlinks=True)
    second = trained(tmp_path, run="two").manager.paths
    again = trained(tmp_path, run="one").manager.paths
    ids = [read_log(p.uploads).run_id for p in (again, second)]
    client = MlflowClient(tracking_uri(first.mlruns))
    assert [client.get_run(str(i)).info.run_name for i in ids] == ["one", "two"]


def test_mlflow_holds_what_the_run_holds_and_takes_no_space_of_its_own(tmp_path: Path) -> None:
    paths = trained(tmp_path, keep_last=1, commits=4).manager.paths

    def checkpoints() -> list[Path]:
        return sorted(paths.mlruns.rglob("artifacts/checkpoints/*.pkl"))

    (only,) = checkpoints()
    assert only.samefile(paths.checkpoints / "checkpoint_step_4.pkl")
    assert [p.name for p in paths.mlruns.rglob("step_*.json")] == ["step_4.json"]

    trained(tmp_path, keep_last=9, commits=3)
    assert len(checkpoints()) == 4
    carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=1))
    assert removed_links(paths) > 0
    assert [p.name for p in checkpoints()] == ["checkpoint_step_7.pkl"]
    assert removed_links(paths) == 0


def test_a_copy_does_not_prune_the_artifacts_of_the_original(tmp_path: Path) -> None:
    trained(tmp_path / "first", commits=3)
    before = contents(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "second", symlinks=True)
    paths = started(tiny_config(tmp_path / "second")).manager.paths
    carry_out_pruning(paths, plan_pruning(KnownCommits(paths), keep_last=1))
    assert removed_links(paths) == 0
    assert contents(tmp_path / "first") == before


def test_a_run_can_be_rebuilt_from_mlflow(tmp_path: Path) -> None:
    training = trained(tmp_path, commits=2)
    paths = training.manager.paths
    run_id = read_log(paths.uploads).run_id
    client = MlflowClient(tracking_uri(paths.mlruns))
    rebuilt = tmp_path / "new" / "runs" / "tiny"
    rebuilt.mkdir(parents=True)
    client.download_artifacts(str(run_id), "", str(rebuilt))
    config = training.config.persistence.model_copy(
        update={"root_data_dir": tmp_path / "new", "mlflow": False}
    )
    from alphatriangle.data import DataManager

    state = DataManager(config, training.config.train).load_initial_state()
    assert state.checkpoint_data is not None
    assert state.checkpoint_data.global_step == 2
    assert state.buffer_data is not None
    assert state.rejected == []


def test_processes_that_begin_at_once_in_a_new_folder_all_log(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from tests.data.elsewhere.test_mlflow_folders import trained; "
        "trained(Path(sys.argv[1]), run=sys.argv[2])"
    )
    names = ["a", "b", "c"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), name],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=subprocess.PIPE,
        )
        for name in names
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr.decode()
    client = MlflowClient(tracking_uri(tmp_path / "data" / "mlruns"))
    (experiment,) = [e for e in client.search_experiments() if e.name == "AlphaTriangle"]
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(str(run.info.run_name) for run in runs) == names
