"""Every setting does on a resume what it says of itself: it takes effect, is refused, or leaves the
training state alone."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import url2pathname

import pytest
import torch
from rich.console import Console

from alphatriangle.config import (
    Config,
    ConfigError,
    Layer,
    OnResume,
    build,
    kinds,
    merge,
    network_kinds,
    preset,
)
from alphatriangle.data.commits.digest import digested_parts, value_digest
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.training.display.display import Display
from alphatriangle.training.display.view import View
from alphatriangle.training.learning.batches import worker_count
from alphatriangle.training.run import TrainingOutcome, train
from alphatriangle.training.run_plan import RunPlan, TrainRequest, plan_run
from alphatriangle.utils.errors import DeviceNotAvailableError
from alphatriangle.utils.types import Episode
from alphatriangle.viewer.recordings import recorded_games
from tests.conftest import TINY

BEGUN, RESUMED = 8, 16


class Resumed(NamedTuple):
    """What came of a run that was begun, and resumed with other settings."""

    config: Config
    outcome: TrainingOutcome
    run: Path
    said: str

    def learned(self) -> str:
        """Digest of what training has computed, and of nothing that only says how."""
        state = load_for_reading(self.config.persistence, self.config.train.run_name or "")
        checkpoint, buffer = state.checkpoint_data, state.buffer_data
        assert checkpoint is not None
        assert buffer is not None
        gate = {k: v for k, v in checkpoint.components["gate"].items() if k != "last_step"}
        parts = {
            "step": checkpoint.global_step,
            "weights": checkpoint.model_state_dict,
            "rows": digested_parts(checkpoint, buffer)["rows"],
            "priorities": buffer.priorities,
            "gate": gate,
        }
        return value_digest(parts)

    def commits(self) -> list[str]:
        return sorted(p.name for p in (self.run / "commits").iterdir())

    def verdicts(self) -> list[str]:
        log = (self.run / "logs/train.log").read_text()
        return [line for line in log.splitlines() if "gate: Verdict" in line]

    def recorded(self) -> list[Episode]:
        return recorded_games(self.config.persistence, self.config.train.run_name or "")

    def info(self, key: str) -> Any:
        return json.loads((self.run / "run.json").read_text())[key]


Look = Callable[[Resumed], Any]


@dataclass(frozen=True)
class Change:
    """Another value, the settings under which it matters, and where it is seen."""

    to: Any
    base: Layer = field(default_factory=dict)
    look: Look = Resumed.learned


def info(key: str) -> Look:
    return lambda resumed: resumed.info(key)


STAIRS = {"train": {"lr_scheduler_type": "StepLR", "lr_scheduler_step_size": 3}}
MANY = {"stats": {"evaluation_games": 60}}
GATE = {"stats": {"gate_games": 4, "gate_freq_steps": 4}}
NTUPLE = {
    "model": {"kind": "ntuple"},
    "ntuple": {"deals_per_step": 200, "sample_every": 7},
    "stats": {"evaluation_games": 3},
}
NTUPLE_GATE = {**NTUPLE, "stats": {**NTUPLE["stats"], **GATE["stats"], "gate_simulations": 0}}


def agents_scores(resumed: Resumed) -> Any:
    return resumed.outcome.scores[-1].scores


def agents_games(resumed: Resumed) -> int:
    return resumed.outcome.scores[-1].games


LIVE: dict[str, Change] = {
    "train.max_steps": Change(20),
    "train.training_dtype": Change("bfloat16"),
    "train.num_threads": Change(2, look=info("num_threads")),
    "train.games_per_worker": Change(4),
    "train.replay_ratio": Change(2.0),
    "train.buffer_capacity": Change(150),
    "train.min_buffer_size_to_train": Change(100),
    "train.batch_size": Change(8),
    "train.augment_symmetry": Change(True),
    "train.use_per": Change(False),
    "train.per_alpha": Change(0.2),
    "train.per_beta_initial": Change(0.9),
    "train.per_beta_final": Change(0.5),
    "train.per_beta_anneal_steps": Change(3),
    "train.per_epsilon": Change(0.5),
    "train.n_step_returns": Change(5),
    "train.learning_rate": Change(0.001),
    "train.weight_decay": Change(0.5),
    "train.gradient_clip_value": Change(0.01),
    "train.lr_scheduler_type": Change(None),
    "train.lr_scheduler_step_size": Change(2, STAIRS),
    "train.lr_scheduler_gamma": Change(0.9, STAIRS),
    "train.lr_scheduler_t_max": Change(3),
    "train.lr_scheduler_eta_min": Change(0.0005),
    "train.policy_loss_weight": Change(0.1),
    "train.value_loss_weight": Change(0.1),
    "train.entropy_bonus_weight": Change(0.5),
    "model.inference_dtype": Change("bfloat16"),
    "model.fused_inference": Change(
        "off", {"model": {"inference_dtype": "float32"}}, info("fused_inference")
    ),
    "search.num_simulations": Change(8),
    "search.max_considered_actions": Change(2),
    "search.gumbel_scale": Change(5.0),
    "search.c_visit": Change(5000.0),
    "search.c_scale": Change(10.0),
    "search.q_range_floor": Change(0.01),
    "ntuple.deals_per_step": Change(300, NTUPLE),
    "ntuple.learning_rate": Change(1.0, NTUPLE),
    "ntuple.learning_width": Change(1, NTUPLE),
    "ntuple.explore": Change(0.9, NTUPLE),
    "ntuple.restart": Change(0.0, NTUPLE),
    "ntuple.sample_every": Change(50, NTUPLE),
    "ntuple.recorded_games": Change(1, NTUPLE, lambda r: len(r.recorded())),
    "ntuple.play_width": Change(1, NTUPLE, agents_scores),
    "ntuple.play_leaves": Change(1, NTUPLE, agents_scores),
    "ntuple.play_simulations": Change(0, NTUPLE, agents_scores),
    "ntuple.play_inner_width": Change(1, NTUPLE, agents_scores),
    "env.max_moves_per_episode": Change(5),
    "persistence.save_freq_steps": Change(3, look=Resumed.commits),
    "stats.evaluation_games": Change(2, look=lambda r: [s.player for s in r.outcome.scores]),
    "stats.evaluation_precision": Change(1.0, MANY, agents_games),
    "stats.gate_games": Change(6, GATE),
    "stats.gate_simulations": Change(1, GATE, Resumed.verdicts),
    "stats.gate_freq_steps": Change(20, GATE, lambda resumed: len(resumed.verdicts())),
}
# What shows where there is other hardware, or other processes.
ELSEWHERE: dict[str, Any] = {
    "train.device": "cuda" if torch.backends.mps.is_available() else "mps",
    "train.num_workers": 3,
    "train.worker_update_freq_steps": 7,
    "train.min_workers": 40,
    "train.max_workers": 1,
    "train.worker_device": "cuda",
    "train.worker_gpu_share": 0.125,
}
# What is live for every kind of network, on an n-tuple network, in the same run as NTUPLE.
LIVE_NTUPLE: dict[str, Change] = {
    "train.num_workers": Change(1, NTUPLE),
    "train.buffer_capacity": Change(15, NTUPLE),
    "env.max_moves_per_episode": Change(5, NTUPLE),
    "persistence.save_freq_steps": Change(3, NTUPLE, Resumed.commits),
    "stats.evaluation_games": Change(2, NTUPLE, agents_scores),
    "stats.evaluation_precision": Change(1.0, NTUPLE | MANY, agents_games),
    "stats.gate_games": Change(6, NTUPLE_GATE),
    "stats.gate_simulations": Change(1, NTUPLE_GATE, Resumed.verdicts),
    "stats.gate_freq_steps": Change(20, NTUPLE_GATE, lambda resumed: len(resumed.verdicts())),
}
FIXED: dict[str, Any] = {
    "train.seed": 1,
    "train.gamma": 0.9,
    "train.optimizer_type": "SGD",
    "train.load_checkpoint_path": "elsewhere.pkl",
    "train.load_buffer_path": "elsewhere.pkl",
    "model.kind": "ntuple",
    "model.conv_channels": 12,
    "model.num_residual_blocks": 2,
    "model.value_hidden": 20,
    "model.num_value_atoms": 31,
    "model.value_min": -1.0,
    "model.value_max": 200.0,
    "ntuple.gamma": 0.9,
    "persistence.mlflow_experiment_name": "Another",
    "persistence.checkpoint_dir_name": "weights",
    "persistence.buffer_dir_name": "replay",
    "persistence.tensorboard_dir_name": "curves",
}
IRRELEVANT: dict[str, Any] = {
    "train.run_name": "another-name",
    "train.auto_resume_latest": True,
    "train.package_travels": True,
    "train.cluster_patience_seconds": 3.0,
    "persistence.root_data_dir": "another-folder",
    "persistence.runs_dir_name": "other-runs",
    "persistence.mlflow_dir_name": "other-mlflow",
    "persistence.log_dir_name": "messages",
    "persistence.config_filename": "settings.json",
    "persistence.keep_last": 1,
    "persistence.keep_every_steps": 3,
    "persistence.keep_days": 2.0,
    "persistence.allowed_globals": ["some.Global"],
    "persistence.latest_checkpoint_filename": "newest.pkl",
    "persistence.best_checkpoint_filename": "champion.pkl",
    "persistence.latest_buffer_filename": "replay.pkl",
    "persistence.mlflow_keep_all": True,
    "persistence.mlflow_tracking_uri": "sqlite:///another.db",
    "persistence.mlflow": True,
    "persistence.replica": "file:///another/disk",
    "persistence.replica_sync": True,
    "stats.log_freq_steps": 5,
    "stats.tensorboard": True,
}


def layer(key: str, value: Any) -> Layer:
    section, _, name = key.partition(".")
    return {section: {name: value}}


def test_every_setting_is_of_one_kind_and_is_tried_here() -> None:
    tried = {
        OnResume.live: {**LIVE, **ELSEWHERE},
        OnResume.fixed: FIXED,
        OnResume.irrelevant: IRRELEVANT,
    }
    declared = kinds()
    for kind, changes in tried.items():
        assert {k for k, v in declared.items() if v is kind} == set(changes), kind
    config = build(merge(preset("laptop"), TINY))
    for key, value in {**FIXED, **IRRELEVANT, **ELSEWHERE}.items():
        section, _, name = key.partition(".")
        assert getattr(getattr(config, section), name) != value, key


class Runs:
    """Runs that were begun, by the settings they were begun with, and copies of them to go on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun: dict[str, Path] = {}
        self._unchanged: dict[str, Resumed] = {}
        self._copies = 0

    def new_folder(self) -> Path:
        """An empty one."""
        self._copies += 1
        folder = self._folder / f"folder-{self._copies}"
        folder.mkdir()
        return folder

    def begun(self, base: Layer) -> Path:
        """The data folder of a copy of the run with these settings, at step 8."""
        name = json.dumps(base)
        if name not in self._begun:
            data = self._folder / f"begun-{len(self._begun)}"
            own = {"train": {"run_name": None, "max_steps": RESUMED, "use_per": True}}
            settings = merge(TINY, own, base)
            plan = plan_run(TrainRequest(settings=settings, run_name="r", data_dir=data))
            # As interrupted there, on its way to step 16.
            train(replace(plan, target_steps=BEGUN), Display(Console(file=io.StringIO())))
            self._begun[name] = data
        self._copies += 1
        copy = self._folder / f"copy-{self._copies}"
        shutil.copytree(self._begun[name], copy, symlinks=True)
        return copy

    def resumed(self, base: Layer, settings: Layer, **request: Any) -> Resumed:
        data = self.begun(base)
        said = io.StringIO()
        plan = plan_run(TrainRequest(settings=settings, data_dir=data, **request))
        outcome = train(plan, Display(Console(file=said, width=300)))
        return Resumed(plan.config, outcome, data / "runs" / plan.run_name, said.getvalue())

    def unchanged(self, base: Layer) -> Resumed:
        name = json.dumps(base)
        if name not in self._unchanged:
            self._unchanged[name] = self.resumed(base, {}, run_name="r", max_steps=RESUMED)
        return self._unchanged[name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    threads = torch.get_num_threads()
    yield Runs(tmp_path_factory.mktemp("settings"))
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("key", "change"), [*LIVE.items(), *LIVE_NTUPLE.items()], ids=[*LIVE, *LIVE_NTUPLE]
)
def test_a_live_setting_takes_effect_and_is_said(runs: Runs, key: str, change: Change) -> None:
    before = runs.unchanged(change.base)
    target = None if key == "train.max_steps" else RESUMED
    after = runs.resumed(change.base, layer(key, change.to), run_name="r", max_steps=target)
    assert change.look(after) != change.look(before)
    if key != "train.max_steps":
        (line,) = [line for line in after.said.splitlines() if line.startswith(f"{key} ")]
        assert " -> " in line
        assert line in (after.run / "logs/train.log").read_text()
    # It is the run's own from now on.
    again = plan_run(TrainRequest(run_name="r", data_dir=after.config.persistence.root_data_dir))
    section, _, name = key.partition(".")
    assert getattr(getattr(again.config, section), name) == change.to or key == "train.max_steps"
    assert again.changed == {}


