"""Reinforcement learning: self-play, the replay buffer, the trainer."""

from alphatriangle.rl.buffer import ExperienceBuffer
from alphatriangle.rl.self_play import PlayResult, SelfPlay, play_episodes
from alphatriangle.rl.trainer import Trainer
from alphatriangle.utils.errors import TrainingDivergedError

__all__ = [
    "ExperienceBuffer",
    "PlayResult",
    "SelfPlay",
    "Trainer",
    "TrainingDivergedError",
    "play_episodes",
]
