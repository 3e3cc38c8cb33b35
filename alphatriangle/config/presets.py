"""Ready sets of settings: ``quick`` to see it work and ``laptop`` for hours, with an n-tuple
network on a CPU; the same with a convolutional one; ``full``, with a larger one, for a GPU."""

from __future__ import annotations

from typing import Final

from alphatriangle.config.config import ConfigError, Layer

PRESETS: Final[dict[str, Layer]] = {
    "quick": {
        "train": {"max_steps": 320, "buffer_capacity": 50_000},
        "model": {"kind": "ntuple"},
        "env": {"max_moves_per_episode": 30_000},
        "persistence": {"save_freq_steps": 80},
        "stats": {
            "log_freq_steps": 5,
            "gate_freq_steps": 160,
            "gate_games": 32,
            "gate_simulations": 0,
        },
    },
    "laptop": {
        "train": {"max_steps": 20_000, "buffer_capacity": 250_000},
        "model": {"kind": "ntuple"},
        "env": {"max_moves_per_episode": 30_000},
        "persistence": {"save_freq_steps": 100, "keep_every_steps": 5_000},
        "stats": {"gate_freq_steps": 500, "gate_simulations": 0},
    },
    "convolutional-quick": {
        "train": {
            "max_steps": 600,
            "batch_size": 256,
            "games_per_worker": 64,
            "buffer_capacity": 50_000,
            "min_buffer_size_to_train": 3_000,
            "replay_ratio": 1.5,
            "n_step_returns": 8,
            "augment_symmetry": True,
            "learning_rate": 4e-3,
        },
        "model": {
            "kind": "convolutional",
            "conv_channels": 32,
            "num_residual_blocks": 2,
            "value_hidden": 64,
        },
        "search": {"gumbel_scale": 0.0},
        "persistence": {"save_freq_steps": 100},
        "stats": {"gate_freq_steps": 200},
    },
    "convolutional-laptop": {
        "train": {
            "max_steps": 60_000,
            "batch_size": 256,
            "games_per_worker": 128,
            "buffer_capacity": 250_000,
            "min_buffer_size_to_train": 10_000,
            "training_dtype": "auto",
            "n_step_returns": 8,
            "augment_symmetry": True,
            "gamma": 0.99,
        },
        "model": {
            "kind": "convolutional",
            "conv_channels": 64,
            "num_residual_blocks": 4,
            "value_max": 120.0,
        },
        "persistence": {"save_freq_steps": 500, "keep_every_steps": 10_000},
        "stats": {"log_freq_steps": 50, "gate_freq_steps": 2_000},
    },
    "full": {
        "train": {
            "max_steps": 1_000_000,
            "batch_size": 1024,
            "games_per_worker": 512,
            "buffer_capacity": 2_500_000,
            "min_buffer_size_to_train": 100_000,
            "n_step_returns": 8,
            "augment_symmetry": True,
            "gamma": 0.99,
            "learning_rate": 1e-3,
        },
        "model": {
            "kind": "convolutional",
            "conv_channels": 128,
            "num_residual_blocks": 10,
            "value_hidden": 256,
            "value_max": 120.0,
        },
        "search": {"num_simulations": 64, "max_considered_actions": 16},
        "persistence": {"save_freq_steps": 2_000, "keep_every_steps": 50_000},
        "stats": {"log_freq_steps": 100, "gate_freq_steps": 10_000},
    },
}


def preset(name: str) -> Layer:
    """The settings of a preset.

    Raises:
        ConfigError: there is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; there are: {', '.join(PRESETS)}")
    return PRESETS[name]
