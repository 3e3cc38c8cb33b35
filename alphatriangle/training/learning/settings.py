"""What a run was begun with and keeps: its network, and the settings that games depend on."""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Final

from alphatriangle.config import Config, network_kinds
from alphatriangle.data.records import RunInfo
from alphatriangle.data.schemas import CheckpointData, LoadedTrainingState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.utils.streams import STREAM_INIT, library_seed

PLAYING: Final = ("search", "env")
"""What decides how a game of self-play goes."""
JUDGED: Final = (
    *PLAYING,
    "ntuple.play_width",
    "ntuple.play_leaves",
    "ntuple.play_simulations",
    "ntuple.play_inner_width",
    "stats.gate_simulations",
)
"""What decides how a game goes that a candidate for the best is judged by."""


def make_network(
    config: Config, info: RunInfo | None, changed: Container[str] = ()
) -> NeuralNetwork:
    """The network. What ``auto`` was decided to mean is kept, unless the setting is ``changed``."""
    model = config.model
    asked_for = "model.inference_dtype" in changed or "model.fused_inference" in changed
    if info is not None and info.inference_dtype is not None and not asked_for:
        kept = {}
        if model.inference_dtype == "auto":
            kept["inference_dtype"] = info.inference_dtype
        if not info.fused_inference:
            kept["fused_inference"] = "off"
        model = model.model_copy(update=kept)
    return NeuralNetwork(
        model, config.train.device, seed=library_seed(config.train.seed, STREAM_INIT)
    )


def saved_games(state: LoadedTrainingState, config: Config, component: str) -> Any | None:
    """The games in flight that the loaded state has under this name; None where it has none, or
    where the seed is another and so the episodes are other games."""
    checkpoint = state.checkpoint_data
    if checkpoint is None or not same_settings(checkpoint, config, "train.seed"):
        return None
    return checkpoint.components.get(component)


def same_settings(checkpoint: CheckpointData, config: Config, *keys: str) -> bool:
    """Whether these sections, or fields of sections, are what they were at the checkpoint. What
    this kind of network takes no notice of may be anything."""
    now, noticed = config.model_dump(mode="json"), (None, config.model.kind)
    wanted = network_kinds()
    for key in keys:
        section, _, only = key.partition(".")
        then = checkpoint.config.get(section, {})
        for name in [only] if only else now[section]:
            if wanted[f"{section}.{name}"] not in noticed:
                continue
            if name in then and then[name] != now[section][name]:
                return False
    return True
