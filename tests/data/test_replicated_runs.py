"""``DataManager`` and ``Saver`` with a replica: brought here, claimed, never in the way."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from alphatriangle.config import Config, PersistenceConfig
from alphatriangle.data import DataManager, Saver
from alphatriangle.data.errors import (
    DivergedError,
    FencedError,
    NoSoundCommitError,
    ReplicaUnavailableError,
    SaveFailedError,
)
from alphatriangle.data.replica.drill import drill
from alphatriangle.data.replica.once import push
from alphatriangle.data.replica.protocol import KeepRules
from alphatriangle.data.replica.state import read_any_state
from alphatriangle.data.stores.store import StoreAddressError
from tests.conftest import tiny_config
from tests.data.helpers import AnyTraining, over_all_kinds, reload, started
from tests.durability.test_crash_points import digest_of


def replicated(machine: Path, store: Path, **more: object) -> Config:
    """A run on a machine, with a replica in a folder that must be there."""
    persistence = {"root_data_dir": str(machine), "replica": store.as_uri(), **more}
    return tiny_config(persistence=persistence)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@over_all_kinds
def test_a_run_that_is_not_here_is_brought_here(
    tmp_path: Path, store: Path, kind: type[AnyTraining]
) -> None:
    training = started(replicated(tmp_path / "a", store), kind)
    training.commit()
    training.commit(is_best=True)
    training.manager.close()
    here = reload(tiny_config(persistence={"root_data_dir": str(tmp_path / "a")}))
    shutil.rmtree(tmp_path / "a")
    state = reload(replicated(tmp_path / "b", store))
    assert state.commit is not None
    assert state.commit.global_step == 2
    assert digest_of(state) == digest_of(here)
    best = DataManager(replicated(tmp_path / "b", store).persistence, training.config.train)
    assert best.paths.best_checkpoint.resolve() == best.paths.checkpoint(2)


def test_what_is_not_known_to_be_new_does_not_begin(tmp_path: Path, store: Path) -> None:
    away = store.rename(tmp_path / "away")
    with pytest.raises(ReplicaUnavailableError, match="nothing older was taken in its place"):
        reload(replicated(tmp_path / "a", store))
    assert not (tmp_path / "a").exists()
    away.rename(store)
    assert reload(replicated(tmp_path / "a", store)).commit is None


def test_what_is_there_and_damaged_does_not_begin_anew(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store))
    training.commit()
    training.manager.close()
    for path in store.rglob("objects/*"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(NoSoundCommitError):
        reload(replicated(tmp_path / "b", store))


def test_a_damaged_newest_is_passed_over_and_reported(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store))
    training.commit()
    assert training.manager.replica is not None
    assert training.manager.replica.drain(30)
    old = set(store.rglob("objects/*"))
    training.commit()
    training.manager.close()
    for path in set(store.rglob("objects/*")) - old:
        path.unlink()
    state = reload(replicated(tmp_path / "b", store))
    assert state.commit is not None
    assert state.commit.global_step == 1
    assert len(state.rejected) == 1


def test_saves_go_on_without_the_store(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store))
    training.commit()
    assert training.manager.replica is not None
    assert training.manager.replica.drain(30)
    away = store.rename(tmp_path / "away")
    training.commit()
    training.commit()
    assert not training.manager.replica.drain(30)
    status = training.manager.replica.status
    assert status.health == "stuck"
    assert status.acknowledged_step == 1
    assert "is its disk mounted?" in status.text
    state = read_any_state(training.manager.paths.replica_state)
    assert state is not None
    assert "is its disk mounted?" in str(state.error)
    away.rename(store)
    assert training.manager.replica.drain(30)
    assert training.manager.replica.status.text == "step 3, up to date"
    training.manager.close()
    state = read_any_state(training.manager.paths.replica_state)
    assert state is not None
    assert state.error is None


def test_a_run_that_is_here_starts_without_the_store(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store))
    training.commit()
    training.manager.close()
    store.rename(tmp_path / "away")
    state = reload(replicated(tmp_path / "a", store))
    assert state.commit is not None


def test_a_folder_with_another_history_is_told_at_its_start(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store))
    training.commit()
    training.manager.close()
    shutil.copytree(tmp_path / "a", tmp_path / "rolled back")
    again = started(replicated(tmp_path / "a", store))
    again.restore(reload_beside(again))
    again.commit()
    again.manager.close()
    with pytest.raises(DivergedError, match="is ahead of this folder"):
        reload(replicated(tmp_path / "rolled back", store))
    # The run is let go of, and is as it was: without the replica it goes on.
    alone = tiny_config(persistence={"root_data_dir": str(tmp_path / "rolled back")})
    assert reload(alone).commit is not None


def reload_beside(training: AnyTraining) -> object:
    from alphatriangle.data.commits.loading import load_for_reading

    return load_for_reading(training.config.persistence, training.manager.run_name)


def test_a_save_that_waits_is_there_when_it_returns(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store, replica_sync=True))
    for step in (1, 2, 3):
        training.advance()
        training.save()
        state = read_any_state(training.manager.paths.replica_state)
        assert state is not None
        assert state.acknowledged is not None
        assert state.acknowledged.step == step
        report = training.manager.poll()
        assert report is not None, "who asks for reports still gets them"
        assert report.commit.global_step == step
    training.manager.close()


def test_a_save_that_waits_and_fails_is_reported_as_any_other(tmp_path: Path, store: Path) -> None:
    """By the next call: who trains on through a full disk does so with replica_sync as well."""
    training = started(replicated(tmp_path / "a", store, replica_sync=True))
    training.commit()
    place = training.manager.paths.run / "checkpoints"
    place.rename(tmp_path / "checkpoints")
    place.write_bytes(b"no folder any more")
    training.advance()
    training.save()
    with pytest.raises(SaveFailedError):
        training.manager.flush()
    place.unlink()
    (tmp_path / "checkpoints").rename(place)
    training.commit()
    state = read_any_state(training.manager.paths.replica_state)
    assert state is not None
    assert state.acknowledged is not None
    assert state.acknowledged.step == 3
    training.manager.close()


def test_a_save_that_waits_gives_up_when_it_is_told_to(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store, replica_sync=True))
    store.rename(tmp_path / "away")
    training.manager.stop_waiting = lambda: True
    training.advance()
    training.save()
    assert training.manager.flush() is not None
    training.manager.close(replica_seconds=0.5)
    assert training.manager.replica_left is not None
    assert training.manager.replica_left.health != "current"


@pytest.mark.parametrize(
    "url",
    [
        "/mnt/nas",
        "ftp://host/x",
        "s3://key:secret@bucket/x",
        "s3://bucket?token=secret",
        "s3://bucket:secret/x",
        "s3:/b",
    ],
)
def test_addresses_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="replica") as error:
        PersistenceConfig(replica=url)
    assert "nas" not in url or "begins with none of" in str(error.value)


def test_what_has_come_before_is_known_without_asking(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store))
    assert not training.manager.replica_lacks_newest
    training.commit()
    training.manager.close()
    assert not training.manager.replica_lacks_newest
    away = store.rename(tmp_path / "away")
    again = started(replicated(tmp_path / "a", store))
    again.restore(reload_beside(again))
    again.commit()
    again.manager.close(replica_seconds=0.5)
    assert again.manager.replica_lacks_newest
    away.rename(store)
    alone = tiny_config(persistence={"root_data_dir": str(tmp_path / "a")})
    assert not DataManager(alone.persistence, alone.train).replica_lacks_newest


def test_another_replica_in_between_makes_it_forget_nothing(tmp_path: Path, store: Path) -> None:
    """The commit that the first one has is kept here no more: the folder knows that it had it."""
    training = started(replicated(tmp_path / "a", store, keep_last=1))
    training.commit()
    training.manager.close()
    store.rename(tmp_path / "away")
    again = started(replicated(tmp_path / "a", store, keep_last=1))
    again.restore(reload_beside(again))
    again.commit()
    again.commit()
    again.manager.close(replica_seconds=0.5)
    other = tmp_path / "other"
    other.mkdir()
    config = again.config.persistence
    assert push(config, "tiny", other.as_uri(), KeepRules(1)).acknowledged is not None
    (tmp_path / "away").rename(store)
    state = push(config, "tiny", store.as_uri(), KeepRules(1))
    assert state.acknowledged is not None
    assert state.acknowledged.sequence == 3
    assert state.error is None, "the last try went well"


def test_who_only_looks_is_not_told_twice(
    tmp_path: Path, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The exception says it; and each further try that fails as the last one says nothing."""
    caplog.set_level("INFO", "alphatriangle")
    training = started(replicated(tmp_path / "a", store))
    training.commit()
    training.manager.close()
    shutil.copytree(tmp_path / "a", tmp_path / "rolled back")
    again = started(replicated(tmp_path / "a", store))
    again.restore(reload_beside(again))
    again.commit()
    assert again.manager.replica is not None
    assert again.manager.replica.drain(30)
    with pytest.raises(DivergedError):
        reload(replicated(tmp_path / "rolled back", store))
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    store.rename(tmp_path / "away")
    again.commit()
    for _ in range(3):
        assert not again.manager.replica.drain(30)
    assert len([r for r in caplog.records if "is its disk mounted?" in r.message]) > 1
    warned = [r for r in caplog.records if r.levelname == "WARNING"]
    assert len(warned) == 1
    again.manager.close(replica_seconds=0.5)


