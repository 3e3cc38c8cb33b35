"""An MLflow that is locked, damaged, of a newer version, gone or down: training neither waits nor
ends nor forgets."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import sqlalchemy
from mlflow.tracking import MlflowClient
from pydantic import ValidationError

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.elsewhere import mlflow_log
from alphatriangle.data.elsewhere.mlflow_points import MlflowPoints
from alphatriangle.data.elsewhere.mlflow_store import Store, open_run, tracking_uri
from alphatriangle.data.elsewhere.mlflow_uploads import read_log
from alphatriangle.utils.mlflow_errors import masked
from tests.conftest import tiny_config
from tests.data.helpers import Training, started
from tests.helpers.mlflow_server import Server


def curve(mlruns: Path, run_id: str) -> list[tuple[int, float]]:
    """As another process would see it: MLflow keeps a database open that has been removed."""
    query = (
        "select step, value from metrics where run_uuid = ? and key = 'loss/total' order by step"
    )
    with contextlib.closing(sqlite3.connect(mlruns / "mlflow.db")) as connection:
        return list(connection.execute(query, (run_id,)))


def curve_on(uri: str, run_id: str) -> list[tuple[int, float]]:
    history = MlflowClient(uri).get_metric_history(run_id, "loss/total")
    return [(m.step, m.value) for m in history]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_log, "_FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(mlflow_log, "_LONGEST_RETRY_SECONDS", 0.1)


def begun(tmp_path: Path) -> Training:
    training = started(tiny_config(tmp_path, persistence={"mlflow": True}))
    training.manager.start_mlflow()
    return training


def step(training: Training) -> None:
    """A training step with a point and a save, which must not need MLflow."""
    training.commit()
    points = training.manager.mlflow_points
    assert points is not None
    points.write(training.step, {"loss/total": float(training.step), "nan": float("nan")})
    points.sync()


def catch_up(training: Training) -> str:
    log = training.manager._mlflow
    assert log is not None
    assert log.drain(120), log.last_error
    assert log.run_id is not None
    return log.run_id


def _lock(database: Path) -> Callable[[], object]:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("begin exclusive")
    return connection.close


def _damage(database: Path) -> Callable[[], object]:
    before = database.read_bytes()
    database.write_bytes(b"this is no database any more" * 100)
    return lambda: database.write_bytes(before)


def _newer(database: Path) -> Callable[[], object]:
    def set_version(version: str) -> str:
        with sqlite3.connect(database) as connection:
            (old,) = connection.execute("select version_num from alembic_version").fetchone()
            connection.execute("update alembic_version set version_num = ?", (version,))
        connection.close()
        return str(old)

    old = set_version("f" * 12)
    return lambda: set_version(old)


def _put_away(database: Path) -> Callable[[], object]:
    aside = database.rename(database.with_name("aside"))
    return lambda: aside.replace(database)


FAULTS = [_lock, _damage, _newer, _put_away]


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("fault", [_lock, _damage])
def test_a_fault_on_the_way_is_made_up_for_in_the_same_process(
    tmp_path: Path, fault: Callable[[Path], Callable[[], object]]
) -> None:
    training = begun(tmp_path)
    step(training)
    run_id = catch_up(training)
    mlruns = training.manager.paths.mlruns
    mend = fault(training.manager.paths.mlruns / "mlflow.db")
    step(training)
    step(training)
    mend()
    assert catch_up(training) == run_id
    training.manager.close()
    assert training.manager.uploads_left == 0
    assert curve(mlruns, run_id) == [(1, 1.0), (2, 2.0), (3, 3.0)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_the_start_is_made_up_for_by_the_next_process(
    tmp_path: Path, fault: Callable[[Path], Callable[[], object]]
) -> None:
    training = begun(tmp_path)
    step(training)
    run_id = catch_up(training)
    training.manager.close()
    database = training.manager.paths.mlruns / "mlflow.db"
    if fault is _put_away:
        # A new one is made meanwhile, with a run of its own.
        database.unlink()
    mend = (lambda: None) if fault is _put_away else fault(database)
    second = begun(tmp_path)
    second.step = 1
    step(second)
    second.manager.close(upload_seconds=60 if fault is _put_away else 0.2)
    assert second.manager.paths.commit(2).exists()
    mend()
    third = begun(tmp_path)
    third.step = 2
    step(third)
    now = catch_up(third)
    third.manager.close()
    assert third.manager.uploads_left == 0
    seen = curve(third.manager.paths.mlruns, now)
    expected = [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert seen == (expected[1:] if fault is _put_away else expected)
    assert (now == run_id) == (fault is not _put_away)


@pytest.mark.usefixtures("at_once")
def test_a_database_that_is_removed_on_the_way_gets_a_successor(tmp_path: Path) -> None:
    training = begun(tmp_path)
    step(training)
    first = catch_up(training)
    (training.manager.paths.mlruns / "mlflow.db").unlink()
    step(training)
    second = catch_up(training)
    assert second != first
    training.manager.close()
    assert curve(training.manager.paths.mlruns, second) == [(2, 2.0)]
    assert "checkpoints/checkpoint_step_1.pkl" in read_log(training.manager.paths.uploads).done


def test_nothing_of_mlflow_is_called_on_the_thread_that_trains(
    tmp_path: Path,
) -> None:
    threads: set[int] = set()

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "before_cursor_execute")
    def note(*_: object) -> None:
        threads.add(threading.get_ident())

    try:
        training = begun(tmp_path)
        for _ in range(2):
            step(training)
        training.manager.close()
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", note)
    assert threads
    assert threading.get_ident() not in threads


def test_steps_that_are_trained_again_appear_once(tmp_path: Path) -> None:
    """Also where one process has kept them and another has delivered them."""
    store = Store(tracking_uri(tmp_path), tmp_path)
    run = open_run(store, "e", "r", None)
    kept = tmp_path / "points.jsonl"
    first = MlflowPoints(kept)
    for number in range(4):
        first.write(number, {"loss/total": float(number)})
    first.deliver(run)
    for number in range(4, 6):
        first.write(number, {"loss/total": float(number)})
    first.close()
    second = MlflowPoints(kept)
    assert second.last_steps == {"loss/total": 5}
    for number in range(2, 9):
        second.write(number, {"loss/total": float(number)})
    second.deliver(run)
    assert not kept.exists()
    assert sorted(curve(tmp_path, run.run_id)) == [(n, float(n)) for n in range(9)]


@pytest.mark.usefixtures("at_once")
def test_saves_alone_log_to_a_server_that_goes_and_comes_back(
    tmp_path: Path, mlflow_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    persistence = {"mlflow": True, "mlflow_tracking_uri": mlflow_server.uri, "keep_last": 1}
    training = started(tiny_config(tmp_path, persistence=persistence))
    training.manager.save_run_config({"a": 1})
    training.commit()
    run_id = catch_up(training)
    mlflow_server.stop()
    step(training)
    step(training)
    mlflow_server.start()
    assert catch_up(training) == run_id
    training.manager.close()
    client = MlflowClient(mlflow_server.uri)
    assert curve_on(mlflow_server.uri, run_id) == [(2, 2.0), (3, 3.0)]
    names = [item.path for item in client.list_artifacts(run_id, "checkpoints")]
    assert names == ["checkpoints/checkpoint_step_3.pkl"], "a server follows retention too"
    assert client.get_run(run_id).info.status == "FINISHED"
    assert not training.manager.paths.mlruns.joinpath("mlflow.db").exists()

    # The caller's own run is logged to, and is the caller's to end.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    with mlflow.start_run() as active:
        other = started(
            tiny_config(tmp_path, train={"run_name": "b"}, persistence={"mlflow": True})
        )
        other.commit()
        other.manager.close()
        assert other.manager.uploads_left == 0
        run = client.get_run(active.info.run_id)
        assert run.info.status == "RUNNING"
        assert client.list_artifacts(active.info.run_id, "checkpoints")
    assert client.get_run(active.info.run_id).info.status == "FINISHED"


def test_a_program_that_does_not_close_still_logs_its_last_save(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.conftest import tiny_config; "
        "from tests.data.helpers import started; "
        "t = started(tiny_config(Path(sys.argv[1]), persistence={'mlflow': True})); "
        "t.advance(); t.save(); t.manager._mlflow.drain(60); t.advance(); t.save()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    (log,) = tmp_path.rglob("mlflow_uploads.jsonl")
    assert "checkpoints/checkpoint_step_2.pkl" in read_log(log).done


def test_who_closes_waits_no_longer_than_was_said(tmp_path: Path) -> None:
    """Not once more for the thread, which asks a server that is down."""
    persistence = {"mlflow": True, "mlflow_tracking_uri": "http://127.0.0.1:9"}
    training = started(tiny_config(tmp_path, persistence=persistence))
    training.commit()
    began = time.monotonic()
    training.manager.close(upload_seconds=15.0)
    assert 15.0 <= time.monotonic() - began < 27.0
    assert training.manager.uploads_left > 0, "the next start has them"


def test_passwords_are_neither_kept_nor_said() -> None:
    assert masked("cannot reach http://me:s3@cret@host:1/x") == "cannot reach http://***@host:1/x"
    assert "secret" not in repr(Store("http://me:secret@host", None))
    assert "secret" not in Store("http://me:secret@host", None).name
    with pytest.raises(ValidationError, match="MLFLOW_TRACKING_PASSWORD"):
        PersistenceConfig(mlflow_tracking_uri="http://me:secret@host")
