"""Which run a ``train`` command means, with which settings, and to which step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from alphatriangle.config import (
    Config,
    ConfigError,
    Layer,
    OnResume,
    PersistenceConfig,
    build,
    check,
    kinds,
    merge,
    network_kinds,
    preset,
)
from alphatriangle.config.toml import differences, toml_value
from alphatriangle.data.commits.files import has_begun
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import (
    CheckpointNotFoundError,
    RunExistsError,
    RunNotFoundError,
)
from alphatriangle.data.path_manager import (
    PathManager,
    check_run_name,
    existing_run,
    new_run_name,
)
from alphatriangle.data.records import RunInfo
from alphatriangle.data.runs.summary import (
    RunSummary,
    latest_run,
    read_configs,
    read_run_info,
    run_to_continue,
    summarize_run,
    summarize_runs,
)
from alphatriangle.data.serializer import Serializer

DEFAULT_PRESET: Final = "laptop"

Changes = dict[str, tuple[Any, Any]]
"""``section.field`` -> its value before and now."""

# Which run, from where to where: that is what a plan decides and says.
_PLANNED: Final = (
    "train.run_name",
    "train.max_steps",
    "train.auto_resume_latest",
    "train.load_checkpoint_path",
    "train.load_buffer_path",
    "persistence.root_data_dir",
)


@dataclass(frozen=True)
class TrainRequest:
    """What the person asked for; None where nothing was said."""

    preset: str | None = None
    settings: Layer | None = None
    """Config file, environment and --set, merged."""
    run_name: str | None = None
    max_steps: int | None = None
    resume: str = "auto"
    """auto, never, latest, a run's name, or a checkpoint's path; the URL of a run in a replica is
    for :func:`with_run_here`."""
    data_dir: Path | None = None


@dataclass(frozen=True)
class RunPlan:
    """What will be done."""

    config: Config
    run_name: str
    preset: str | None
    is_new: bool
    steps_done: int
    target_steps: int
    steps_per_round: int
    started_from: str | None
    message: str
    """For the person: which run, and why this one."""
    fork_of: str | None = None
    """The run whose newest sound commit the new one begins with, sharing its files."""
    changed: Changes = field(default_factory=dict)
    """Settings that are not those that the run had."""
    without_effect: tuple[str, ...] = ()
    """Settings that a new run is given, of which its kind of network takes no notice."""

    @property
    def changes(self) -> list[str]:
        """What :attr:`changed` and :attr:`without_effect` say, for people."""
        lines = [
            f"{key} {toml_value(before)} -> {toml_value(after)}"
            for key, (before, after) in self.changed.items()
        ]
        if self.without_effect:
            keys, kind = ", ".join(self.without_effect), self.config.model.kind
            lines.append(f"without effect on a network of kind {kind}: {keys}")
        return lines

    @property
    def nothing_to_do(self) -> bool:
        """The run already has the steps asked for."""
        return not self.is_new and self.steps_done >= self.target_steps


def plan_run(request: TrainRequest) -> RunPlan:
    """Decide; nothing is written.

    Raises:
        ConfigError: settings that cannot be used, or not with the run they are for.
        DataError: a run or checkpoint asked for is not there, or a name cannot be used.
    """
    asked = what_is_asked(request)
    name, settings, persistence = asked.name, asked.settings, asked.persistence
    match request.resume:
        case "auto":
            found = _find(persistence, name, request.preset)
            if found is not None:
                return _resume(asked, found)
            inherits = bool(settings.get("train", {}).get("auto_resume_latest"))
            if inherits and latest_run(persistence) is not None:
                return _from_source(asked, "latest")
            return _start(asked)
        case "never":
            if name is not None and _exists(persistence, name):
                raise RunExistsError(
                    f"run {name!r} exists and --resume never was given; "
                    "choose another --run-name, or leave --resume away to go on with it"
                )
            return _start(asked)
        case str(source):
            return _from_source(asked, source)


@dataclass(frozen=True)
class Asked:
    """A request, and what is known before it is known which run it means."""

    request: TrainRequest
    settings: Layer
    persistence: PersistenceConfig
    """Where the runs are."""
    name: str | None


def what_is_asked(request: TrainRequest) -> Asked:
    """The settings of a request, judged by themselves.

    Raises:
        ConfigError: settings that cannot be used.
        InvalidRunNameError: the run cannot have this name.
    """
    settings = request.settings or {}
    if request.data_dir is not None:
        settings = merge(settings, {"persistence": {"root_data_dir": str(request.data_dir)}})
    # Bad settings are said first, whatever they would be used for. Whether they fit together is
    # judged with those of the run that they are for.
    check(settings)
    over_preset = merge(preset(request.preset or DEFAULT_PRESET), settings)
    persistence = build({"persistence": over_preset.get("persistence", {})}).persistence
    name = request.run_name or settings.get("train", {}).get("run_name")
    if name is not None:
        check_run_name(name)
    return Asked(request, settings, persistence, name)


def _find(
    config: PersistenceConfig, name: str | None, preset_name: str | None
) -> RunSummary | None:
    """The run to go on with: the one named, else the latest unfinished, else the latest."""
    if name is not None:
        return summarize_run(config, name) if _exists(config, name) else None
    runs = [
        run
        for run in summarize_runs(config)
        if (run.commits or run.target_steps is not None or run.state == "damaged")
        and (preset_name is None or run.preset in (preset_name, None))
    ]
    return run_to_continue(runs) or next(iter(runs), None)


def _exists(config: PersistenceConfig, name: str) -> bool:
    return has_begun(PathManager(config, name))


def _start(asked: Asked) -> RunPlan:
    chosen = asked.request.preset or DEFAULT_PRESET
    run_name = asked.name or new_run_name(asked.persistence, chosen)
    # What a new run begins with is for --resume to say.
    own: dict[str, Any] = {"run_name": run_name, "auto_resume_latest": False}
    if asked.request.max_steps is not None:
        own["max_steps"] = asked.request.max_steps
    config = build(merge(preset(chosen), asked.settings, {"train": own}))
    target = config.train.max_steps
    source = config.train.load_checkpoint_path or config.train.load_buffer_path
    return RunPlan(
        config=config,
        run_name=run_name,
        preset=chosen,
        is_new=True,
        steps_done=0,
        target_steps=target,
        steps_per_round=target,
        started_from=source,
        message=f"new run {run_name!r}: {target} steps, preset {chosen}",
        without_effect=_without_effect(differences(build(preset(chosen)), config), config),
    )


def _without_effect(changes: Changes, config: Config) -> tuple[str, ...]:
    return tuple(key for key in changes if _is_for_others(key, config))


def _is_for_others(key: str, config: Config) -> bool:
    return network_kinds()[key] not in (None, config.model.kind)


def _resume(asked: Asked, run: RunSummary) -> RunPlan:
    request = asked.request
    paths = PathManager(asked.persistence, run.name)
    info = read_run_info(paths)
    saved = _saved_settings(asked.persistence, run, paths, info)
    info = info or _lost_info(run, saved)
    if request.preset is not None and info.preset not in (None, request.preset):
        raise ConfigError(
            f"run {run.name!r} was started with preset {info.preset}, not {request.preset}; "
            "leave --preset away to go on with it, or choose another --run-name"
        )
    target = info.target_steps
    message = f"going on with run {run.name!r} at step {run.step} of {target}"
    max_steps = request.max_steps or _other_max_steps(asked.settings, info)
    if max_steps is not None:
        target = max_steps
        message = f"going on with run {run.name!r} at step {run.step} to step {target}"
    elif run.step >= target:
        target = run.step + info.steps_per_round
        message = f"run {run.name!r} is complete at step {run.step}: on to step {target}"
    if run.step >= target:
        message = f"run {run.name!r} already has {run.step} steps, {target} were asked for"
    own: dict[str, Any] = {"run_name": run.name, "max_steps": target, "auto_resume_latest": False}
    if run.commits:
        _check_beginning(run.name, asked.settings, info)
        # It has a state of its own by now; where the first one came from is history.
        own |= {"load_checkpoint_path": None, "load_buffer_path": None}
    root = {"persistence": {"root_data_dir": str(asked.persistence.root_data_dir)}}
    config = build(merge(saved, asked.settings, root, {"train": own}))
    changed = _changed(run.name, build(saved), config, has_state=run.commits > 0)
    unnoticed = () if run.commits else _without_effect(changed, config)
    return RunPlan(
        config=config,
        run_name=run.name,
        preset=info.preset,
        is_new=run.commits == 0,
        steps_done=run.step,
        target_steps=target,
        steps_per_round=info.steps_per_round,
        started_from=info.started_from,
        message=message,
        changed={key: values for key, values in changed.items() if key not in unnoticed},
        without_effect=unnoticed,
    )


def _other_max_steps(settings: Layer, info: RunInfo) -> int | None:
    """``train.max_steps`` among ``settings``, unless the run was begun with it: the same settings
    once more mean the same as none."""
    given: int | None = settings.get("train", {}).get("max_steps")
    return None if given is None or int(given) == info.steps_per_round else int(given)


def _from_source(asked: Asked, source: str) -> RunPlan:
    """``--resume RUN`` goes on with that run, or lets the new run named begin with its state."""
    request, name = asked.request, asked.name
    path = Path(source).expanduser()
    looks_like_path = path.suffix == ".pkl" or len(path.parts) > 1
    if not looks_like_path:
        run = _source_run(asked.persistence, source)
        if name is None or name == run.name:
            return _resume(asked, run)
        return _fork(_resume(asked, run), run, asked.persistence, name)
    if name is not None and _exists(asked.persistence, name):
        raise RunExistsError(
            f"run {name!r} exists and cannot start from {source}; choose another --run-name"
        )
    serializer = Serializer(asked.persistence.allowed_globals)
    checkpoint = serializer.load_checkpoint(path)
    # The checkpoint says which network it is for; a preset asked for by name says otherwise.
    base = checkpoint.config if request.preset is None else preset(request.preset)
    explicit: Layer = {"train": {"load_checkpoint_path": str(path.absolute()), "run_name": None}}
    layer = merge(base, asked.settings, explicit)
    steps = build(layer).train.max_steps
    target = request.max_steps or checkpoint.global_step + steps
    plan = _start(replace(asked, request=replace(request, max_steps=target), settings=layer))
    return replace(plan, steps_done=checkpoint.global_step, steps_per_round=steps)


def _source_run(config: PersistenceConfig, name: str) -> RunSummary:
    """The run that ``--resume`` names; ``latest`` is the one that was committed to last."""
    if name == "latest":
        found = latest_run(config)
        if found is None:
            raise RunNotFoundError(
                f"--resume latest: no run in {config.root_data_dir} has a commit"
            )
        return found
    try:
        paths = existing_run(config, name)
    except RunNotFoundError as e:
        raise RunNotFoundError(f"--resume {name}: {e}; a path ends in .pkl") from e
    if not _exists(config, name):
        raise RunNotFoundError(f"--resume {name}: nothing was ever saved in {paths.run}")
    return summarize_run(config, name)


def _fork(plan: RunPlan, run: RunSummary, config: PersistenceConfig, name: str) -> RunPlan:
    """What ``plan`` would do with ``run``, in a new run that begins with its newest commit."""
    if _exists(config, name):
        raise RunExistsError(
            f"run {name!r} exists and cannot begin with the state of {run.name!r}; "
            "choose another --run-name"
        )
    if not run.last_commit_ns:
        raise CheckpointNotFoundError(f"run {run.name!r} has no commit to begin with yet")
    train = plan.config.train.model_copy(update={"run_name": name})
    return replace(
        plan,
        config=plan.config.model_copy(update={"train": train}),
        run_name=name,
        is_new=True,
        started_from=f"{run.name} at step {run.step}",
        message=f"new run {name!r} from step {run.step} of run {run.name!r} to step "
        f"{plan.target_steps}",
        fork_of=run.name,
    )


def _lost_info(run: RunSummary, saved: Layer) -> RunInfo:
    """A run without ``run.json``: its commits are what counts."""
    steps = build(saved).train.max_steps
    return RunInfo(run_name=run.name, created_at="", target_steps=steps, steps_per_round=steps)


def _saved_settings(
    config: PersistenceConfig, run: RunSummary, paths: PathManager, info: RunInfo | None
) -> Layer:
    """Those of ``configs.json``; without it those in the newest checkpoint, or the preset's."""
    saved = read_configs(paths)
    if saved is None and run.commits:
        checkpoint = load_for_reading(config, run.name).checkpoint_data
        saved = checkpoint.config if checkpoint is not None else None
    return saved or preset((info and info.preset) or DEFAULT_PRESET)


