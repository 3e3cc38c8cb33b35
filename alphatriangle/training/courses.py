"""Learning rate, beta and pace of a run that is gone on with: what was saved of them."""

from __future__ import annotations

import math
from collections.abc import Callable

from alphatriangle.config import TrainConfig
from alphatriangle.data.schemas import CheckpointData, LoadedTrainingState
from alphatriangle.rl import ExperienceBuffer, Trainer, schedule
from alphatriangle.rl.schedule import Course


def saved_course(
    checkpoint: CheckpointData,
    name: str,
    config: TrainConfig,
    make: Callable[[TrainConfig], Course],
) -> Course:
    """The course that component ``name`` was saved with; ``make`` makes it of a configuration.

    Earlier versions saved none: theirs was one course from the first step on. What comes from
    elsewhere, a network without a past, begins with its step.
    """
    components = checkpoint.components
    state = components.get(name)
    if isinstance(state, dict) and state.keys() == {"settings", "start", "first"}:
        return Course(**state)
    if "scheduler" not in components:
        return make(config).begun_at(checkpoint.global_step)
    known = checkpoint.config.get("train", {}).items()
    then = {name: value for name, value in known if name in TrainConfig.model_fields}
    if "base_lrs" in components["scheduler"]:
        # What had an effect, whatever the configuration said by then.
        then["learning_rate"] = components["scheduler"]["base_lrs"][0]
    return make(config.model_copy(update=then))


def restore_pace(state: LoadedTrainingState, config: TrainConfig) -> Course:
    """The rows that must have been played before a step, as it was saved."""
    wanted, checkpoint = schedule.pace(config), state.checkpoint_data
    if checkpoint is None:
        return wanted
    if state.buffer_data is None:
        # Its rows are elsewhere: as many as at any beginning are played first.
        return wanted.begun_at(checkpoint.global_step)
    saved = saved_course(checkpoint, "pace", config, schedule.pace)
    return saved.followed(wanted, checkpoint.global_step)


def what_begins(config: TrainConfig, trainer: Trainer, buffer: ExperienceBuffer) -> list[str]:
    """For the person: the courses that begin with this start of a run that has begun before."""
    lines = []
    now = trainer.steps
    if 0 < now == trainer.scheduler.start:
        lines.append(f"from step {now} on the learning rate {_in_words(trainer.scheduler)}")
    if config.use_per and 0 < now == buffer.beta.start:
        lines.append(f"from step {now} on beta {_in_words(buffer.beta)}")
    return lines


def _in_words(course: Course) -> str:
    last = course.settings.get("last")
    if last is None:
        return f"is {course.first:.4g}"
    if math.isclose(course.first, last):
        first = "learning_rate" if course.settings["shape"] == "cosine" else "per_beta_initial"
        return f"stays at {last:.4g}; another train.{first} would begin anew"
    return f"goes from {course.first:.4g} to {last:.4g} at step {course.end}"
