"""How the golden files of format version 2 were made: ``python -m tests.golden.make_v2 FOLDER``.

Kept for the record. The files in this folder are never made again: they stand for what versions
already in use have written, and must stay loadable.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alphatriangle.config import PersistenceConfig
from alphatriangle.data import Ring, Saver
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.loading import load_for_reading

CAPACITY = 24
ROWS_OF_STEPS = (2, 8, 6, 6, 6)
"""How many rows each step adds: the first two segments are merged, and some rows of theirs have
left the ring."""


def rows(first: int, end: int) -> dict[str, npt.NDArray[Any]]:
    """The rows numbered [first, end), of whole numbers and what follows from them exactly."""
    number = np.arange(first, end)
    return {
        "observations": (number[:, None, None] * 7 + np.arange(6).reshape(3, 2)).astype(np.uint8),
        "actions": number.astype(np.int64) - 2**40,
        "rewards": np.where(number % 5 == 0, np.nan, number / 4).astype(np.float32),
        "phases": (number + 1j * number / 2).astype(np.complex64),
        "done": number % 6 == 5,
    }


def mutable(first: int, end: int, step: int) -> dict[str, npt.NDArray[Any]]:
    """What the columns that change are after a step."""
    number = np.arange(first, end)
    return {
        "priorities": (number / 8 + step).astype(np.float32),
        "values": np.stack([number, number - step], axis=1).astype(np.float16),
    }


def ring() -> Ring:
    """The replay of the run."""
    return Ring(
        CAPACITY,
        {
            "observations": ("uint8", (3, 2)),
            "actions": "int64",
            "rewards": "float32",
            "phases": "complex64",
            "done": "bool",
        },
        mutable={"priorities": "float32", "values": ("float16", (2,))},
    )


def main(folder: Path) -> None:
    replay, model = ring(), torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    settings = PersistenceConfig(mlflow=False, keep_last=2)
    data = folder / "run_v2"
    with Saver(data, "golden", replay=replay, settings=settings, signals=False) as saver:
        saver.restore({"model": model, "optimizer": optimizer, "env": (env := {"position": 0})})
        for step, count in enumerate(ROWS_OF_STEPS, start=1):
            first = replay.total_added
            added = rows(first, first + count) | mutable(first, first + count, step)
            replay.add(added)
            for name, values in mutable(replay.oldest, replay.total_added, step).items():
                replay[name][replay.positions()] = values
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            env["position"] = 10 * step
            saver.save(step, metrics={"loss": 1 / step})
    state = load_for_reading(settings.model_copy(update={"root_data_dir": data}), "golden")
    assert state.checkpoint_data is not None
    digest = state_digest(state.checkpoint_data, state.buffer_data)
    (folder / "run_v2.digest").write_text(digest + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
