"""What is being handed over stays, whatever retention does."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest

from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.replica.spool import Spool
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk
from tests.data.replica.helpers import Machine, train_on
from tests.data.stores.memory_store import MemoryStore


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path, MemoryStore())
    train_on(machine.root)
    return machine


def test_retention_cannot_take_what_is_held(machine: Machine) -> None:
    stored = list_commits(machine.paths).commits[0]
    spool = Spool(machine.paths)
    parcel = spool.fill(stored, stored.commit.files)
    for file in stored.commit.files:
        (machine.paths.run / file.path).unlink()
    stored.path.unlink()
    for file in stored.commit.files:
        assert fs.digest_of(parcel.files[file.sha256]).identity == (file.size, file.sha256)
    assert spool.left() == stored.commit
    spool.clear()
    assert list(machine.paths.replica.iterdir()) == []
    assert spool.left() is None


def test_it_takes_no_space(machine: Machine) -> None:
    stored = list_commits(machine.paths).commits[0]
    parcel = Spool(machine.paths).fill(stored, stored.commit.files)
    for file in stored.commit.files:
        assert parcel.files[file.sha256].samefile(machine.paths.run / file.path)


def test_what_a_crash_has_left_is_removed(machine: Machine) -> None:
    stored = list_commits(machine.paths).commits[0]
    Spool(machine.paths).fill(stored, stored.commit.files)
    assert machine.catch_up(1)
    assert [path.name for path in machine.paths.replica.iterdir()] == ["state.json"]


def test_without_hard_links_the_files_themselves_are_sent(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(existing: Path, new: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(disk, "hard_link", refuse)
    stored = list_commits(machine.paths).commits[0]
    parcel = Spool(machine.paths).fill(stored, stored.commit.files)
    assert parcel.files[stored.commit.files[0].sha256].parent != machine.paths.replica / "spool"
    assert machine.catch_up(1)


def test_a_commit_with_a_lost_file_is_skipped_and_said_to_be(machine: Machine) -> None:
    stored = list_commits(machine.paths).commits[0]
    path = machine.paths.run / stored.commit.files[-1].path
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    assert machine.catch_up(1)
    assert machine.session is not None
    assert list(machine.session.damaged) == [stored.commit.sequence]
    path.unlink()
    machine.boot()
    assert machine.catch_up(1)
    assert machine.session.state.acknowledged is None
    path.write_bytes(content)
    shutil.rmtree(machine.paths.replica)
    machine.boot()
    assert machine.catch_up(1)
    assert machine.acknowledged_step == 1
