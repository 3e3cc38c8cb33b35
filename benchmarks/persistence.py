"""Saving and loading: ours, what others do, and the limits of the machine, in one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alphatriangle.data import DataManager, Serializer
from alphatriangle.data.schemas import CheckpointData
from alphatriangle.utils.types import Rows
from benchmarks.state import NEW_ROWS, TrainingState, make_config, make_rows, save_rows
from benchmarks.timing import Result

CAPACITY = 250_000
LARGE = 2_500_000
_PEERS = {
    "naive": "pickle of a list of tuples, two copies",
    "torch.save": "torch.save of everything",
    "dcp": "torch DCP async_save of everything",
    "torchrl": "TorchRL Checkpoint (no priorities)",
}


def _measure(method: str, capacity: int, rows: Path, saves: int) -> dict[str, Any]:
    """In a process of its own: see saving.py."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.saving"]
    done = subprocess.run(
        [*command, method, str(capacity), str(rows), str(saves)],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _compressed(rows: Rows, folder: Path) -> int:
    """Bytes of the rows that are new between two saves, as a segment."""
    from alphatriangle.data.replay.segments import write_segment

    return write_segment(folder / "new.arrow", rows[:NEW_ROWS].columns(), 0, "alphatriangle").size


def _slow_down(config_folder: Path, rows: Rows, threads: int) -> tuple[float, float]:
    """Seconds of a training step of batch 256 alone, and by how much saving makes it longer.

    From the call that saves to the report that all is durable, against as many steps without.
    """
    torch.set_num_threads(threads)
    state = TrainingState(make_config(config_folder, CAPACITY), rows)
    batch = state.buffer.sample(256, 0)
    manager = DataManager(state.config.persistence, state.config.train)
    manager.load_initial_state()

    def while_saving(step: int) -> tuple[float, int]:
        count = 0
        begin = time.perf_counter()
        manager.save_training_state(
            state.network, state.trainer.optimizer, None, state.buffer, step, 0, 0
        )
        while manager.poll() is None:
            state.trainer.train_step(batch)
            count += 1
        return time.perf_counter() - begin, count

    def alone(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            state.trainer.train_step(batch)
        return time.perf_counter() - begin

    steps, ratios = [], []
    for i in range(1, 13):
        state.advance(i)
        beside, count = while_saving(i)
        without = alone(count)
        steps.append(without / count)
        ratios.append(beside / without)
    manager.close()
    torch.set_num_threads(1)
    # The first save writes the whole buffer.
    return float(np.median(steps[2:])), float(np.median(ratios[2:]))


def _write_speed(folder: Path, megabytes: int) -> tuple[float, float]:
    """Bytes a second, fsync included: a checkpoint, and the same bytes written plainly."""
    count = megabytes * 250_000
    weights = {f"layer{i}": torch.randn(count // 8) for i in range(8)}
    checkpoint = CheckpointData(
        run_name="bench",
        global_step=0,
        episodes_played=0,
        total_simulations_run=0,
        created_at="",
        model_state_dict=weights,
        optimizer_state_dict={},
    )
    content = torch.cat(list(weights.values())).numpy().tobytes()
    ours, plain = [], []
    for _ in range(5):
        begin = time.perf_counter()
        Serializer().save_checkpoint(checkpoint, folder / "checkpoint.pkl")
        ours.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        with (folder / "plain.bin").open("wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        plain.append(time.perf_counter() - begin)
    return len(content) / min(ours), len(content) / min(plain)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.1f} ms"


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def run() -> list[Result]:
    """Measure with full buffers of 250,000 and 2,500,000 rows; the network is that of the preset
    ``convolutional-laptop``."""
    with tempfile.TemporaryDirectory() as name:
        return _run(Path(name))


def _run(folder: Path) -> list[Result]:
    rows = make_rows(make_config(folder, CAPACITY), CAPACITY)
    file = folder / "rows.npz"
    save_rows(rows, file)
    ours = _measure("ours", CAPACITY, file, 300)
    large = _measure("ours", LARGE, file, 100)
    peers = {name: _measure(name, CAPACITY, file, 0) for name in _PEERS}
    results = []

    def add(what: str, value: str, compared: str) -> None:
        results.append(Result(what, value, compared))

    for label, m in ((f"{CAPACITY:,} rows", ours), (f"{LARGE:,} rows", large)):
        add(
            f"save blocks training, {label}",
            _milliseconds(m["blocked"]),
            f"{m['blocked'] / m['memcpy']:.1f} x memcpy of the same {_megabytes(m['captured'])}",
        )
        add("  99th percentile", _milliseconds(m["blocked_p99"]), "")
    for name, m in peers.items():
        factor = m["blocked"] / ours["blocked"]
        add(f"  {_PEERS[name]}", _milliseconds(m["blocked"]), f"{factor:,.0f} x ours")

    weights = ours["captured"] - CAPACITY * 4 - NEW_ROWS * rows[:1].policies.nbytes
    allowed = weights + _compressed(rows, folder) + 2e6
    share = f"{ours['written'] / allowed:.2f} x (weights, optimizer, compressed new rows, 2 MB)"
    add(f"bytes written after {NEW_ROWS:,} new rows", _megabytes(ours["written"]), share)
    for name, m in peers.items():
        factor = m["written"] / ours["written"]
        add(f"  {_PEERS[name]}", _megabytes(m["written"]), f"{factor:,.0f} x ours")

    share = f"{ours['extra_memory'] / ours['captured']:.2f} x the captured bytes"
    add("extra memory of a save", _megabytes(ours["extra_memory"]), share)
    for name, m in peers.items():
        add(f"  {_PEERS[name]}", _megabytes(m["extra_memory"]), "")

    add(f"load {CAPACITY:,} rows, ready to sample", _milliseconds(ours["load"]), "1 x")
    for name, m in peers.items():
        add(f"  {_PEERS[name]}", _milliseconds(m["load"]), f"{m['load'] / ours['load']:.1f} x ours")
    add(f"load {LARGE:,} rows", _milliseconds(large["load"]), "")

    for threads in (1, 2):
        alone, ratio = _slow_down(folder / f"slow{threads}", rows, threads)
        add(
            f"training steps while a save runs, {threads} thread(s)",
            _milliseconds(alone * ratio),
            f"{100 * (ratio - 1):+.1f}% of {_milliseconds(alone)}",
        )
    fast, plain = _write_speed(folder, 256)
    share = f"{fast / plain:.2f} x a plain write with fsync"
    add("checkpoint of 256 MB written", f"{fast / 1e6:,.0f} MB/s", share)
    return results
