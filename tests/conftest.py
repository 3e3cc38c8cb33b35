"""Small settings that make every part run for real in little time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from alphatriangle.config import Config, Layer, build, merge
from alphatriangle.nn import NeuralNetwork
from alphatriangle.utils.global_rng import seed_everything
from tests.helpers.mlflow_server import mlflow_server as mlflow_server
from tests.helpers.seaweedfs import seaweedfs as seaweedfs

torch.set_num_threads(1)
# The first example may compile a kernel; the same examples every time keep failures repeatable.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

TINY: Layer = {
    "train": {
        "run_name": "tiny",
        "max_steps": 12,
        "batch_size": 16,
        "buffer_capacity": 400,
        "min_buffer_size_to_train": 60,
        "games_per_worker": 6,
        "num_workers": 0,
        "num_threads": 1,
        "training_dtype": "float32",
        "replay_ratio": 1.0,
        "n_step_returns": 3,
    },
    "model": {
        "kind": "convolutional",
        "conv_channels": 8,
        "num_residual_blocks": 1,
        "value_hidden": 16,
        "num_value_atoms": 21,
        "inference_dtype": "float32",
    },
    "search": {"num_simulations": 4, "max_considered_actions": 4},
    "persistence": {"save_freq_steps": 4, "mlflow": False},
    "stats": {"log_freq_steps": 2, "evaluation_games": 0, "gate_games": 0, "tensorboard": False},
}


def tiny_config(tmp_path: Path | None = None, **sections: dict[str, Any]) -> Config:
    layers = [TINY, sections]
    if tmp_path is not None:
        layers.append({"persistence": {"root_data_dir": str(tmp_path / "data")}})
    return build(merge(*layers))


def tiny_settings() -> list[str]:
    """The same settings as ``--set`` arguments."""
    arguments = []
    for section, fields in TINY.items():
        for field, value in fields.items():
            if field not in ("run_name", "num_workers", "max_steps"):
                text = str(value).lower() if isinstance(value, bool) else str(value)
                arguments += ["--set", f"{section}.{field}={text}"]
    return arguments


def make_network(config: Config, seed: int = 1) -> NeuralNetwork:
    """A network whose heads say something, unlike freshly initialized ones."""
    seed_everything(seed)
    network = NeuralNetwork(config.model, "cpu", seed=seed)
    weights = network.get_weights()
    for name in ("policy_head.weight", "value_head.weight"):
        weights[name] = torch.randn_like(weights[name])
    network.set_weights(weights)
    return network


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return tiny_config(tmp_path)


@pytest.fixture
def network(config: Config) -> NeuralNetwork:
    return make_network(config)
