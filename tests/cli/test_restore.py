"""``runs restore``, of what MLflow was given."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from alphatriangle.cli.runs import app
from tests.conftest import tiny_config
from tests.data.elsewhere.test_mlflow_restore import artifacts, digest, trained
from tests.data.helpers import flip_bit


def test_a_run_is_restored_from_mlflow(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, persistence={"mlflow": True})
    run_id = trained(config, 2)
    data = ["--data-dir", str(config.persistence.root_data_dir)]
    source = ["restore", f"mlflow:{run_id}"]

    def say(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*arguments, *data])
        assert result.exit_code == code, result.output
        return result.output

    restored = json.loads(say(*source, "--run-name", "again", "--json"))
    assert restored == {"run": "again", "mlflow_run": run_id, "rejected": [], "step": 2}
    assert digest(config.persistence, name="again") == digest(config.persistence)
    assert "begins at step 1" in say(*source, "--run-name", "first", "--step", "1")
    assert "run 'tiny' exists" in say(*source, code=2)
    assert "has no MLflow run" in say("restore", "mlflow:nothing", code=2)
    assert "one commit" in say("restore", "a.tar", "--step", "1", code=2)
    flip_bit(artifacts(config, run_id) / "commits/step_2.json", 100)
    passed_over = say(*source, "--run-name", "older")
    assert "passed over" in passed_over
    assert "begins at step 1" in passed_over