def _check_beginning(name: str, settings: Layer, info: RunInfo) -> None:
    """A run may be told again what it was begun with, but nothing else.

    Raises:
        ConfigError: it was.
    """
    given = settings.get("train", {})
    for key in ("load_checkpoint_path", "load_buffer_path"):
        if (path := given.get(key)) is not None:
            if path != info.started_from:
                raise ConfigError(
                    f"train.{key} is how a run begins, and run {name!r} has begun, with "
                    f"{info.started_from or 'nothing'}; start another run with --run-name"
                )
            return


def _changed(name: str, saved: Config, wanted: Config, *, has_state: bool) -> Changes:
    """What is not as it was.

    Raises:
        ConfigError: it is what the run's state depends on, or has no effect on it.
    """
    found = differences(saved, wanted)
    for key, (before, after) in found.items():
        on_resume = kinds()[key]
        if not has_state or on_resume is OnResume.irrelevant:
            continue
        if _is_for_others(key, saved):
            raise ConfigError(
                f"{key} would have no effect: it is for a network of kind {network_kinds()[key]}, "
                f"and that of run {name!r} is of kind {saved.model.kind}; leave it as it is"
            )
        if on_resume is OnResume.fixed:
            raise ConfigError(
                f"{key} is {before} in run {name!r} and cannot become {after}; "
                "start another run with --run-name"
            )
    return {key: values for key, values in found.items() if key not in _PLANNED}
