"""Saving somebody else's replay: 30,000 frames of 84x84 and what belongs to them, 500 new a save.

``python -m benchmarks.frames METHOD FOLDER`` measures one way of saving in a process of its own.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from alphatriangle.config import PersistenceConfig
from alphatriangle.data import Ring, Saver
from benchmarks.timing import Result

ROWS: Final = 30_000
NEW_ROWS: Final = 500
SAVES: Final = 15
PEERS_SAVES: Final = 7
"""The median counts, of ours and of theirs."""
LOADS: Final = 12
"""The best counts: memory that a virtual machine's host has yet to give takes several times as long
as memory that is there, and a process cannot say which it gets."""
COLUMNS: Final = {"frame": ("uint8", (84, 84)), "action": "int64", "reward": "float32"}
NAMES: Final = {
    "ours": "Saver",
    "torch.save": "torch.save of everything",
    "pickle": "pickle of everything",
    "torchrl": "TorchRL Checkpoint (no priorities)",
}


class State:
    """A small convolutional network with its moments, and a full replay."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.Conv2d(1, 32, 8, 4),
            torch.nn.ReLU(),
            torch.nn.Conv2d(32, 64, 4, 2),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(64 * 9 * 9, 256),
            torch.nn.Linear(256, 6),
        )
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self._noise = np.random.default_rng(0)
        self.ring = Ring(ROWS, COLUMNS, mutable={"priority": "float32"})
        while len(self.ring) < ROWS:
            self.advance()

    def advance(self) -> None:
        """What happens between two saves: a step, and new frames that compress little."""
        loss = self.model(torch.rand(4, 1, 84, 84)).square().mean()
        loss.backward()
        self.optimizer.step()
        frames = self._noise.integers(0, 256, (NEW_ROWS, 84, 84), np.uint8)
        rows = {
            "frame": frames,
            "action": self._noise.integers(0, 6, NEW_ROWS),
            "reward": self._noise.random(NEW_ROWS, np.float32),
            "priority": self._noise.random(NEW_ROWS, np.float32),
        }
        self.ring.add(rows)


def ours(state: State, folder: Path) -> dict[str, float]:
    """Capture, then everything else behind; the limit is a memcpy of what is captured."""
    settings = PersistenceConfig(mlflow=False, keep_last=2)
    parts = {"model": state.model, "optimizer": state.optimizer}
    blocked, written, copied = [], [], []
    with Saver(folder, "r", replay=state.ring, settings=settings) as saver:
        saver.restore(parts)
        manager = saver.manager
        saver.save(1)
        manager.flush()
        source, target = (torch.ones(manager.captured_bytes, dtype=torch.uint8) for _ in range(2))
        for step in range(2, 2 + SAVES):
            state.advance()
            begin = time.perf_counter()
            saver.save(step)
            blocked.append(time.perf_counter() - begin)
            report = manager.flush()
            assert report is not None
            written.append(report.bytes_written)
            state.model(torch.rand(4, 1, 84, 84))
            begin = time.perf_counter()
            target[: manager.captured_bytes].copy_(source[: manager.captured_bytes])
            copied.append(time.perf_counter() - begin)
    loads = []
    for _ in range(LOADS):
        ring = Ring(ROWS, COLUMNS, mutable={"priority": "float32"})
        begin = time.perf_counter()
        with Saver(folder, "r", replay=ring, settings=settings) as saver:
            saver.restore(parts)
            loads.append(time.perf_counter() - begin)
    new = NEW_ROWS * sum(ring[name][:1].nbytes for name in COLUMNS)
    weights = sum(t.nbytes for t in state.model.state_dict().values())
    return {
        "blocked": float(np.median(blocked)),
        "memcpy": float(np.median(copied)),
        "written": float(np.median(written)),
        "new": new + 3 * weights + ring["priority"].nbytes,
        "load": min(loads),
    }


