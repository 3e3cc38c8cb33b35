"""Files reach MLflow once, whatever happens to it meanwhile, and never hold up a save."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from alphatriangle.data.elsewhere.mlflow_store import Store, open_run, tracking_uri
from alphatriangle.data.elsewhere.mlflow_uploads import read_log
from alphatriangle.data.records import RunInfo
from tests.conftest import tiny_config
from tests.data.helpers import Training, started


def with_mlflow(tmp_path: Path) -> Training:
    config = tiny_config(tmp_path, persistence={"mlflow": True})
    training = started(config)
    if training.manager.run_info is None:
        training.manager.write_run_info(
            RunInfo(run_name="tiny", created_at="", target_steps=9, steps_per_round=9)
        )
    training.manager.start_mlflow()
    return training


def opened(training: Training) -> str:
    """Wait until the MLflow run is there; its id."""
    assert training.manager._mlflow is not None
    assert training.manager._mlflow.drain(60), training.manager.upload_error
    assert training.manager.mlflow_run_id is not None
    return training.manager.mlflow_run_id


def artifacts(training: Training) -> dict[str, int]:
    paths = training.manager.paths
    client = MlflowClient(tracking_uri(paths.mlruns))
    run_id = read_log(paths.uploads).run_id
    assert run_id is not None
    found: dict[str, int] = {}
    folders = [""]
    while folders:
        for item in client.list_artifacts(run_id, folders.pop() or None):
            if item.is_dir:
                folders.append(item.path)
            else:
                found[item.path] = item.file_size
    return found


def test_artifacts_have_their_documented_places(tmp_path: Path) -> None:
    training = with_mlflow(tmp_path)
    training.manager.save_run_config({"a": {"b": 1}})
    training.commit()
    training.manager.close()
    assert set(artifacts(training)) == {
        "configs.json",
        "run.json",
        "commits/step_1.json",
        "checkpoints/checkpoint_step_1.pkl",
        "buffers/buffer_step_1.pkl",
        "buffers/segments/0-39.arrow",
        "episodes/episodes_step_1.arrow",
    }
    run = training.manager.paths.run
    for path, size in artifacts(training).items():
        assert (run / path).stat().st_size == size


def test_a_tag_leads_to_the_best_checkpoint(tmp_path: Path) -> None:
    training = with_mlflow(tmp_path)
    run_id = opened(training)
    client = MlflowClient(tracking_uri(training.manager.paths.mlruns))
    training.commit()
    training.manager.close()
    assert "best_checkpoint" not in client.get_run(run_id).data.tags
    again = with_mlflow(tmp_path)
    again.step = 1
    again.manager.mark_best(1)
    again.commit()
    again.manager.close()
    assert (
        client.get_run(run_id).data.tags["best_checkpoint"] == "checkpoints/checkpoint_step_1.pkl"
    )


def test_each_file_is_uploaded_once_over_restarts(tmp_path: Path) -> None:
    first = with_mlflow(tmp_path)
    first.commit()
    run_id = opened(first)
    first.manager.close()
    second = with_mlflow(tmp_path)
    assert opened(second) == run_id, "the same run goes on"
    second.step = 1
    second.commit()
    second.manager.close()
    log = [json.loads(x)["path"] for x in first.manager.paths.uploads.read_text().splitlines()[1:]]
    assert len(log) == len(set(log))
    assert "checkpoints/checkpoint_step_2.pkl" in log


def test_what_a_failing_store_did_not_take_is_uploaded_later(tmp_path: Path) -> None:
    training = with_mlflow(tmp_path)
    training.commit()
    assert training.manager._mlflow is not None
    assert training.manager._mlflow.drain(30)
    aside = training.manager.paths.mlruns / "aside"
    store = training.manager.paths.mlruns / "artifacts"
    store.rename(aside)
    store.write_text("in the way")
    training.commit()
    assert training.manager.last_report is not None, "the save itself is not touched by it"
    assert not training.manager._mlflow.drain(0.5)
    assert training.manager.upload_error is not None
    training.manager.close(upload_seconds=0.1)
    assert training.manager.uploads_left > 0
    store.unlink()
    aside.rename(store)
    again = with_mlflow(tmp_path)
    again.manager.close()
    assert again.manager.uploads_left == 0
    assert "checkpoints/checkpoint_step_2.pkl" in artifacts(again)


def test_an_mlflow_that_cannot_be_opened_is_no_reason_to_stop(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, persistence={"mlflow": True})
    training = started(config)
    training.manager.write_run_info(
        RunInfo(run_name="tiny", created_at="", target_steps=9, steps_per_round=9)
    )
    (training.manager.paths.mlruns / "mlflow.db").write_bytes(b"no database" * 1000)
    training.commit()
    training.manager.close(upload_seconds=0.1)
    assert training.manager.paths.commit(1).exists()


def test_a_run_that_mlflow_has_lost_is_made_anew(tmp_path: Path) -> None:
    store = Store(tracking_uri(tmp_path), tmp_path)
    assert open_run(store, "e", "r", "0" * 32).run_id != "0" * 32


@pytest.mark.parametrize("torn", [b'{"path": "x', b"\xff\xfe\n", b"[]\n"])
def test_a_torn_upload_log_costs_an_upload_not_a_start(tmp_path: Path, torn: bytes) -> None:
    first = with_mlflow(tmp_path)
    first.commit()
    first.manager.close()
    with first.manager.paths.uploads.open("ab") as f:
        f.write(torn)
    second = with_mlflow(tmp_path)
    second.manager.close()
    assert second.manager.uploads_left == 0
