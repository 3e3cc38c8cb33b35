"""How the golden files of commits of format version 2 were made: ``python -m
tests.golden.make_v3 FOLDER``, at the version that first gave files an xxh3 beside their sha256.

They are the run of ``run_v2`` gone on with: its commits of format version 1 are kept, and newer
ones name files of both kinds. Segments are still of format version 2; the new ones are not
compressed, as that would not make them smaller.

Kept for the record. The files in this folder are never made again: they stand for what versions
already in use have written, and must stay loadable.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from alphatriangle.config import PersistenceConfig
from alphatriangle.data import Saver
from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.loading import load_for_reading
from tests.golden.make_v2 import mutable, ring, rows

ROWS_OF_A_STEP = 3


def go_on(data: Path, steps: Sequence[int]) -> None:
    """Train the run in the data folder on, by these steps; all its commits are kept."""
    replay, model = ring(), torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.5)
    settings = PersistenceConfig(mlflow=False, keep_last=9)
    env: dict[str, int] = {}
    with Saver(data, "golden", replay=replay, settings=settings, signals=False) as saver:
        saver.restore({"model": model, "optimizer": optimizer, "env": env})
        for step in steps:
            first = replay.total_added
            end = first + ROWS_OF_A_STEP
            replay.add(rows(first, end) | mutable(first, end, step))
            for name, values in mutable(replay.oldest, end, step).items():
                replay[name][replay.positions()] = values
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
            env["position"] = 10 * step
            saver.save(step, metrics={"loss": 1 / step})


def main(folder: Path) -> None:
    data = folder / "run_v3"
    shutil.copytree(Path(__file__).parent / "run_v2", data, symlinks=True)
    go_on(data, steps=(6, 7))
    settings = PersistenceConfig(mlflow=False, root_data_dir=data)
    state = load_for_reading(settings, "golden")
    assert state.checkpoint_data is not None
    digest = state_digest(state.checkpoint_data, state.buffer_data)
    (folder / "run_v3.digest").write_text(digest + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
