"""``python -m benchmarks.saving METHOD ROWS FILE``: one way of saving, in a process of its own.

Prints one JSON object. A process each, because memory is measured as the peak of the process.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import torch

from alphatriangle.data import DataManager
from alphatriangle.features.experience import experiences_from_rows
from alphatriangle.rl import ExperienceBuffer
from alphatriangle.utils.types import Rows
from benchmarks.state import TrainingState, load_rows, make_config
from benchmarks.timing import quantile


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _peak_over(work: Callable[[], object]) -> int:
    """Bytes by which resident memory rises, at most, while ``work`` runs. Linux."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    work()
    return max(_memory("VmHWM") - before, 0)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def ours(state: TrainingState, folder: Path, saves: int) -> dict[str, Any]:
    """DataManager: capture, then everything else behind."""
    manager = DataManager(state.config.persistence, state.config.train)
    manager.load_initial_state()

    def save(step: int) -> float:
        begin = time.perf_counter()
        manager.save_training_state(
            state.network,
            state.trainer.optimizer,
            None,
            state.buffer,
            step,
            0,
            0,
            components={"scheduler": state.trainer.scheduler},
        )
        return time.perf_counter() - begin

    def complete(step: int) -> None:
        save(step)
        manager.flush()

    first = _peak_over(lambda: complete(1))
    for step in range(2, 5):
        state.advance(step)
        complete(step)
    state.advance(5)
    # The staging memory is there already, and counts.
    captured = manager.captured_bytes
    extra = captured + _peak_over(lambda: complete(5))
    blocked, copied, written, seconds = [], [], [], []
    source, target = (torch.ones(captured, dtype=torch.uint8) for _ in range(2))
    for step in range(6, 6 + saves):
        state.advance(step)
        blocked.append(save(step))
        report = manager.flush()
        assert report is not None
        written.append(report.bytes_written)
        seconds.append(report.seconds)
        # The limit, in the same situation: after a training step.
        state.trainer.train_step(state.small_batch)
        begin = time.perf_counter()
        target.copy_(source)
        copied.append(time.perf_counter() - begin)
    manager.close()
    return {
        "blocked": float(np.median(blocked)),
        "blocked_p99": quantile(blocked, 0.99),
        "memcpy": float(np.median(copied)),
        "captured": captured,
        "seconds": float(np.median(seconds)),
        "written": float(np.median(written)),
        "extra_memory_first": first,
        "extra_memory": extra,
        "load": _load_ours(state),
    }


