"""The copy elsewhere: what training feels of it, how far it is behind, what it asks and sends, and
how fast a restore is; against a real S3 server on this machine, which shares its cores."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pytest
import torch

from alphatriangle.config import Config
from alphatriangle.data import DataManager
from alphatriangle.data.commits.files import list_commits
from alphatriangle.data.replica.finding import ReplicaReader
from alphatriangle.data.replica.layout import Layout, ObjectPlace
from alphatriangle.data.replica.restoring import restore_replica
from alphatriangle.data.stores.addresses import open_store
from alphatriangle.data.stores.store import Store
from benchmarks.state import TrainingState, make_config, make_rows
from benchmarks.timing import Result, quantile
from tests.helpers.fault_proxy import FaultProxy
from tests.helpers.seaweedfs import BUCKET, running, set_s3

CAPACITY: Final = 250_000
SAVES: Final = 30
COUNTED: Final = 6
_STEPS_BETWEEN_SAVES: Final = 200
"""As in the presets."""


class _Window(NamedTuple):
    """Training from a save until everything is done."""

    steps: int
    seconds: float
    behind: float
    """From the commit here to its acknowledgement, seconds."""


def run() -> list[Result]:
    """Lag, slow-down, requests, bytes; then the restore."""
    with (
        running() as server,
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory() as folder,
        FaultProxy(server.address) as proxy,
    ):
        set_s3(patch, server.url)
        config = make_config(Path(folder) / "here", CAPACITY)
        rows = make_rows(config, 20_000)
        state = TrainingState(config, rows)
        results = _training(state, config)
        set_s3(patch, proxy.url)
        results += _requests(state, config, proxy)
        set_s3(patch, server.url)
        return results + _restoring(config, Path(folder) / "there")


def _with_replica(config: Config) -> Config:
    persistence = config.persistence.model_copy(update={"replica": f"s3://{BUCKET}/bench"})
    return config.model_copy(update={"persistence": persistence})


def _save(manager: DataManager, state: TrainingState, step: int) -> None:
    optimizer = state.trainer.optimizer
    manager.save_training_state(state.network, optimizer, None, state.buffer, step, 0, 0)


def _training(state: TrainingState, config: Config) -> list[Result]:
    """A training that saves, with a replica; then as many steps of one that does neither."""
    replicated = _with_replica(config)
    manager = DataManager(replicated.persistence, replicated.train)
    manager.load_initial_state()
    replica = manager.replica
    assert replica is not None
    batch = state.buffer.sample(256, 0)

    def until_acknowledged(step: int) -> _Window:
        _save(manager, state, step)
        begin, steps, report = time.perf_counter(), 0, None
        committed = done = begin
        while done == begin:
            state.trainer.train_step(batch)
            steps += 1
            if report is None and (report := manager.poll()) is not None:
                committed = time.perf_counter()
            if report is not None and replica.wait_for(report.commit.sequence, 0.0):
                done = time.perf_counter()
        return _Window(steps, done - begin, max(done - committed, 0.0))

    behind: list[float] = []
    extra: list[float] = []
    single: list[float] = []
    for step in range(1, SAVES + 3):
        state.advance(step)
        window = until_acknowledged(step)
        begin = time.perf_counter()
        for _ in range(window.steps):
            state.trainer.train_step(batch)
        without = time.perf_counter() - begin
        if step > 2:  # The first hands over the whole buffer.
            behind.append(window.behind)
            extra.append(window.seconds - without)
            single.append(without / window.steps)
    manager.close()
    share = float(np.median(extra)) / (_STEPS_BETWEEN_SAVES * float(np.median(single)))
    return [
        Result(
            "replica, training with it",
            f"{np.median(extra) * 1e3:,.0f} ms a save",
            f"{share:.2%} longer, saving every {_STEPS_BETWEEN_SAVES} steps, the save included",
        ),
        Result(
            "replica, behind the commit here",
            f"{np.median(behind):.2f} s",
            f"p99 {quantile(behind, 0.99):.2f} s; looked at between steps of "
            f"{np.median(single):.2f} s",
        ),
    ]


def _requests(state: TrainingState, config: Config, proxy: FaultProxy) -> list[Result]:
    replicated = _with_replica(config)
    manager = DataManager(replicated.persistence, replicated.train)
    manager.load_initial_state()
    assert manager.replica is not None
    requests, lists, ratios = [], 0, []
    for step in range(SAVES + 3, SAVES + 3 + COUNTED):
        known = {f.sha256 for s in list_commits(manager.paths).commits for f in s.commit.files}
        state.advance(step)
        proxy.requests.clear()
        _save(manager, state, step)
        report = manager.flush()
        assert report is not None
        manager.replica.drain(60)
        new = sum(f.size for f in report.commit.files if f.sha256 not in known)
        requests.append(len(proxy.requests))
        lists += sum("list-type" in request.path for request in proxy.requests)
        ratios.append(sum(len(request.body) for request in proxy.requests) / new)
    manager.close()
    return [
        Result(
            "replica, requests a commit", f"{np.median(requests):.0f}", f"{lists} of them lists"
        ),
        Result(
            "replica, bytes sent a commit",
            f"{np.median(ratios):.2f} x the new files",
            "2,000 new rows, weights, moments, priorities",
        ),
    ]


def _restoring(config: Config, folder: Path) -> list[Result]:
    store = open_store(f"s3://{BUCKET}/bench")
    ours, plain, size = [], [], 0
    for number in range(5):
        persistence = config.persistence.model_copy(update={"root_data_dir": folder / f"{number}"})
        begin = time.perf_counter()
        size = restore_replica(persistence, store, "bench").bytes_downloaded
        ours.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        _download(store, folder / f"plain{number}")
        plain.append(time.perf_counter() - begin)
    speed = size / min(ours) / 2**20
    return [
        Result(
            "replica, restore",
            f"{speed:,.0f} MiB/s",
            f"{min(plain) / min(ours):.2f} of a download without checks or fsync, of "
            f"{size / 1e6:,.0f} MB",
        )
    ]


def _download(store: Store, folder: Path) -> None:
    """The same objects, at once, as they come."""
    folder.mkdir(parents=True)
    layout = Layout("bench")
    reader = ReplicaReader(store, layout)
    record, _ = reader.newest_readable(reader.look())
    assert record is not None

    def get(place: ObjectPlace, size: int) -> None:
        with (folder / place.sha256).open("wb") as f:
            for piece in store.download(layout.object(place), size):
                f.write(piece)

    with ThreadPoolExecutor(8) as threads:
        files = zip(record.commit.files, record.epochs, strict=True)
        jobs = [
            threads.submit(get, ObjectPlace(epoch, file.sha256), file.size) for file, epoch in files
        ]
        for job in jobs:
            job.result()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for result in run():
        print(*result, sep=" | ")
