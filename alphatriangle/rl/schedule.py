"""What changes as training goes on: the learning rate, the exponent beta, the rows wanted.

Such a value is a pure function of the training step, a :class:`Course`, and the course is part of
every commit. A resume with the same settings goes on with it, to the bit. Settings that say
something else begin a new course at the step that training stands at, so that nothing that may
change in a run, its length included, has a say in what is over:

- it begins where the value has come to, or with the first value of the new settings if that is
  what was changed;
- what ends with the run ends with the new end: a run that is extended does not begin again. Its
  learning rate falls on to the lowest, or stays there if it has come to it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from alphatriangle.config import TrainConfig


@dataclass(frozen=True)
class Course:
    """A value from the step ``start`` on, where it is ``first``."""

    settings: dict[str, Any]
    """What it follows from, ``shape`` and ``first`` among it: no more of the configuration."""
    start: int
    first: float

    def at(self, step: int) -> float:
        """The value at a training step, ``start`` or later."""
        settings, since = self.settings, step - self.start
        match settings["shape"]:
            case "cosine":
                value = _cosine(self.first, settings["last"], self._share(since))
            case "line":
                value = self.first + (settings["last"] - self.first) * self._share(since)
            case "stairs":
                value = self.first * settings["gamma"] ** (since // settings["step_size"])
            case "pace":
                value = self.first + since * settings["batch_size"] / settings["replay_ratio"]
            case _:
                value = self.first
        return float(value)

    def _share(self, since: int) -> float:
        length = self.end - self.start
        return min(since / length, 1.0) if length > 0 else 1.0

    @property
    def end(self) -> int:
        """The step from which on the value stays what it is; of shapes that have one."""
        end: int = self.settings["until"] or self.start + self.settings["steps"]
        return end

    def followed(self, wanted: Course, step: int) -> Course:
        """This course, or what takes its place at ``step`` where ``wanted`` has other settings."""
        if wanted.settings == self.settings:
            return self
        first, before = wanted.settings["first"], self.settings["first"]
        if wanted.settings["shape"] == "pace":
            # Rows that the beginning asked for are there: only the difference is still to come.
            first = self.at(step) + first - before
        elif first == before:
            first = self.at(step)
        return Course(wanted.settings, step, first)

    def begun_at(self, step: int) -> Course:
        """The same settings from another step on."""
        return Course(self.settings, step, self.first)

    def state_dict(self) -> dict[str, Any]:
        """Everything; ``Course(**state)`` is the course again."""
        return asdict(self)


def learning_rate(config: TrainConfig) -> Course:
    """The optimizer's learning rate at a step, in a run that begins with this configuration."""
    first = config.learning_rate
    settings: dict[str, Any] = {"shape": "constant", "first": first}
    if config.lr_scheduler_type == "StepLR":
        settings |= {
            "shape": "stairs",
            "step_size": config.lr_scheduler_step_size,
            "gamma": config.lr_scheduler_gamma,
        }
    elif config.lr_scheduler_type == "CosineAnnealingLR":
        settings |= {"shape": "cosine", "last": config.lr_scheduler_eta_min}
        settings |= _length(config.lr_scheduler_t_max, config)
    return Course(settings, 0, first)


def beta(config: TrainConfig) -> Course:
    """Exponent of the importance weights at a step, annealed linearly (Schaul et al., 2016)."""
    first = config.per_beta_initial
    settings = {"shape": "line", "first": first, "last": config.per_beta_final}
    return Course(settings | _length(config.per_beta_anneal_steps, config), 0, first)


def pace(config: TrainConfig) -> Course:
    """Rows that must have been played in all when training stands at a step."""
    first = config.min_buffer_size_to_train
    settings = {
        "shape": "pace",
        "first": first,
        "batch_size": config.batch_size,
        "replay_ratio": config.replay_ratio,
    }
    return Course(settings, 0, first)


def _cosine(first: float, last: float, share: float) -> float:
    """Loshchilov & Hutter (2017), equation 5, one period, of which ``share`` is over."""
    cosine = 0.5 * (1.0 + math.cos(math.pi * share))
    if first == 0.0:
        return last * (1.0 - cosine)
    lowest = last / first
    return first * (lowest + (1.0 - lowest) * cosine)


def _length(steps: int | None, config: TrainConfig) -> dict[str, int | None]:
    """So many steps, or to the end of the run."""
    return {"steps": steps, "until": None if steps else config.max_steps}