def test_live_settings_of_other_hardware_and_processes(runs: Runs) -> None:
    data = runs.begun({})

    def plan(key: str) -> Any:
        settings = layer(key, ELSEWHERE[key])
        return plan_run(TrainRequest(settings=settings, run_name="r", data_dir=data))

    with pytest.raises(DeviceNotAvailableError):
        train(plan("train.device"), Display(Console(file=io.StringIO())))
    assert worker_count(plan("train.num_workers").config) == 3
    # RayPlay is given these with the rest of the configuration.
    assert plan("train.worker_update_freq_steps").config.train.worker_update_freq_steps == 7
    for key in ("train.worker_device", "train.worker_gpu_share"):
        assert getattr(plan(key).config.train, key.partition(".")[2]) == ELSEWHERE[key]
    for key, workers in {"train.min_workers": 40, "train.max_workers": 1}.items():
        config = plan(key).config
        auto = config.train.model_copy(update={"num_workers": -1})
        assert worker_count(config.model_copy(update={"train": auto})) == workers


NETWORKS = ("convolutional", "ntuple")


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_live_setting_is_tried_on_this_kind_of_network_or_refused_there(
    runs: Runs, kind: str
) -> None:
    """Nothing is accepted, recorded and without effect."""
    data = runs.begun(NTUPLE if kind == "ntuple" else {})
    for key, network in network_kinds().items():
        tried = {**LIVE, **ELSEWHERE, **FIXED}.get(key)
        to = tried.to if isinstance(tried, Change) else tried
        if network in (None, kind) or kinds()[key] is OnResume.irrelevant:
            continue
        section, _, name = key.partition(".")
        if to == getattr(getattr(plan_of(data).config, section), name):
            to = None if to is None else type(to)(to + 1)
        said = rf"{key} would have no effect: .* {network}, .* run 'r' is of kind {kind}"
        with pytest.raises(ConfigError, match=said):
            plan_run(TrainRequest(settings=layer(key, to), run_name="r", data_dir=data))
    both = {k for k, v in network_kinds().items() if v is None and kinds()[k] is OnResume.live}
    assert both == {"train.max_steps", *LIVE_NTUPLE}, "these are tried on both kinds"


