"""What a save and a start cost when many commits are kept."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from alphatriangle.config import PersistenceConfig, TrainConfig
from alphatriangle.data import DataManager
from alphatriangle.data.commits.files import list_commits, sealed
from alphatriangle.data.path_manager import PathManager
from benchmarks.timing import Result

KEPT = (10, 100, 1_000, 10_000)
SAVES = 10


def run() -> list[Result]:
    """In milliseconds, and as multiples of those with the fewest."""
    results = []
    first: dict[str, float] = {}
    for kept in KEPT:
        with tempfile.TemporaryDirectory() as folder:
            for name, seconds in _costs(Path(folder), kept).items():
                base = first.setdefault(name, seconds)
                text = f"{seconds / base:.2f} x that with {KEPT[0]}"
                results.append(
                    Result(f"{name}, {kept:,} commits kept", f"{seconds * 1e3:.1f} ms", text)
                )
    return results


def _costs(folder: Path, kept: int) -> dict[str, float]:
    persistence = PersistenceConfig(
        root_data_dir=folder, keep_last=2, keep_every_steps=1, mlflow=False
    )
    train = TrainConfig(run_name="r")
    model = torch.nn.Linear(8, 8)
    optimizer = torch.optim.SGD(model.parameters())

    def save(manager: DataManager, step: int) -> float:
        manager.save_training_state(model, optimizer, None, None, step, 0, 0)
        report = manager.flush()
        assert report is not None
        return report.seconds

    manager = DataManager(persistence, train)
    manager.load_initial_state()
    save(manager, kept)
    manager.close()
    _multiply(manager.paths, kept)
    manager = DataManager(persistence, train)
    manager.load_initial_state()
    save(manager, kept + 1)
    manager.close()
    manager = DataManager(persistence, train)
    begin = time.perf_counter()
    assert manager.load_initial_state().checkpoint_data is not None
    start = time.perf_counter() - begin
    seconds = [save(manager, kept + 2 + i) for i in range(SAVES)]
    manager.close()
    return {"start": start, "save": float(np.median(seconds))}


def _multiply(paths: PathManager, kept: int) -> None:
    """Commits of the steps before the only one, each with a checkpoint of its own."""
    ((path, commit, _),) = list_commits(paths).commits
    path.write_bytes(sealed(commit.model_copy(update={"sequence": kept})))
    (file,) = commit.files
    content = (paths.run / file.path).read_bytes()
    for step in range(1, kept):
        checkpoint = paths.checkpoint(step)
        checkpoint.write_bytes(content)
        named = file.model_copy(update={"path": paths.relative(checkpoint)})
        more = {"sequence": step, "global_step": step, "files": [named]}
        paths.commit(step).write_bytes(sealed(commit.model_copy(update=more)))
