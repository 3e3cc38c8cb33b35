"""``alphatriangle runs`` on the replica of a run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alphatriangle.cli.app import app
from tests.conftest import tiny_config
from tests.data.helpers import Training, started


def test_the_copy_at_a_url_is_what_is_verified(tmp_path: Path) -> None:
    """Also without --replica: nobody names it to have the run here called sound."""
    store = tmp_path / "store"
    store.mkdir()
    training = started(tiny_config(tmp_path, persistence={"replica": store.as_uri()}))
    training.commit()
    training.manager.close()
    data = ["--data-dir", str(training.config.persistence.root_data_dir)]
    at_url = ["verify", "tiny", "--url", store.as_uri(), *data]
    assert CliRunner().invoke(app, ["runs", *at_url]).exit_code == 0
    for path in store.rglob("objects/*"):
        path.write_bytes(b"rotten")
    result = CliRunner().invoke(app, ["runs", *at_url])
    assert result.exit_code == 1, result.output
    assert CliRunner().invoke(app, ["runs", "verify", "tiny", *data]).exit_code == 0


@pytest.fixture
def handed_over(tmp_path: Path) -> tuple[Path, list[str]]:
    """A store with the replica of a run, and where the run is."""
    store = tmp_path / "store"
    store.mkdir()
    training = started(tiny_config(tmp_path, persistence={"replica": store.as_uri()}))
    training.commit()
    training.manager.close()
    return store, ["--data-dir", str(training.config.persistence.root_data_dir)]


def test_what_makes_no_sense_is_refused(handed_over: tuple[Path, list[str]]) -> None:
    _, data = handed_over
    for words, said in (
        (["drill", "tiny", "--to", "/no/such/folder"], "no such folder"),
        (["verify", "tiny", "--read-data", "5%"], "--read-data is for replicas"),
    ):
        result = CliRunner().invoke(app, ["runs", *words, *data])
        assert result.exit_code == 2, result.output
        assert said in result.stderr


def test_a_store_that_has_forgotten_everything_is_no_new_one(
    handed_over: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """An empty mount point: nothing begins there, saves go on, and it says what to do."""
    store, data = handed_over
    aside = store.rename(tmp_path / "aside")
    store.mkdir()
    config = tiny_config(tmp_path, persistence={"replica": store.as_uri()})
    training = Training(config)
    training.step = training.restore(training.manager.load_initial_state())
    training.counter.value = training.step
    training.commit()
    replica = training.manager.replica
    assert replica is not None
    assert not replica.drain(20)
    assert replica.status.health == "stuck"
    assert "is it mounted?" in str(replica.status.error)
    training.manager.close()
    assert not list(store.rglob("*.json"))
    push = ["runs", "push", "tiny", store.as_uri(), *data]
    result = CliRunner().invoke(app, push)
    assert result.exit_code == 2, result.output
    assert "--anew begins again" in result.stderr
    store.rename(tmp_path / "empty")
    aside.rename(store)
    assert CliRunner().invoke(app, push).exit_code == 0, "it is back"
    store.rename(tmp_path / "lost")
    store.mkdir()
    assert CliRunner().invoke(app, [*push, "--anew"]).exit_code == 0
    assert list(store.rglob("commits/*.json"))


@pytest.mark.parametrize("words", [["replica"], ["push"], ["pull"]], ids=" ".join)
def test_ctrl_c_waits_for_no_store_that_hangs(
    handed_over: tuple[Path, list[str]], words: list[str], tmp_path: Path
) -> None:
    """It would answer after the deadline of a request: 20 seconds and more."""
    _, data = handed_over
    url = "s3://bucket/runs"
    what = {"replica": ["tiny", "--url", url], "push": ["tiny", url], "pull": [f"{url}/other"]}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "alphatriangle", "runs", *words, *what[words[0]], *data],
            env=environment,
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        # Two seconds, on a machine that has nothing else to do.
        assert time.monotonic() - begin < 8
        connection.close()
    assert process.returncode not in (0, 2)


def test_what_lost_machines_have_left_in_a_replica_can_be_removed(
    handed_over: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """A week later, and nothing else; also where no commit has been made since."""
    store, data = handed_over
    (objects,) = store.rglob("objects")
    orphans = [objects / ("0" * 64), objects / ("1" * 64)]
    for orphan in orphans:
        orphan.write_bytes(b"...")
    os.utime(orphans[0], (1e9, 1e9))
    prune = ["runs", "prune", "tiny", "--replica", *data]
    said = CliRunner().invoke(app, prune)
    assert said.exit_code == 0, said.output
    assert "would remove 1 objects" in said.stdout
    assert orphans[0].exists()
    refused = CliRunner().invoke(app, [*prune, "--keep-last", "2"])
    assert refused.exit_code == 2
    done = CliRunner().invoke(app, [*prune, "--apply"])
    assert done.exit_code == 0, done.output
    assert "removed 1 objects" in done.stdout
    assert [orphan.exists() for orphan in orphans] == [False, True]
    assert CliRunner().invoke(app, ["runs", "verify", "tiny", "--replica", *data]).exit_code == 0
    assert CliRunner().invoke(app, ["runs", "drill", "tiny", *data]).exit_code == 0