def _load_ours(state: TrainingState) -> float:
    """From nothing to a buffer that can be sampled; kernels compiled before."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        manager = DataManager(state.config.persistence, state.config.train)
        loaded = manager.load_initial_state()
        assert loaded.buffer_data is not None
        buffer = ExperienceBuffer(state.config.train)
        pieces = loaded.buffer_data.buffer_list.pieces()
        rows = (Rows(**piece) for piece in pieces)
        buffer.load_state_dict(loaded.buffer_data.buffer_state(), rows)
        assert loaded.checkpoint_data is not None
        state.network.set_weights(loaded.checkpoint_data.model_state_dict)
        buffer.draw(256, 0)
        times.append(time.perf_counter() - begin)
        manager.close()
    return min(times)


def _blocking(
    folder: Path, save: Callable[[], object], load: Callable[[], object], saves: int = 2
) -> dict[str, Any]:
    """A method that returns when everything is written."""
    extra = _peak_over(save)
    times = []
    for _ in range(saves):
        begin = time.perf_counter()
        save()
        times.append(time.perf_counter() - begin)
    written = _size(folder)
    begin = time.perf_counter()
    load()
    return {
        "blocked": min(times),
        "seconds": min(times),
        "written": written,
        "extra_memory": extra,
        "load": time.perf_counter() - begin,
    }


def naive(state: TrainingState, folder: Path) -> dict[str, Any]:
    """A list of (features, policy mapping, return), pickled whole and written twice.

    As the known project does it, with its shapes: grid (1, 8, 15) and 30 further features, but only
    the legal actions in the policies, which makes it five times faster than it is there.
    """
    small = {"grid": np.zeros((1, 8, 15), np.float32), "other_features": np.zeros(30, np.float32)}
    items = []
    rows = state.buffer.rows(state.buffer.oldest, state.buffer.total_added)
    policies = [policy for _, policy, _ in experiences_from_rows(rows[:2000])]
    for i in range(len(rows)):
        features = {name: array.copy() for name, array in small.items()}
        policy = {a: p * 1.0000001 for a, p in policies[i % len(policies)].items()}
        items.append((features, policy, float(rows.returns[i])))
    checkpoint = {
        "model": state.network.get_weights(),
        "optimizer": state.trainer.optimizer.state_dict(),
    }

    def save() -> None:
        for name, value in (("checkpoint", checkpoint), ("buffer", items)):
            path = folder / f"{name}_step_1.pkl"
            with path.open("wb") as f:
                cloudpickle.dump(value, f)
            shutil.copyfile(path, folder / f"{name}.pkl")

    def load() -> None:
        for name in ("checkpoint", "buffer"):
            with (folder / f"{name}.pkl").open("rb") as f:
                pickle.load(f)

    return _blocking(folder, save, load, saves=1)


def _tensors(state: TrainingState) -> dict[str, Any]:
    """Everything as tensors: what a careful person would give to a tensor library."""
    buffer = state.buffer
    whole = buffer.rows(buffer.oldest, buffer.total_added)
    priorities = buffer.state_dict()["priorities"]
    return {
        "model": state.network.state_dict(),
        "optimizer": state.trainer.optimizer.state_dict(),
        "buffer": {
            "boards": torch.from_numpy(whole.boards.view(np.int64)),
            "slots": torch.from_numpy(whole.slots),
            "policies": torch.from_numpy(whole.policies),
            "returns": torch.from_numpy(whole.returns),
            "priorities": torch.from_numpy(priorities),
        },
    }


def torch_save(state: TrainingState, folder: Path) -> dict[str, Any]:
    """torch.save of weights, optimizer and the compact columns."""
    tensors = _tensors(state)
    path = folder / "state.pt"
    return _blocking(folder, lambda: torch.save(tensors, path), lambda: torch.load(path))


def dcp(state: TrainingState, folder: Path) -> dict[str, Any]:
    """torch.distributed.checkpoint.async_save of the same."""
    import torch.distributed.checkpoint as dcp

    tensors = _tensors(state)
    blocked, seconds = [], []

    def save() -> None:
        begin = time.perf_counter()
        future = dcp.async_save(tensors, checkpoint_id=str(folder / "dcp"))
        blocked.append(time.perf_counter() - begin)
        future.result()
        seconds.append(time.perf_counter() - begin)

    def load() -> None:
        dcp.load(tensors, checkpoint_id=str(folder / "dcp"))

    result = _blocking(folder, save, load)
    return result | {"blocked": min(blocked), "seconds": min(seconds)}


def torchrl(state: TrainingState, folder: Path) -> dict[str, Any]:
    """TorchRL's Checkpoint of network, optimizer, generators and its buffer of the same columns.

    Uniform, without priorities: its compiled sum tree does not load beside every torch build.
    """
    from tensordict import TensorDict
    from torchrl.checkpoint import Checkpoint, GlobalRNGState
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

    tensors = _tensors(state)
    columns = {k: v for k, v in tensors["buffer"].items() if k != "priorities"}
    count = len(columns["returns"])

    def make() -> Any:
        return TensorDictReplayBuffer(storage=LazyTensorStorage(count), batch_size=256)

    buffer = make()
    buffer.extend(TensorDict(columns, [count]))

    def checkpoint(replay: Any) -> Any:
        return Checkpoint(
            model=state.network.model,
            optimizer=state.trainer.optimizer,
            replay=replay,
            rng=GlobalRNGState(),
        )

    path = folder / "checkpoint"
    whole = checkpoint(buffer)

    def load() -> None:
        fresh = make()
        checkpoint(fresh).load(path)
        fresh.sample()

    return _blocking(folder, lambda: whole.save(path), load)


PEERS = {"naive": naive, "torch.save": torch_save, "dcp": dcp, "torchrl": torchrl}


def main(method: str, capacity: int, rows_file: str, saves: int) -> None:
    """Measure one method."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=Path(rows_file).parent) as name:
        folder = Path(name)
        state = TrainingState(make_config(folder, capacity), load_rows(Path(rows_file)))
        result = ours(state, folder, saves) if method == "ours" else PEERS[method](state, folder)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