def test_a_drain_ends_when_it_is_told_to(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = started(replicated(tmp_path / "a", store))
    training.commit()
    replica = training.manager.replica
    assert replica is not None
    assert replica.drain(30)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 1

    held = threading.Event()
    monkeypatch.setattr(replica._session, "catch_up", lambda _: held.wait(60))
    training.commit()
    begin = time.monotonic()
    assert not replica.drain(60, stop)
    assert time.monotonic() - begin < 30
    held.set()
    training.manager.close()


def test_what_only_the_store_can_refuse(tmp_path: Path) -> None:
    with pytest.raises(StoreAddressError):
        reload(tiny_config(tmp_path, persistence={"replica": "s3://"}))


def test_waiting_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="replica_sync"):
        PersistenceConfig(replica_sync=True)


def parts() -> tuple[torch.nn.Linear, dict[str, object]]:
    model = torch.nn.Linear(3, 2)
    return model, {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1)}


def learn(saver: Saver, model: torch.nn.Linear, first: int, end: int) -> None:
    for step in range(first, end):
        with torch.no_grad():
            model.weight += torch.rand(2, 3)
        saver.save(step + 1)


def test_anybodys_loop_goes_on_elsewhere(tmp_path: Path, store: Path) -> None:
    settings = PersistenceConfig(mlflow=False, replica=store.as_uri())
    model, state = parts()
    with Saver(tmp_path / "a", "loop", every=2, settings=settings, signals=False) as saver:
        assert saver.restore(state) == 0
        learn(saver, model, 0, 5)
    other, state = parts()
    with Saver(tmp_path / "b", "loop", every=2, settings=settings, signals=False) as saver:
        assert saver.restore(state) == 5
    assert torch.equal(other.weight, model.weight)


