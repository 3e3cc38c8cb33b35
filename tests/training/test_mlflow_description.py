"""A run in MLflow says what it is, and can be found by what it scored."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mlflow.models import Model
from mlflow.tracking import MlflowClient
from rich.console import Console

from alphatriangle.data.elsewhere.mlflow_store import tracking_uri
from alphatriangle.training.display.display import Display
from alphatriangle.training.mlflow_description import git_revision
from alphatriangle.training.run import train
from alphatriangle.training.run_plan import TrainRequest, plan_run
from tests.conftest import TINY


def test_parameters_tags_signature_and_a_search_by_score(tmp_path: Path) -> None:
    settings = {
        **TINY,
        "persistence": {"mlflow": True},
        "stats": {**TINY["stats"], "log_freq_steps": 1},
    }
    for steps in (2, 4):
        request = TrainRequest(
            run_name="one", settings=settings, max_steps=steps, data_dir=tmp_path
        )
        train(plan_run(request), Display(Console(), quiet=True))
    client = MlflowClient(tracking_uri(tmp_path / "mlruns"))
    experiment = client.get_experiment_by_name("AlphaTriangle")
    assert experiment is not None
    (run,) = client.search_runs(
        [experiment.experiment_id], "metrics.`episode/score` >= 0 and tags.state = 'complete'"
    )
    assert run.info.run_name == "one"
    assert run.data.params["train.batch_size"] == str(TINY["train"]["batch_size"])
    assert run.data.params["search.num_simulations"] == str(TINY["search"]["num_simulations"])
    assert run.data.tags["device"] == "cpu"
    # Every curve of the run is explained in its description.
    note = run.data.tags["mlflow.note.content"]
    assert all(f"| {name} | " in note for name in run.data.metrics)
    assert len(note) < 8000, "MLflow cuts longer ones"
    local = client.download_artifacts(run.info.run_id, "model/MLmodel", str(tmp_path))
    signature = Model.load(local).signature
    assert signature is not None
    assert [t.name for t in signature.inputs.inputs] == ["grid", "other_features"]
    assert signature.inputs.inputs[0].shape == (-1, 9, 8, 15)
    assert [t.name for t in signature.outputs.inputs] == ["policy_logits", "value_logits"]


def test_the_git_revision_is_that_of_a_checkout_and_says_when_files_differ(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", "-C", str(tmp_path), *who, *words], check=True, capture_output=True)

    assert git_revision(tmp_path) is None
    git("init")
    assert git_revision(tmp_path) is None, "nothing is committed yet"
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    git("tag", "-a", "v1", "-m", "v1")
    revision = git_revision(tmp_path)
    assert revision is not None
    assert len(revision) == 40
    (tmp_path / "a").write_text("2")
    assert git_revision(tmp_path) == f"{revision}-dirty"
    (tmp_path / "below").mkdir()
    assert git_revision(tmp_path / "below") is None, "another project's checkout is not ours"
