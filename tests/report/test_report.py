"""A report says what is in the run, needs nothing beside itself, and touches nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import alphatriangle
from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.loading import load_for_reading
from alphatriangle.data.errors import RunNotFoundError
from alphatriangle.report.facts import Report, collect, occupancy, read_curves
from alphatriangle.report.figures import as_png, as_svg, figures
from alphatriangle.report.page import report_page
from tests.conftest import TINY
from tests.data.helpers import rows_of
from tests.features.test_encoder import random_rows
from tests.training.command import alphatriangle as command


@pytest.fixture(scope="module")
def persistence(tmp_path_factory: pytest.TempPathFactory) -> PersistenceConfig:
    folder = tmp_path_factory.mktemp("report")
    for name, more in (("r", {"tensorboard": True}), ("no-curves", {"tensorboard": False})):
        settings = {
            **TINY,
            "train": {**TINY["train"], "run_name": None, "use_per": name == "r"},
            "stats": {**TINY["stats"], **more},
        }
        alphatriangle.train(name, settings=settings, max_steps=8, data_dir=folder, quiet=True)
    return PersistenceConfig(root_data_dir=folder)


@pytest.fixture(scope="module")
def report(persistence: PersistenceConfig) -> Report:
    return collect(persistence, "r", games=3)


def test_facts_are_those_of_the_run(persistence: PersistenceConfig, report: Report) -> None:
    state = load_for_reading(persistence, "r")
    rows = rows_of(state)
    replay = report.replay
    assert replay is not None
    assert replay.rows == len(rows)
    assert replay.priorities is not None
    assert len(replay.priorities) == len(rows)
    assert replay.afterstates == pytest.approx(float((rows.slots < 0).all(axis=1).mean()))
    assert 0 <= replay.policy_entropy.min() <= replay.policy_entropy.max() < np.log(144)
    assert report.curves["loss/total"].steps.tolist() == [2, 4, 6, 8]
    assert report.curves["persistence/save_seconds"].steps[-1] == 8, "and the last save"
    assert report.changed["train.batch_size"][1] == 16
    assert [p.player for p in report.baselines] == [
        "random",
        "greedy",
        "mobility",
        "beam",
        "planner",
    ]
    assert [s.commit.global_step for s in report.commits] == [8, 4]
    files = {f.path: f.size for s in report.commits for f in s.commit.files}
    assert sum(report.new_bytes.values()) == sum(files.values()), "each byte is counted once"


def test_occupancy_is_counted_cell_by_cell() -> None:
    rows = random_rows(50, seed=4)
    counted = np.zeros(120)
    for lo, hi in rows.boards.tolist():
        board = lo | hi << 64
        counted += [board >> i & 1 for i in range(120)]
    np.testing.assert_allclose(occupancy(rows), counted / 50)


class _Outside(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.headings: list[str] = []
        self._in_heading = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._in_heading = tag in ("h1", "h2")
        values = dict(attributes)
        for name in ("src", "href", "xlink:href"):
            target = values.get(name) or "#"
            if not target.startswith(("#", "data:")):
                self.found.append(target)

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


def test_the_page_has_everything_and_needs_nothing(report: Report) -> None:
    page = report_page(report)
    parser = _Outside()
    parser.feed(page)
    assert parser.found == []
    assert "__" not in re.sub(r"<iframe.*?</iframe>", "", page)
    wanted = ["Run r", "Summary", "Score", "Losses", "Throughput", "Search health"]
    wanted += ["What the replay holds", "How old it is", "Where the boards are full", "Saves"]
    wanted += ["Best game in self-play", "Commits", "Settings", "Environment"]
    assert parser.headings == wanted
    best = max(report.games, key=lambda g: g.score)
    assert f"Game {best.episode}, score {best.score:.2f}" in page


def test_every_figure_can_be_a_picture(report: Report) -> None:
    drawn = figures(report)
    assert len(drawn) == 8
    for figure in drawn.values():
        assert as_png(figure).startswith(b"\x89PNG")
        assert as_svg(figure).startswith("<svg")


def test_a_run_without_curves_has_a_report_too(persistence: PersistenceConfig) -> None:
    report = collect(persistence, "no-curves", games=0)
    assert report.curves == {}
    assert set(figures(report)) == {"replay", "replay-age", "occupancy"}
    page = report_page(report)
    assert "stats.tensorboard" in page
    assert read_curves(Path("nowhere")) == {}
    with pytest.raises(RunNotFoundError):
        collect(persistence, "nobody")


def test_the_command(persistence: PersistenceConfig, tmp_path: Path) -> None:
    data = ("--data-dir", str(persistence.root_data_dir), "--games", "2")
    before = {p: p.stat().st_mtime_ns for p in persistence.root_data_dir.rglob("*") if p.is_file()}
    result = command("report", "r", *data, "--png", "plots", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert len(list((tmp_path / "plots").glob("*.png"))) == 8
    after = {p: p.stat().st_mtime_ns for p in persistence.root_data_dir.rglob("*") if p.is_file()}
    assert before == after, "reading changes nothing"
    (tmp_path / "file").write_text("")
    bad = command("report", "r", *data, "--html", str(tmp_path / "file" / "x.html"))
    assert bad.returncode == 2
    assert bad.stderr.count("\n") == 1
    assert "cannot be written" in bad.stderr
