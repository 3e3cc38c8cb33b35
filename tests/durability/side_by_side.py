"""``python -m tests.durability.side_by_side``: the same trials for other ways of saving.

Every method saves a state whose arrays all hold the number of the save, network and replay in the
files it uses. Killed while saving, or with the power cut at any change of the disk, what does the
next start find? With one bit flipped, what does it load? Needs what ``make bench`` installs, and
strace for the power cuts.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
import torch

from alphatriangle.config import Config
from alphatriangle.data import DataManager
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.utils.types import Rows
from tests.conftest import tiny_config
from tests.durability.crash_disk import read_tree, write_tree
from tests.durability.traced import MARK, TracedVolume, strace

SMALL = "ALPHATRIANGLE_SMALL" in os.environ
"""For power cuts, of which there are thousands; set for the processes that try them."""
ROWS = 200 if SMALL else 20_000
WEIGHTS = 3_000 if SMALL else 300_000
KILLS = 120
FLIPS = 200
CRASHES = 30
"""Disks tried of each moment, at most, beside the two ends: nothing and everything unsynced."""


class Found(NamedTuple):
    """The number of the save that network and replay come from; None where they disagree."""

    network: float | None
    replay: float | None


class Method(NamedTuple):
    """How to save number ``i`` into a folder, and what a start finds there."""

    name: str
    start: Callable[[Path], Callable[[int], None]]
    load: Callable[[Path], Found]


def _network(i: int) -> dict[str, torch.Tensor]:
    return {f"layer{k}": torch.full((WEIGHTS,), float(i)) for k in range(4)}


def _columns(i: int) -> dict[str, torch.Tensor]:
    return {"policies": torch.full((ROWS, 144), float(i)), "returns": torch.full((ROWS,), float(i))}


def _one(tensors: Any) -> float | None:
    values = {float(v) for t in tensors for v in np.unique(np.asarray(t))}
    return values.pop() if len(values) == 1 else None


# --- AlphaTriangle


class _Part:
    """A network, an optimizer: anything with state."""

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state


class _Replay:
    """A replay source whose rows all hold the number of the save; all are new every time."""

    def __init__(self, i: int) -> None:
        self.total_added, self.oldest, self._i = (i + 1) * ROWS, i * ROWS, i

    codec_name = "alphatriangle"

    def counters(self) -> dict[str, Any]:
        return {
            "capacity": ROWS,
            "total_added": self.total_added,
            "oldest": self.oldest,
            "cursor": 0,
            "max_priority": 1.0,
            "batches_sampled": self._i,
            "lineage": "side-by-side",
        }

    def mutable_views(self) -> dict[str, list[np.ndarray]]:
        return {"priorities": [np.full(ROWS, self._i, np.float32)]}

    def row_views(self, first: int, end: int) -> list[dict[str, np.ndarray]]:
        n = end - first
        rows = Rows.zeros(n)
        rows.slots[:] = -1
        rows.returns[:] = self._i
        return [rows.columns()]


def _config(folder: Path) -> Config:
    return tiny_config(persistence={"root_data_dir": str(folder), "keep_last": 2})


def _ours(folder: Path) -> Callable[[int], None]:
    config = _config(folder)
    manager = DataManager(config.persistence, config.train)
    manager.load_initial_state()

    def save(i: int) -> None:
        manager.save_training_state(_Part(_network(i)), _Part({}), None, _Replay(i), i, 0, 0)
        manager.flush()

    return save


def _load_ours(folder: Path) -> Found:
    logging.disable(logging.CRITICAL)
    state = load_for_reading(_config(folder).persistence, "tiny")
    assert state.checkpoint_data is not None
    assert state.buffer_data is not None
    network = _one(state.checkpoint_data.model_state_dict.values())
    rows = state.buffer_data.buffer_list.columns()
    return Found(network, _one([rows["returns"], state.buffer_data.priorities]))


# --- others: the newest state under one name, as their examples do


def _naive(folder: Path) -> Callable[[int], None]:
    def save(i: int) -> None:
        for name, value in (("checkpoint", _network(i)), ("buffer", _columns(i))):
            path = folder / f"{name}_step_{i}.pkl"
            path.write_bytes(cloudpickle.dumps(value))
            shutil.copyfile(path, folder / f"{name}.pkl")

    return save


def _load_naive(folder: Path) -> Found:
    network, columns = (
        pickle.loads((folder / f"{name}.pkl").read_bytes()) for name in ("checkpoint", "buffer")
    )
    return Found(_one(network.values()), _one(columns.values()))


def _torch(folder: Path) -> Callable[[int], None]:
    def save(i: int) -> None:
        torch.save({"network": _network(i), "replay": _columns(i)}, folder / "state.pt")

    return save


def _load_torch(folder: Path) -> Found:
    state = torch.load(folder / "state.pt")
    return Found(_one(state["network"].values()), _one(state["replay"].values()))


def _dcp(folder: Path) -> Callable[[int], None]:
    import torch.distributed.checkpoint as dcp

    def save(i: int) -> None:
        dcp.save({"network": _network(i), "replay": _columns(i)}, checkpoint_id=str(folder / "dcp"))

    return save


def _load_dcp(folder: Path) -> Found:
    import torch.distributed.checkpoint as dcp

    state = {"network": _network(0), "replay": _columns(0)}
    dcp.load(state, checkpoint_id=str(folder / "dcp"))
    return Found(_one(state["network"].values()), _one(state["replay"].values()))


def _replay_buffer() -> Any:
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

    return TensorDictReplayBuffer(storage=LazyTensorStorage(ROWS), batch_size=256)


def _torchrl(folder: Path) -> Callable[[int], None]:
    from tensordict import TensorDict

    def save(i: int) -> None:
        buffer = _replay_buffer()
        buffer.extend(TensorDict(_columns(i), [ROWS]))
        torch.save(_network(i), folder / "network.pt")
        buffer.dumps(folder / "replay")

    return save


def _load_torchrl(folder: Path) -> Found:
    buffer = _replay_buffer()
    buffer.loads(folder / "replay")
    content = buffer[:]
    network = torch.load(folder / "network.pt")
    return Found(_one(network.values()), _one([content["policies"], content["returns"]]))


METHODS = [
    Method("AlphaTriangle", _ours, _load_ours),
    Method("pickle, two copies", _naive, _load_naive),
    Method("torch.save", _torch, _load_torch),
    Method("torch DCP", _dcp, _load_dcp),
    Method("TorchRL dumps", _torchrl, _load_torchrl),
]


def _child(method: Method, folder: Path, first: int, acknowledged: int) -> None:
    """Save for ever, telling the number of each save that has returned."""
    with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
        save = method.start(folder)
        i = first
        while True:
            save(i)
            os.write(acknowledged, i.to_bytes(4, "little"))
            i += 1


def kills(method: Method) -> Counter[str]:
    """What a start finds after each of many kills at random moments of saving."""
    outcomes: Counter[str] = Counter()
    rng = random.Random(1)
    for _ in range(KILLS):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                _child(method, folder, 1, writer)
            os.close(writer)
            said = os.read(reader, 4)
            deadline = time.monotonic() + rng.uniform(0.0, 0.15)
            while time.monotonic() < deadline:
                pass
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            while more := os.read(reader, 4):
                said = more
            os.close(reader)
            last = int.from_bytes(said, "little")
            outcomes[_judge(method, folder, last)] += 1
    return outcomes


def _judge(method: Method, folder: Path, acknowledged: int) -> str:
    try:
        found = method.load(folder)
    except BaseException:  # noqa: BLE001 - DCP's own error is not an Exception
        return "lost"
    if found.network is None or found.network != found.replay:
        return "mixed"
    return "old or new, whole" if found.network >= acknowledged else "lost"


def rot(method: Method) -> Counter[str]:
    """What is loaded when one random bit of one file is flipped."""
    outcomes: Counter[str] = Counter()
    rng = random.Random(2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pid = os.fork()
        if pid == 0:
            save = method.start(folder)
            save(1)
            save(2)
            os._exit(0)
        os.waitpid(pid, 0)
        newest = _files_of_newest(method, folder)
        weights = [p.stat().st_size for p in newest]
        for _ in range(FLIPS):
            path = rng.choices(newest, weights)[0]
            place = rng.randrange(path.stat().st_size)
            with path.open("r+b") as f:
                f.seek(place)
                byte = f.read(1)[0]
                f.seek(place)
                f.write(bytes([byte ^ 1 << rng.randrange(8)]))
            try:
                found = method.load(folder)
                if found == Found(2.0, 2.0):
                    outcomes["harmless"] += 1
                elif found == Found(1.0, 1.0):
                    outcomes["detected, older state loaded"] += 1
                else:
                    outcomes["silently wrong"] += 1
            except BaseException:  # noqa: BLE001 - DCP's own error is not an Exception
                outcomes["detected, nothing loaded"] += 1
            with path.open("r+b") as f:
                f.seek(place)
                f.write(bytes([byte]))
    return outcomes


def _files_of_newest(method: Method, folder: Path) -> list[Path]:
    """The files that a load of the newest state reads."""
    if method.name == "AlphaTriangle":
        state = load_for_reading(_config(folder).persistence, "tiny")
        assert state.commit is not None
        return [folder / "runs/tiny" / f.path for f in state.commit.files]
    files = [p for p in folder.rglob("*") if p.is_file() and "_step_" not in p.name]
    return [p for p in files if p.stat().st_size]


def _saves(method: Method, folder: Path, snapshots: Path) -> None:
    """Three saves, the second of which is sure to find an older state; strace watches."""
    save = method.start(folder)
    for i in range(1, 4):
        save(i)
        shutil.copytree(folder, snapshots / str(i), symlinks=True)
        os.access(folder / f"{MARK}{i}", os.F_OK)
    # What happens at an exit is not a part of it.
    os._exit(0)


def _power(method: Method) -> Counter[str]:
    """What a start finds when the power is cut after any change of the disk from save 1 on."""
    outcomes: Counter[str] = Counter()
    rng = random.Random(3)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name).resolve()
        folder, snapshots, disk = (place / n for n in ("data", "snapshots", "disk"))
        folder.mkdir()
        snapshots.mkdir()
        child = [sys.executable, "-m", "tests.durability.side_by_side", "saves", method.name]
        command = [*strace(place / "log"), *child, str(folder), str(snapshots)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        volume = TracedVolume(folder, snapshots)
        acknowledged, tried = 0, set()
        for returned in volume.follow(place / "log"):
            acknowledged = returned or acknowledged
            for tree in volume.crashes(CRASHES, rng) if acknowledged else ():
                state = hash((acknowledged, tuple(sorted(tree.items()))))
                if state in tried:
                    continue
                tried.add(state)
                disk.mkdir()
                write_tree(disk, tree)
                outcomes[_judge(method, disk, acknowledged)] += 1
                shutil.rmtree(disk)
        wrong = [p for p, c in read_tree(folder).items() if volume.now().get(p) != c]
        assert not wrong, f"strace and the model disagree about {wrong}"
    return outcomes


def _power_elsewhere(method: Method) -> dict[str, int]:
    """In a process of its own, with a small state."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.durability.side_by_side", "power", method.name],
        env={**os.environ, "ALPHATRIANGLE_SMALL": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    outcomes: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return outcomes


def main() -> int:
    """Try all and print the figures as JSON."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    methods = {method.name: method for method in METHODS}
    match sys.argv[1:]:
        case ["saves", name, folder, snapshots]:
            _saves(methods[name], Path(folder), Path(snapshots))
        case ["power", name]:
            sys.stdout.write(json.dumps(_power(methods[name])) + "\n")
            return 0
    results = {}
    for method in METHODS:
        results[method.name] = {
            "kills": dict(kills(method)),
            "power": _power_elsewhere(method),
            "rot": dict(rot(method)),
        }
        sys.stderr.write(f"{method.name}: {results[method.name]}\n")
    json.dump(results, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
