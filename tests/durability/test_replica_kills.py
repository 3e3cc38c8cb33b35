"""A process that replicates is killed, and the folder of its machine is gone: the run goes on from
the replica, as if nothing had happened."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from alphatriangle.data.storage import failpoints
from alphatriangle.data.stores.folder import FolderStore
from tests.data.replica.helpers import Machine, digest_at, restored, train_on
from tests.durability.budget import budget, report

PLACES = [name for name in failpoints.FAILPOINTS if name.startswith("replica.")]


def replicate(root: Path, store: FolderStore, failpoint: str = "", count: int = 1) -> None:
    """As a process of its own would: hand over what waits, remove garbage."""
    failpoints._name, failpoints._left = failpoint, count
    machine = Machine(root, store)
    machine.boot()
    assert machine.catch_up(1)
    machine.collect()


def in_a_process(*arguments: object) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=replicate, args=arguments)
    process.start()
    return process  # type: ignore[return-value]


class Fleet:
    """One machine after another, each lost with its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "store").mkdir()
        self.store = FolderStore(folder / "store")
        self.number = 0
        self.calm = folder / "calm"
        self.digests: dict[int, str] = {}
        """Of the run that is never interrupted."""
        self.step = 0
        train_on(self.root)
        self.step = 1
        self.check()

    @property
    def root(self) -> Path:
        return self.folder / f"machine{self.number}"

    def train(self) -> None:
        train_on(self.root)
        self.step += 1
        self.check()

    def check(self) -> None:
        """What is here is what it would have been."""
        while len(self.digests) < self.step:
            self.digests[len(self.digests) + 1] = train_on(self.calm)
        assert digest_at(self.root) == self.digests[self.step]

    def lose(self, acknowledged: int) -> None:
        """The machine is gone; another one restores the run."""
        shutil.rmtree(self.root)
        self.number += 1
        found = restored(self.root, self.store)
        assert found.rejected == found.damaged == []
        assert found.commit.global_step >= acknowledged
        self.step = found.commit.global_step
        self.check()


@pytest.mark.parametrize("count", [1, 2])
def test_killed_at_every_failpoint_with_its_folder(tmp_path: Path, count: int) -> None:
    fleet = Fleet(tmp_path)
    replicate(fleet.root, fleet.store)
    kills = 0
    for name in PLACES:
        fleet.train()
        acknowledged = fleet.step - 1
        process = in_a_process(fleet.root, fleet.store, name, count)
        process.join(60)
        if count == 1:
            assert process.exitcode == -signal.SIGKILL, name
        kills += process.exitcode == -signal.SIGKILL
        if name in ("replica.checked", "replica.head", "replica.gc") and count == 2:
            acknowledged += 1
        # Its own folder goes on as well as the next machine.
        copied = tmp_path / "copied"
        shutil.copytree(fleet.root, copied, symlinks=True)
        other = tmp_path / "other-store"
        shutil.copytree(tmp_path / "store", other)
        replicate(copied, FolderStore(other))
        found = restored(tmp_path / "found", FolderStore(other))
        assert (found.rejected, found.commit.global_step) == ([], fleet.step)
        for folder in (copied, other, tmp_path / "found"):
            shutil.rmtree(folder)
        fleet.lose(acknowledged)
        fleet.train()
        replicate(fleet.root, fleet.store)
    report("replica: kills at failpoints", kills=kills, lost=0)


def test_killed_at_random_moments_with_its_folder(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    replicate(fleet.root, fleet.store)
    chance, kills = random.Random(3), 0
    for _ in range(budget(12, 500)):
        acknowledged = fleet.step
        fleet.train()
        process = in_a_process(fleet.root, fleet.store)
        time.sleep(chance.uniform(0.0, 0.25))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        kills += process.exitcode != 0
        fleet.lose(fleet.step if process.exitcode == 0 else acknowledged)
        if not chance.randrange(3):
            fleet.train()
            replicate(fleet.root, fleet.store)
    report("replica: kills at random moments", kills=kills, lost=0)