def _blocking(
    save: Callable[[], object], load: Callable[[], object], folder: Path
) -> dict[str, Any]:
    """A method that returns when everything is written."""
    save()
    times, loads = [], []
    for _ in range(PEERS_SAVES):
        begin = time.perf_counter()
        save()
        times.append(time.perf_counter() - begin)
    for _ in range(LOADS):
        begin = time.perf_counter()
        load()
        loads.append(time.perf_counter() - begin)
    written = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return {"blocked": float(np.median(times)), "written": written, "load": min(loads)}


def _everything(state: State) -> dict[str, Any]:
    names = [*COLUMNS, "priority"]
    return {
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "replay": {name: torch.from_numpy(state.ring[name]) for name in names},
    }


def torch_save(state: State, folder: Path) -> dict[str, Any]:
    """torch.save of networks, optimizer and columns."""
    path = folder / "state.pt"
    return _blocking(lambda: torch.save(_everything(state), path), lambda: torch.load(path), folder)


def pickled(state: State, folder: Path) -> dict[str, Any]:
    """As stable-baselines3 saves its replay: pickle of the arrays; torch.save for the rest."""
    path = folder / "replay.pkl"
    arrays = {name: state.ring[name] for name in [*COLUMNS, "priority"]}

    def save() -> None:
        with path.open("wb") as f:
            pickle.dump(arrays, f, pickle.HIGHEST_PROTOCOL)
        rest = {"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()}
        torch.save(rest, folder / "rest.pt")

    def load() -> None:
        with path.open("rb") as f:
            pickle.load(f)
        torch.load(folder / "rest.pt")

    return _blocking(save, load, folder)


def torchrl(state: State, folder: Path) -> dict[str, Any]:
    """TorchRL's Checkpoint of network, optimizer, generators and a replay with these columns.

    Uniform, without priorities: its compiled sum tree does not load beside every torch build.
    """
    from tensordict import TensorDict
    from torchrl.checkpoint import Checkpoint, GlobalRNGState
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

    replay = TensorDictReplayBuffer(storage=LazyTensorStorage(ROWS), batch_size=32)
    replay.extend(TensorDict({n: torch.from_numpy(state.ring[n]) for n in COLUMNS}, [ROWS]))
    checkpoint = Checkpoint(
        model=state.model, optimizer=state.optimizer, replay=replay, rng=GlobalRNGState()
    )
    path = folder / "checkpoint"
    return _blocking(lambda: checkpoint.save(path), lambda: checkpoint.load(path), folder)


METHODS = {"ours": ours, "torch.save": torch_save, "pickle": pickled, "torchrl": torchrl}


def _measure(method: str, folder: str) -> dict[str, float]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.frames", method, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def run() -> list[Result]:
    """Ours, the peers, and the limits: a memcpy, what is new, torch.load."""
    measured = {}
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            measured[name] = _measure(name, folder)
    own = measured["ours"]
    results = []
    for name, text in NAMES.items():
        m = measured[name]
        limits = {
            "blocked": f"{m['blocked'] / own['blocked']:,.0f} x ours",
            "written": f"{m['written'] / own['written']:.1f} x ours",
            "load": f"{m['load'] / own['load']:.2f} x ours",
        }
        if name == "ours":
            limits = {
                "blocked": (
                    f"{m['blocked'] / m['memcpy']:.1f} x a memcpy of what is captured, which is "
                    f"1/{measured['torch.save']['blocked'] / m['memcpy']:.0f} of torch.save"
                ),
                "written": f"{m['written'] / m['new']:.2f} x weights, moments and what is new",
                "load": f"{m['load'] / measured['torch.save']['load']:.2f} x torch.load",
            }
        for what, value in (
            ("blocked", f"{m['blocked'] * 1e3:,.1f} ms"),
            ("written", f"{m['written'] / 1e6:,.0f} MB"),
            ("load", f"{m['load'] * 1e3:,.0f} ms"),
        ):
            results.append(Result(f"84x84, {text}: {what}", value, limits[what]))
    return results


if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump(METHODS[sys.argv[1]](State(), Path(sys.argv[2])), sys.stdout)
