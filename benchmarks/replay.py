"""The replay buffer: memory, sampling and priorities, against cpprb and TorchRL."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alphatriangle.rl import ExperienceBuffer
from alphatriangle.utils.types import Rows
from benchmarks.state import make_config, make_rows
from benchmarks.timing import Result

CAPACITY = 250_000
BATCH = 256


def _median(work: Callable[[int], object], repeats: int = 400) -> float:
    work(0)
    times = []
    for i in range(repeats):
        begin = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def _cpprb(rows: Rows) -> Any:
    from cpprb import PrioritizedReplayBuffer

    fields = {
        "boards": {"shape": 2, "dtype": np.uint64},
        "slots": {"shape": 3, "dtype": np.int8},
        "policies": {"shape": rows.policies.shape[1], "dtype": np.float32},
        "returns": {"dtype": np.float32},
    }
    buffer = PrioritizedReplayBuffer(CAPACITY, fields, alpha=0.6)
    buffer.add(boards=rows.boards, slots=rows.slots, policies=rows.policies, returns=rows.returns)
    return buffer


def _torchrl(rows: Rows) -> Any:
    logging.disable(logging.INFO)
    from tensordict import TensorDict
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(CAPACITY), batch_size=BATCH)
    columns = {
        "boards": torch.from_numpy(rows.boards.view(np.int64)),
        "slots": torch.from_numpy(rows.slots),
        "policies": torch.from_numpy(rows.policies),
        "returns": torch.from_numpy(rows.returns),
    }
    buffer.extend(TensorDict(columns, [CAPACITY]))
    return buffer


def run() -> list[Result]:
    """Measure with a full buffer of 250,000 compact rows and random priorities."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        config = make_config(Path(name), CAPACITY)
    rows = make_rows(config, CAPACITY)
    before = _resident()
    buffer = ExperienceBuffer(config.train)
    buffer.add_rows(rows)
    memory = _resident() - before
    errors = np.random.default_rng(0).exponential(1.0, CAPACITY).astype(np.float32)
    buffer.update_priorities(np.arange(CAPACITY), errors)
    theirs = _cpprb(rows)
    theirs.update_priorities(np.arange(CAPACITY), errors)
    uniform = _torchrl(rows)

    def ours(i: int) -> None:
        indices, _ = buffer.draw(BATCH, 0)
        buffer.gather(indices)
        buffer.update_priorities(indices, errors[i * BATCH % 100_000 :][:BATCH])

    def cpprb(i: int) -> None:
        sample = theirs.sample(BATCH, 0.4)
        theirs.update_priorities(sample["indexes"], errors[i * BATCH % 100_000 :][:BATCH])

    mine, other, plain = _median(ours), _median(cpprb), _median(lambda i: uniform.sample())
    tensors = _median(lambda i: buffer.sample(BATCH, 0))
    return [
        Result(f"memory of {CAPACITY:,} rows", f"{memory / 1e6:.0f} MB", ""),
        Result("sample 256 rows + update priorities", f"{mine * 1e3:.3f} ms", "1 x"),
        Result("  cpprb, the same", f"{other * 1e3:.3f} ms", f"{other / mine:.1f} x ours"),
        Result(
            "  TorchRL, uniform, no priorities",
            f"{plain * 1e3:.3f} ms",
            f"{plain / mine:.1f} x ours",
        ),
        Result("sample 256 rows as the network's tensors", f"{tensors * 1e3:.3f} ms", ""),
    ]
