"""What a save costs the training thread, against copying the same bytes and pickling everything."""

from __future__ import annotations

import pickle
import tempfile
import time
from pathlib import Path

import numpy as np

from alphatriangle.config import build, merge, preset
from alphatriangle.data import DataManager
from alphatriangle.game.geometry import MAX_LEGAL
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, SelfPlay, Trainer
from alphatriangle.utils.types import Rows
from benchmarks.timing import Result, seconds

NEW_ROWS = 2_000
CAPACITY = 250_000


def _rows(config: object, network: NeuralNetwork, count: int) -> Rows:
    """Real rows, repeated: playing 250,000 takes long, and their shape is what matters."""
    from alphatriangle.config import Config

    assert isinstance(config, Config)
    player = SelfPlay(network, config.search, config.env, games=64, gamma=0.98, n_step=3, seed=1)
    player.add_episodes(range(10_000))
    real = player.play(2_000).rows
    return Rows.concatenate([real] * (count // len(real) + 1))[:count]


def run() -> list[Result]:
    """Measure with a full buffer and a small network."""
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder))


def _run(folder: Path) -> list[Result]:
    layer = {
        "train": {"run_name": "bench", "buffer_capacity": CAPACITY, "use_per": True},
        "persistence": {"root_data_dir": str(folder), "mlflow": False},
    }
    config = build(merge(preset("laptop"), layer))
    network = NeuralNetwork(config.model, "cpu")
    trainer, buffer = Trainer(network, config.train), ExperienceBuffer(config.train)
    rows = _rows(config, network, CAPACITY)
    buffer.add_rows(rows)
    trainer.train_step(buffer.sample(256, 0))
    manager = DataManager(config.persistence, config.train)
    manager.load_initial_state()
    blocked, written = [], 0
    for step in range(1, 8):
        buffer.add_rows(rows[:NEW_ROWS])
        begin = time.perf_counter()
        manager.save_training_state(network, trainer.optimizer, None, buffer, step, 0, 0)
        blocked.append(time.perf_counter() - begin)
        report = manager.flush()
        written = report.bytes_written if report else 0
    manager.close()
    save = sorted(blocked[1:])[len(blocked) // 2]
    weights = sum(t.nbytes for t in network.get_weights().values())
    captured = 3 * weights + NEW_ROWS * MAX_LEGAL * 4 + CAPACITY * 4
    source, target = np.ones(captured, np.uint8), np.empty(captured, np.uint8)
    copy = seconds(lambda: np.copyto(target, source), 20)
    columns = (rows.boards, rows.slots, rows.policies, rows.returns)
    naive = seconds(lambda: pickle.dumps(columns, protocol=5), 2)
    reader = DataManager(config.persistence, config.train)
    begin = time.perf_counter()
    state = reader.load_initial_state()
    assert state.buffer_data is not None
    fresh = ExperienceBuffer(config.train)
    fresh.load_state_dict(state.buffer_data.buffer_state(), state.buffer_data.buffer_list.rows())
    load = time.perf_counter() - begin
    reader.close()
    sample = seconds(lambda: buffer.sample(256, 0), 20)
    return [
        Result(
            "save, training thread blocked", f"{save * 1e3:.1f} ms", f"{save / copy:.1f} x memcpy"
        ),
        Result(
            "pickling all columns instead",
            f"{naive * 1e3:.0f} ms",
            f"{naive / save:.0f} x the save",
        ),
        Result(f"bytes written after {NEW_ROWS} new rows", f"{written / 1e6:.1f} MB", ""),
        Result(f"load {CAPACITY:,} rows, ready to sample", f"{load:.2f} s", ""),
        Result("sample 256 rows as tensors", f"{sample * 1e3:.2f} ms", ""),
    ]
