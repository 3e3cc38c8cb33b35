"""``alphatriangle runs`` on the replica of a run."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from alphatriangle.cli.runs import app
from tests.conftest import tiny_config
from tests.data.helpers import started


def test_the_copy_at_a_url_is_what_is_verified(tmp_path: Path) -> None:
    """Also without --replica: nobody names it to have the run here called sound."""
    store = tmp_path / "store"
    store.mkdir()
    training = started(tiny_config(tmp_path, persistence={"replica": store.as_uri()}))
    training.commit()
    training.manager.close()
    data = ["--data-dir", str(training.config.persistence.root_data_dir)]
    at_url = ["verify", "tiny", "--url", store.as_uri(), *data]
    assert CliRunner().invoke(app, at_url).exit_code == 0
    for path in store.rglob("objects/*"):
        path.write_bytes(b"rotten")
    result = CliRunner().invoke(app, at_url)
    assert result.exit_code == 1, result.output
    assert CliRunner().invoke(app, ["verify", "tiny", *data]).exit_code == 0