def test_anybodys_loop_ends_while_a_save_waits(tmp_path: Path, store: Path) -> None:
    """With replica_sync, and the store away: a signal ends it all the same, by its next save."""
    settings = PersistenceConfig(mlflow=False, replica=store.as_uri(), replica_sync=True)
    model, state = parts()
    done = 0
    with Saver(tmp_path / "a", "loop", settings=settings) as saver:
        saver.restore(state)
        learn(saver, model, 0, 2)
        store.rename(tmp_path / "away")
        killer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGTERM))
        killer.start()
        for step in range(2, 10):
            done = step + 1
            saver.save(done)
    assert done == 3
    alone = PersistenceConfig(mlflow=False)
    with Saver(tmp_path / "a", "loop", settings=alone, signals=False) as saver:
        assert saver.restore(parts()[1]) == 3


def test_anybodys_loop_is_told_at_its_very_end(tmp_path: Path, store: Path) -> None:
    settings = PersistenceConfig(mlflow=False, replica=store.as_uri())

    def learn_last() -> None:
        model, state = parts()
        with Saver(tmp_path / "a", "loop", settings=settings, signals=False) as saver:
            saver.restore(state)
            learn(saver, model, 0, 2)
            saver.manager.flush()
            assert saver.manager.replica is not None
            assert saver.manager.replica.drain(30)
            there, theirs = parts()
            with Saver(tmp_path / "b", "loop", settings=settings, signals=False) as other:
                assert other.restore(theirs) == 2
                learn(other, there, 2, 4)
            learn(saver, model, 2, 3)

    with pytest.raises(FencedError, match="has been taken over"):
        learn_last()


def test_anybodys_loop_is_told_that_another_goes_on(tmp_path: Path, store: Path) -> None:
    settings = PersistenceConfig(mlflow=False, replica=store.as_uri())

    def learn_while_another_takes_over() -> None:
        model, state = parts()
        with Saver(tmp_path / "a", "loop", settings=settings, signals=False, every=1) as saver:
            saver.restore(state)
            learn(saver, model, 0, 2)
            saver.manager.flush()
            assert saver.manager.replica is not None
            assert saver.manager.replica.drain(30)
            there, theirs = parts()
            with Saver(tmp_path / "b", "loop", settings=settings, signals=False, every=1) as other:
                assert other.restore(theirs) == 2
                learn(other, there, 2, 4)
            learn(saver, model, 2, 1000)

    with pytest.raises(FencedError, match="has been taken over"):
        learn_while_another_takes_over()
    alone = PersistenceConfig(mlflow=False)
    with Saver(tmp_path / "a", "loop", settings=alone, signals=False) as saver:
        assert saver.restore(parts()[1]) > 2, "what it learned is saved here"


def test_a_drill_says_whether_it_is_the_same_state(tmp_path: Path, store: Path) -> None:
    training = started(replicated(tmp_path / "a", store))
    training.commit()
    training.commit()
    training.manager.close()
    config = training.config.persistence
    found = drill(config, "tiny", store.as_uri(), tmp_path)
    assert found.step == 2
    assert found.is_same is True
    assert not list(tmp_path.glob("alphatriangle-drill-*")), "nothing is left of it"
    # Somebody else's run of that name, at the same step.
    other = started(tiny_config(persistence={"root_data_dir": str(tmp_path / "b")}))
    other.commit(rows=60)
    other.commit(rows=60)
    other.manager.close()
    there = drill(other.config.persistence, "tiny", store.as_uri())
    assert there.step == 2
    assert there.is_same is False
    nothing = tiny_config(persistence={"root_data_dir": str(tmp_path / "none")})
    assert drill(nothing.persistence, "tiny", store.as_uri()).is_same is None
