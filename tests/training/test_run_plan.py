"""Which run a command means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alphatriangle.config import ConfigError, merge
from alphatriangle.data import DataManager
from alphatriangle.data.errors import (
    CheckpointNotFoundError,
    DataError,
    InvalidRunNameError,
    NoSoundCommitError,
    RunExistsError,
    RunNotFoundError,
)
from alphatriangle.data.records import RunInfo
from alphatriangle.training.run_plan import RunPlan, TrainRequest, plan_run
from tests.conftest import TINY
from tests.data.helpers import started


def plan(tmp_path: Path, **request: Any) -> RunPlan:
    return plan_run(TrainRequest(data_dir=tmp_path / "data", **request))


def carry_out(plan: RunPlan, steps: int) -> None:
    """Do what training would do to the disk."""
    training = started(plan.config)
    training.manager.write_run_info(
        RunInfo(
            run_name=plan.run_name,
            created_at="2026",
            preset=plan.preset,
            target_steps=plan.target_steps,
            steps_per_round=plan.steps_per_round,
        )
    )
    training.manager.save_run_config(plan.config.model_dump(mode="json"))
    training.step = steps - 1
    if steps:
        training.commit()
    training.manager.close()


def tiny() -> dict[str, Any]:
    settings = {section: dict(fields) for section, fields in TINY.items()}
    del settings["train"]["run_name"], settings["train"]["max_steps"]
    return settings


def test_the_first_run_is_new_with_the_steps_of_its_preset(tmp_path: Path) -> None:
    first = plan(tmp_path, preset="convolutional-quick")
    assert first.is_new
    assert first.run_name.startswith("convolutional-quick-")
    assert first.target_steps == first.config.train.max_steps == 600
    assert not (tmp_path / "data").exists(), "planning writes nothing"


def test_again_goes_on_with_the_same_run_to_its_end_then_as_far_again(tmp_path: Path) -> None:
    first = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    carry_out(first, 250)
    second = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    assert (second.run_name, second.target_steps) == (first.run_name, 600)
    assert second.steps_done == 250
    carry_out(second, 600)
    third = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    assert (third.run_name, third.target_steps) == (first.run_name, 1200)
    carry_out(third, 700)
    assert plan(tmp_path, preset="convolutional-quick", settings=tiny()).target_steps == 1200


def test_max_steps_is_the_total(tmp_path: Path) -> None:
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny()), 600)
    longer = plan(tmp_path, preset="convolutional-quick", settings=tiny(), max_steps=700)
    assert (longer.target_steps, longer.nothing_to_do) == (700, False)
    enough = plan(tmp_path, preset="convolutional-quick", settings=tiny(), max_steps=500)
    assert enough.nothing_to_do
    assert "already has 600 steps" in enough.message


def test_an_unfinished_run_comes_before_a_complete_one(tmp_path: Path) -> None:
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="half"), 10)
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="whole"), 600)
    assert plan(tmp_path, preset="convolutional-quick", settings=tiny()).run_name == "half"


def test_a_run_of_another_preset_is_not_taken(tmp_path: Path) -> None:
    carry_out(plan(tmp_path, preset="laptop", settings=tiny(), run_name="long"), 10)
    assert plan(tmp_path, preset="convolutional-quick", settings=tiny()).is_new
    assert plan(tmp_path, settings=tiny()).run_name == "long", "without a preset, any"
    with pytest.raises(ConfigError, match="laptop, not convolutional-quick"):
        plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="long")


def test_settings_are_those_of_the_run_not_of_the_moment(tmp_path: Path) -> None:
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="r"), 10)
    again = plan(tmp_path, run_name="r")
    assert again.config.model.conv_channels == 8
    changed = plan(tmp_path, run_name="r", settings={"train": {"learning_rate": 0.5}})
    assert changed.config.train.learning_rate == 0.5
    assert changed.config.train.batch_size == 16


def test_settings_are_judged_with_those_of_the_run_they_are_for(tmp_path: Path) -> None:
    """No preset has a say in a run that is there: what it has is all that counts."""
    own = merge(tiny(), {"train": {"lr_scheduler_eta_min": 0.00001}})
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=own, run_name="r"), 10)
    lower = {"train": {"learning_rate": 0.00005}}
    for request in ({}, {"run_name": "r"}, {"resume": "r"}, {"resume": "r", "run_name": "b"}):
        again = plan(tmp_path, settings=lower, **request)
        assert again.config.train.learning_rate == 0.00005
    with pytest.raises(ConfigError, match=r"eta_min 0\.0001 exceeds learning_rate 5e-05"):
        plan(tmp_path, preset="convolutional-laptop", settings=lower)
    with pytest.raises(ConfigError, match=r"eta_min 1e-05 exceeds learning_rate 5e-06"):
        plan(tmp_path, run_name="r", settings={"train": {"learning_rate": 0.000005}})
    for wrong in ({"train": {"batch_size": 0}}, {"train": {"batch_sice": 1}}, {"trian": {}}):
        for name in ("r", "new"):
            with pytest.raises(ConfigError, match=r"batch_size is 0|did you mean"):
                plan(tmp_path, run_name=name, settings=wrong)


def test_max_steps_among_the_settings_is_the_total_too(tmp_path: Path) -> None:
    """As --max-steps, unless it is what the run was begun with: a file given again is no wish."""

    def asked(steps: int) -> RunPlan:
        settings = merge(tiny(), {"train": {"max_steps": steps}})
        return plan(tmp_path, preset="convolutional-quick", settings=settings)

    carry_out(asked(40), 40)
    assert asked(40).target_steps == 80
    assert (asked(50).target_steps, asked(50).steps_per_round) == (50, 40)
    carry_out(asked(50), 50)
    assert asked(50).nothing_to_do
    assert asked(40).target_steps == 90


def test_a_run_without_its_record_goes_on_to_where_its_settings_say(tmp_path: Path) -> None:
    carry_out(
        plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="r", max_steps=50),
        10,
    )
    (tmp_path / "data/runs/r/run.json").unlink()
    assert plan(tmp_path, run_name="r").target_steps == 50


def test_what_a_run_is_cannot_change(tmp_path: Path) -> None:
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="r"), 10)
    with pytest.raises(ConfigError, match=r"train\.seed is 0 in run 'r' and cannot become 4"):
        plan(tmp_path, run_name="r", settings={"train": {"seed": 4}})
    with pytest.raises(ConfigError, match=r"model\.conv_channels is 8"):
        plan(tmp_path, run_name="r", settings={"model": {"conv_channels": 12}})


def test_resume_never_makes_a_new_run(tmp_path: Path) -> None:
    first = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    carry_out(first, 10)
    assert plan(tmp_path, preset="convolutional-quick", settings=tiny(), resume="never").is_new
    with pytest.raises(RunExistsError, match=first.run_name):
        plan(tmp_path, preset="convolutional-quick", run_name=first.run_name, resume="never")


def test_resume_by_name_and_by_path(tmp_path: Path) -> None:
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="r"), 10)
    assert plan(tmp_path, resume="r").run_name == "r"
    branch = plan(tmp_path, resume="r", run_name="branch")
    assert branch.is_new
    assert branch.config.model.conv_channels == 8
    assert (branch.steps_done, branch.target_steps) == (10, 600)
    assert branch.fork_of == plan(tmp_path, resume="latest", run_name="b").fork_of == "r"
    assert plan(tmp_path, resume="latest").run_name == "r"
    with pytest.raises(RunExistsError):
        plan(tmp_path, resume="never", run_name="r")
    with pytest.raises(ConfigError, match=r"train\.seed"):
        plan(tmp_path, resume="r", run_name="other-seed", settings={"train": {"seed": 4}})
    path = tmp_path / "data/runs/r/checkpoints/latest.pkl"
    by_path = plan(tmp_path, resume=str(path), run_name="b2")
    assert by_path.config.train.load_checkpoint_path == str(path)
    with pytest.raises(RunNotFoundError, match="nowhere"):
        plan(tmp_path, resume="nowhere")
    with pytest.raises(CheckpointNotFoundError, match=r"nowhere\.pkl"):
        plan(tmp_path, resume=str(tmp_path / "nowhere.pkl"))
    with pytest.raises(RunExistsError):
        plan(tmp_path, resume=str(path), run_name="r")


def test_a_run_that_died_before_its_first_commit_is_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="no run"):
        plan(tmp_path, resume="latest", settings=tiny())
    first = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    carry_out(first, 0)
    with pytest.raises(CheckpointNotFoundError, match="no commit"):
        plan(tmp_path, resume=first.run_name, run_name="branch")
    again = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    assert again.run_name == first.run_name
    assert again.is_new


def test_a_new_name_inherits_only_where_that_is_asked_for(tmp_path: Path) -> None:
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="first"), 10)
    fresh = plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="second")
    assert (fresh.is_new, fresh.fork_of) == (True, None)
    asked = merge(tiny(), {"train": {"auto_resume_latest": True}})
    for request in ({"settings": asked}, {"settings": tiny(), "resume": "latest"}):
        inheriting = plan(tmp_path, preset="convolutional-quick", run_name="second", **request)
        assert (inheriting.run_name, inheriting.fork_of) == ("second", "first")


def test_damage_does_not_make_a_new_run(tmp_path: Path) -> None:
    """A run whose newest commit is damaged goes on; if all are, the start stops. Never afresh."""
    first = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    carry_out(first, 10)
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny()), 20)
    run = tmp_path / "data/runs" / first.run_name
    (run / "commits/step_20.json").write_text("{")
    again = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    assert (again.run_name, again.steps_done) == (first.run_name, 10)
    (run / "commits/step_10.json").write_text("{")
    hopeless = plan(tmp_path, preset="convolutional-quick", settings=tiny())
    assert hopeless.run_name == first.run_name
    with pytest.raises(NoSoundCommitError):
        started(hopeless.config)
    unnamed = hopeless.config.train.model_copy(
        update={"run_name": None, "auto_resume_latest": True}
    )
    assert DataManager(hopeless.config.persistence, unnamed).run_name == first.run_name
    (run / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json"):
        plan(tmp_path, preset="convolutional-quick", settings=tiny())


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRunNameError):
        plan(tmp_path, run_name="../up")
    with pytest.raises(ConfigError, match="there are: quick, laptop, convolutional-quick"):
        plan(tmp_path, preset="quikc")
    carry_out(plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="r"), 10)
    configs = tmp_path / "data/runs/r/configs.json"
    configs.write_text("{")
    with pytest.raises(DataError, match=r"configs\.json"):
        plan(tmp_path, run_name="r")


def test_settings_that_were_removed_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    first = plan(tmp_path, preset="convolutional-quick", settings=tiny(), run_name="r")
    carry_out(first, 10)
    (tmp_path / "data/runs/r/configs.json").unlink()
    again = plan(tmp_path, run_name="r")
    assert again.config.model == first.config.model
    assert again.config.train.buffer_capacity == first.config.train.buffer_capacity
