"""After numbers that are not finite: the command that goes back to a sound step, more carefully."""

from __future__ import annotations

from typing import Final

from alphatriangle.config import Config, NTupleConfig, PersistenceConfig, TrainConfig
from alphatriangle.data.commits.files import StoredCommit, has_begun, list_commits, verify_file
from alphatriangle.data.errors import DataError
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.schemas import CheckpointData
from alphatriangle.data.serializer import Serializer
from alphatriangle.rl import schedule
from alphatriangle.training.courses import saved_course
from alphatriangle.utils.finite import first_not_finite
from alphatriangle.utils.invocation import command

_CAREFUL_CLIP: Final = 5.0


def way_back(config: Config, run: str, began_at: int) -> str:
    """What to do about ``run``, whose training diverged after it had begun at step ``began_at``.

    The step is that of the newest commit that is whole and finite; where nothing was committed
    since the start, the one before: from the newest it has just gone wrong.
    """
    paths = PathManager(config.persistence, run)
    commits = list_commits(paths).commits
    where = _data_dir(config.persistence)
    if not commits:
        changes = _careful(config, config.train.learning_rate)
        again = command("train", "--run-name", run, *changes, *where)
        return f"nothing was committed yet; {again} begins again with a lower rate"
    # Those of the step it began with come last.
    candidates = sorted(commits, key=lambda stored: stored.commit.global_step == began_at)
    serializer = Serializer(config.persistence.allowed_globals)
    finite = ((s, checkpoint) for s in candidates if (checkpoint := _finite(paths, s, serializer)))
    found, checkpoint = next(finite, (None, None))
    if found is None or checkpoint is None:
        return "no commit is whole and finite; begin a new run with a lower rate"
    step, name = found.commit.global_step, _new_name(config.persistence, run)
    fork = command("runs", "fork", run, name, "--step", str(step), *where)
    course = saved_course(checkpoint, "scheduler", config.train, schedule.learning_rate)
    changes = _careful(config, course.at(step))
    train = command("train", "--run-name", name, *changes, *where)
    older = [s.commit.global_step for s in commits if s.commit.global_step < step]
    others = f" (so may be those before it: {', '.join(map(str, older))})" if older else ""
    commands = f"{fork} && {train}"
    return f"the commit of step {step} is intact{others}; {commands} goes on with a lower rate"


def _finite(
    paths: PathManager, stored: StoredCommit, serializer: Serializer
) -> CheckpointData | None:
    """The checkpoint of a commit that is whole, if it is finite."""
    try:
        file = stored.commit.of_kind("checkpoint")[0]
        verify_file(paths.run, file)
        checkpoint = serializer.load_checkpoint(paths.run / file.path)
    except DataError:
        return None
    state = (checkpoint.model_state_dict, checkpoint.optimizer_state_dict)
    return None if any(first_not_finite(part) for part in state) else checkpoint


def _careful(config: Config, rate: float) -> list[str]:
    """A tenth of ``rate``, the one in use, at most the default; with room for it to fall, and a
    limit for the gradient. Rates of an n-tuple network fall by themselves: it has its own."""
    if config.model.kind == "ntuple":
        lower = _tenth(config.ntuple.learning_rate, NTupleConfig)
        return ["--set", f"ntuple.learning_rate={lower:g}"]
    train, lower = config.train, _tenth(rate, TrainConfig)
    settings = [f"train.learning_rate={lower:g}"]
    if train.lr_scheduler_type == "CosineAnnealingLR" and lower < train.lr_scheduler_eta_min:
        settings.append(f"train.lr_scheduler_eta_min={lower / 10:g}")
    if train.gradient_clip_value is None:
        settings.append(f"train.gradient_clip_value={_CAREFUL_CLIP}")
    return [word for setting in settings for word in ("--set", setting)]


def _tenth(rate: float, section: type[NTupleConfig] | type[TrainConfig]) -> float:
    default: float = section.model_fields["learning_rate"].default
    return float(f"{min(rate / 10, default):.2g}")


def _new_name(config: PersistenceConfig, run: str) -> str:
    stem, number = run[:20], 2
    while has_begun(PathManager(config, f"{stem}-{number}")):
        number += 1
    return f"{stem}-{number}"


def _data_dir(config: PersistenceConfig) -> list[str]:
    default = PersistenceConfig.model_fields["root_data_dir"].default
    folder = config.root_data_dir
    return [] if folder == default else ["--data-dir", str(folder)]
