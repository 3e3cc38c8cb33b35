"""Who wants to know more of a training is told: where time goes, what happened, what ended it."""

from __future__ import annotations

import pstats
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from alphatriangle.cli.train import LogLevel
from alphatriangle.data.elsewhere.mlflow_store import tracking_uri
from alphatriangle.training.display.display import Display
from alphatriangle.training.process import log_to
from alphatriangle.training.run import TrainingOutcome, Watching, train
from alphatriangle.training.run_plan import TrainRequest, plan_run
from alphatriangle.utils.errors import TrainingDivergedError
from tests.conftest import TINY


class Heard(Display):
    """A display whose notes are kept."""

    def __init__(self) -> None:
        super().__init__(Console(), quiet=True)
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def trained(
    folder: Path, display: Display, watching: Watching, **settings: dict[str, Any]
) -> TrainingOutcome:
    request = TrainRequest(
        run_name="one", settings={**TINY, **settings}, max_steps=3, data_dir=folder
    )
    return train(plan_run(request), display, None, watching)


def test_a_profile_is_written_and_its_top_is_said_and_nothing_computed_depends_on_it(
    tmp_path: Path,
) -> None:
    heard = Heard()
    profiled = trained(tmp_path / "a", heard, Watching(profile=True))
    path = tmp_path / "a/runs/one/profile_data/loop.prof"
    assert "loop.py" in " ".join(file for file, _, _ in pstats.Stats(str(path)).stats)  # type: ignore[attr-defined]
    shown = [line for line in heard.notes if " calls  " in line]
    assert 5 <= len(shown) <= 20
    assert any(str(path) in line for line in heard.notes)
    plain = trained(tmp_path / "b", Heard(), Watching())
    assert not (tmp_path / "b/runs/one/profile_data").exists()
    assert plain.state_digest == profiled.state_digest


def test_a_profile_of_one_worker_is_written_and_its_top_is_said(tmp_path: Path) -> None:
    heard = Heard()
    trained(tmp_path, heard, Watching(profile=True), train={**TINY["train"], "num_workers": 1})
    path = tmp_path / "runs/one/profile_data/worker.prof"
    functions = pstats.Stats(str(path)).stats  # type: ignore[attr-defined]
    assert "self_play.py" in " ".join(file for file, _, _ in functions)
    assert any(str(path) in line for line in heard.notes)


def test_a_profile_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    trained(tmp_path, Heard(), Watching())
    (tmp_path / "runs/one/profile_data").write_text("in the way")
    request = TrainRequest(run_name="one", settings=TINY, max_steps=4, data_dir=tmp_path)
    outcome = train(plan_run(request), Heard(), None, Watching(profile=True))
    assert outcome.complete
    assert "profile" in (tmp_path / "runs/one/logs/train.log").read_text()


@pytest.mark.parametrize("level", list(LogLevel))
def test_the_log_has_messages_from_its_level_on(tmp_path: Path, level: str) -> None:
    import logging

    order = [name.upper() for name in LogLevel]
    with log_to(tmp_path / "log", level):
        for name in order:
            logging.getLogger("alphatriangle.x").log(getattr(logging, name), "ours %s", name)
            logging.getLogger("others").log(getattr(logging, name), "theirs %s", name)
    said = (tmp_path / "log").read_text()
    first = order.index(level.upper())
    assert [f"ours {name}" in said for name in order] == [i >= first for i in range(4)]
    theirs = 0 if level == "debug" else max(first, order.index("WARNING"))
    assert [f"theirs {name}" in said for name in order] == [i >= theirs for i in range(4)]


def test_mlflow_has_the_error_the_log_and_the_size_of_the_network(tmp_path: Path) -> None:
    persistence = {"mlflow": True}
    diverging = {**TINY["train"], "learning_rate": 1e30}
    with pytest.raises(TrainingDivergedError):
        trained(tmp_path, Heard(), Watching(), persistence=persistence, train=diverging)
    client = MlflowClient(tracking_uri(tmp_path / "mlruns"))
    experiment = client.get_experiment_by_name("AlphaTriangle")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"
    assert "not finite" in run.data.tags["error_message"]
    assert int(run.data.params["parameter_count"]) > 1000
    assert [a.path for a in client.list_artifacts(run.info.run_id, "logs")] == ["logs/train.log"]
    (log,) = (tmp_path / "mlruns").rglob("logs/train.log")
    assert log.stat().st_size > 0
    # What goes on and is complete has no error any more.
    slower = {**TINY["train"], "learning_rate": 1e-3}
    trained(tmp_path, Heard(), Watching(), persistence=persistence, train=slower)
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert "error_message" not in run.data.tags
