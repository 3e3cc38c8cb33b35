"""How the golden files of format version 1 were made: ``python -m tests.golden.make_v1 FOLDER``.

Kept for the record. The files in this folder are never made again: they stand for what versions
already in use have written, and must stay loadable.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cloudpickle
import numpy as np

from alphatriangle.data.commits.digest import state_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.schemas import BufferData
from alphatriangle.rl import SelfPlay
from tests.conftest import make_network, tiny_config
from tests.data.helpers import started


def main(folder: Path) -> None:
    config = tiny_config(
        train={"run_name": "golden", "use_per": True, "buffer_capacity": 120},
        model={"conv_channels": 4, "value_hidden": 4},
        persistence={"root_data_dir": str(folder / "run_v1")},
    )
    training = started(config)
    training.manager.save_run_config(config.model_dump(mode="json"))
    for step in range(2):
        training.commit(rows=90, is_best=step == 0, metrics={"score": 1.5 + step})
    network = make_network(config)
    player = SelfPlay(network, config.search, config.env, games=3, gamma=0.9, n_step=3, seed=1)
    player.add_episodes(range(20))
    player.play(0, max_rounds=30)
    training.advance()
    training.manager.save_training_state(
        training.network,
        training.trainer.optimizer,
        None,
        training.buffer,
        3,
        30,
        300,
        components={"scheduler": training.trainer.scheduler, "play": player},
    )
    training.manager.close()
    state = load_for_reading(config.persistence, "golden")
    assert state.checkpoint_data is not None
    digest = state_digest(state.checkpoint_data, state.buffer_data)
    (folder / "run_v1.digest").write_text(digest + "\n")
    experience = (
        {
            "grid": np.arange(120, dtype=np.float32).reshape(1, 8, 15),
            "other_features": np.arange(30, dtype=np.float32),
        },
        dict.fromkeys(range(360), 1 / 360),
        2.5,
    )
    record = BufferData.model_construct(buffer_list=[experience, experience])
    (folder / "known_project_buffer.pkl").write_bytes(cloudpickle.dumps(record))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