def plan_of(data: Path) -> RunPlan:
    return plan_run(TrainRequest(run_name="r", data_dir=data))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_new_run_says_what_has_no_effect(tmp_path: Path, kind: str) -> None:
    """What the preset has is not said: nobody asked for it."""
    given = merge(layer("train.batch_size", 7), layer("ntuple.explore", 0.7))
    name = "quick" if kind == "ntuple" else "convolutional-quick"
    request = TrainRequest(settings=given, run_name="r", data_dir=tmp_path, preset=name)
    key = "train.batch_size" if kind == "ntuple" else "ntuple.explore"
    assert plan_run(request).changes == [f"without effect on a network of kind {kind}: {key}"]


def test_what_has_no_effect_is_not_asked_to_agree(tmp_path: Path) -> None:
    """A ring smaller than a batch, where there are no batches."""
    capacity = layer("train.buffer_capacity", 5)
    for name, fits in {"quick": True, "convolutional-quick": False}.items():
        request = TrainRequest(settings=capacity, run_name="r", data_dir=tmp_path, preset=name)
        if fits:
            assert plan_run(request).config.train.buffer_capacity == 5
        else:
            with pytest.raises(ConfigError, match="batch_size 256 exceeds buffer_capacity 5"):
                plan_run(request)


@pytest.mark.parametrize("key", FIXED)
def test_a_fixed_setting_is_refused_by_name(runs: Runs, key: str) -> None:
    data = runs.begun({})
    is_for_others = network_kinds()[key] == "ntuple"
    said = f"{key} would have no effect" if is_for_others else rf"{key} is .*run 'r'.*--run-name"
    with pytest.raises(ConfigError, match=said):
        plan_run(TrainRequest(settings=layer(key, FIXED[key]), run_name="r", data_dir=data))


