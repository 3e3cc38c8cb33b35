"""A training with ``persistence.replica`` is copied elsewhere while it runs, and goes on there."""

from __future__ import annotations

from pathlib import Path

import pytest

from alphatriangle.config import Config
from alphatriangle.data.errors import DataError, FencedError
from alphatriangle.data.stores.folder import FolderStore
from tests.conftest import tiny_config
from tests.data.helpers import started
from tests.data.replica.helpers import RUN, Machine, digest_at, restored, train_on


def config_with(root: Path, store: Path, **more: object) -> Config:
    persistence = {"root_data_dir": str(root), "replica": store.as_uri(), **more}
    return tiny_config(persistence=persistence, train={"run_name": RUN})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def test_a_training_is_copied_and_goes_on_elsewhere(tmp_path: Path, folder: Path) -> None:
    training = started(config_with(tmp_path / "a", folder))
    for _ in range(3):
        training.commit()
    training.manager.close()
    status = training.manager.replica_status
    assert status is not None
    assert (status.health, status.acknowledged_step) == ("current", 3)
    assert restored(tmp_path / "b", FolderStore(folder)).rejected == []
    assert digest_at(tmp_path / "b") == digest_at(tmp_path / "a")
    again = started(config_with(tmp_path / "b", folder))
    again.manager.close()
    assert again.manager.replica_status is not None
    assert again.manager.replica_status.epoch == 2


def test_a_save_waits_for_the_replica_where_that_is_asked_for(tmp_path: Path, folder: Path) -> None:
    training = started(config_with(tmp_path / "a", folder, replica_sync=True))
    for step in (1, 2, 3):
        training.commit()
        status = training.manager.replica_status
        assert status is not None
        assert status.acknowledged_step == step
    restored(tmp_path / "b", FolderStore(folder))
    assert Machine(tmp_path / "b", FolderStore(folder)).catch_up(1)
    with pytest.raises(FencedError, match="taken over"):
        training.commit()
    training.manager.close()
    assert train_on(tmp_path / "a") == digest_at(tmp_path / "a"), "what is here is whole"


def test_a_place_that_is_not_there_harms_nothing(tmp_path: Path) -> None:
    training = started(config_with(tmp_path / "a", tmp_path / "nowhere"))
    training.commit()
    training.manager.close(upload_seconds=5.0)
    status = training.manager.replica_status
    assert status is not None
    assert status.health == "stuck"
    assert status.error is not None
    assert "is its disk mounted?" in status.error
    assert not (tmp_path / "nowhere").exists()
    assert digest_at(tmp_path / "a")


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket/x", "s3://key@bucket", "s3://b/x?secret=1", "bucket", "ftp://x"]
)
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises((ValueError, DataError), match="replica") as refused:
        tiny_config(persistence={"replica": url})
    assert "secret@" not in str(refused.value)
    assert "secret=" not in str(refused.value)