def test_irrelevant_settings_leave_the_state_alone(runs: Runs) -> None:
    """All of them at once. A run has another name when another is made of it."""
    before = runs.unchanged({})
    others = {k: v for k, v in IRRELEVANT.items() if k not in ("train.run_name",)}
    for place in ("root_data_dir", "runs_dir_name"):
        del others[f"persistence.{place}"]  # Every resume here is in another folder.
    del others["persistence.mlflow_tracking_uri"]  # There is no server here.
    others["persistence.replica"] = runs.new_folder().as_uri()
    settings = merge(*[layer(key, value) for key, value in others.items()])
    after = runs.resumed({}, settings, resume="r", run_name="another-name", max_steps=RESUMED)
    assert after.outcome.state_digest == before.outcome.state_digest
    assert after.commits() != before.commits(), "it was another retention"
    assert list(Path(url2pathname(others["persistence.replica"][7:])).rglob("commits/*.json"))


def test_the_best_keeps_no_scores_of_games_that_were_played_otherwise(runs: Runs) -> None:
    """Or more simulations would make everybody better; the first under them is the best."""

    def compared_with_none(resumed: Resumed) -> int:
        return sum("gain=None" in line for line in resumed.verdicts())

    assert compared_with_none(runs.unchanged(GATE)) == 1
    settings = layer("search.num_simulations", 8)
    after = runs.resumed(GATE, settings, run_name="r", max_steps=RESUMED)
    assert compared_with_none(after) == 2
    assert View("r", 1, 1, 2, 3, best_step=1).best == "step 1", "until then it has no score to show"


def test_games_in_flight_that_no_longer_fit_are_played_again(runs: Runs) -> None:
    """Every one of them, also over further starts before they have all begun."""
    settings = layer("train.games_per_worker", 1)
    at_once = runs.resumed({}, settings, run_name="r", max_steps=RESUMED)
    data = runs.begun({})
    for stop in (9, 11, RESUMED):
        request = TrainRequest(settings=settings, run_name="r", max_steps=RESUMED, data_dir=data)
        plan = replace(plan_run(request), target_steps=stop)
        outcome = train(plan, Display(Console(file=io.StringIO())))
    assert outcome.state_digest == at_once.outcome.state_digest
    state = load_for_reading(plan.config.persistence, "r").checkpoint_data
    assert state is not None
    play = state.components["play"]
    # None is forgotten, none is played twice.
    assert state.episodes_played + len(play["unfinished"]) == play["next_episode"]
