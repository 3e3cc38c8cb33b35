"""What the person sees: plain lines that are never silent for long, a live view in a terminal."""

from __future__ import annotations

import io
import itertools
import json
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from alphatriangle.training.display import display as module
from alphatriangle.training.display.display import Display, JsonDisplay
from alphatriangle.training.display.view import (
    Curve,
    Saved,
    View,
    facts,
    panel,
    plain_line,
    sparkline,
)


def plain() -> tuple[Display, io.StringIO]:
    out = io.StringIO()
    return Display(Console(file=out, width=80, force_terminal=False)), out


def test_a_plain_line_has_the_facts() -> None:
    view = View("r", step=30, first_step=10, target=100, score=4.25, score_games=100, loss=1.5)
    view.started = time.monotonic() - 10
    assert "saved: nothing yet" in plain_line(view)
    view.saved = Saved(20, 1_000_000, 0.0008, 3.1, at=time.monotonic() - 65)
    line = plain_line(view)
    for fact in ("step 30/100", "score 4.2", "loss 1.500", "2.0 steps/s", "0:35 left"):
        assert fact in line
    assert "saved: step 20 1:05 ago" in line
    view.problem = "disk full"
    assert "PROBLEM: disk full" in plain_line(view)


def test_before_the_first_step_it_says_what_it_waits_for() -> None:
    view = View("r", step=0, first_step=0, target=9, rows_wanted=500, rows_total=120)
    assert "120/500" in plain_line(view)
    view.problem = "no CPU is free"
    assert "PROBLEM: no CPU is free" in plain_line(view)


def test_it_says_how_the_workers_are() -> None:
    nodes = [{"name": "alpha", "running": 2}, {"name": "beta", "running": 1}]
    workers = {
        **{"wanted": 5, "running": 3, "pending": 1, "nodes": nodes, "rows_per_second": 1234.5},
        **{"weights_age": 2.4, "waits_for": "training", "replaced": 0, "last_replaced": None},
    }
    view = View("r", step=3, first_step=0, target=9, rows_total=10, workers=workers)
    line = "3 of 5 play (alpha 2, beta 1), 1 starting, 1,234 rows/s, weights 2 s old"
    assert f"workers: {line}, they wait for training" in plain_line(view)
    view.rows_wanted = 11
    workers |= {"replaced": 2, "last_replaced": "worker 1 on beta: no memory"}
    expected = f"{line}, training waits for them, 2 replaced, last worker 1 on beta: no memory"
    assert expected in plain_line(view)
    out = io.StringIO()
    console = Console(file=out, width=200)
    console.print(panel(view))
    assert expected in " ".join(out.getvalue().split())
    assert facts(view)["workers"] == workers


def test_a_silent_phase_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LINE_SECONDS", 0.01)
    display, out = plain()
    repeated = threading.Event()
    note = display.note

    def watch(text: str) -> None:
        note(text)
        if re.search(r"compiling \.\.\. \d+ s", text):
            repeated.set()

    monkeypatch.setattr(display, "note", watch)
    with display.phase("compiling"):
        assert repeated.wait(10)
    assert out.getvalue().startswith("compiling ...")


def test_lines_are_not_a_flood() -> None:
    display, out = plain()
    view = View("r", step=1, first_step=0, target=9)
    for _ in range(50):
        display.update(view)
    assert out.getvalue().count("\n") == 1
    display.update(view, force=True)
    assert out.getvalue().count("\n") == 2


def test_quiet_says_nothing() -> None:
    out = io.StringIO()
    display = Display(Console(file=out), quiet=True)
    with display.phase("x"), display.training():
        display.update(View("r", 1, 0, 9))
        display.note("y")
    assert out.getvalue() == ""


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_live_view_fits_the_terminal(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    display = Display(console)
    view = View("quick-20260101-000000", 5, 0, 9, loss=1.0, learning_rate=0.1, score=3.0)
    view.problem = "the disk is full: " + "x" * 100
    view.best_step, view.best_score, view.candidate_step = 4, 52.34, 5
    view.health = {
        "batch_fill": 1.0,
        "distinct": 0.999,
        "depth": 2.5,
        "policy_entropy": 1.5,
        "value_error": 3.2,
    }
    for i in range(1000):
        view.add_point("loss", 10 - i / 100)
    view.shares = {"network": 0.5, "learner": 1.0, "tree": 0.5}
    view.placements_per_second, view.episodes_per_second = 843.2, 20.06
    with display.training():
        display.update(view)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).splitlines()
    assert any("5 of 9 steps" in line for line in lines)
    assert any("disk is full" in line for line in lines)
    if width >= 80:
        assert any("best" in line and "52.3 (step 4), step 5 plays" in line for line in lines)
        assert "843 placements/s, 20.1 games/s" in " ".join(" ".join(lines).split())
        assert any("100% full, 99.9% distinct, depth 2.5" in line for line in lines)
        assert any("loss 1.000  ██" in line and "▁" in line for line in lines)
        assert any("learner 50%, network 25%, tree 25%" in line for line in lines)
    assert max(len(line.rstrip()) for line in lines) <= width


@given(st.lists(st.floats(-1e6, 1e6), max_size=100), st.integers(1, 40))
def test_a_sparkline_has_its_width_and_its_ends(points: list[float], width: int) -> None:
    drawn = sparkline(points, width)
    assert len(drawn) == (min(width, len(points)) if len(points) > 1 else 0)
    if len(points) > 1 and len(points) <= width and min(points) < max(points):
        assert drawn[points.index(max(points))] == "█"
        assert drawn[points.index(min(points))] == "▁"


@given(st.integers(0, 5000))
def test_a_curve_keeps_few_points_of_all_of_it(count: int) -> None:
    curve = Curve()
    for i in range(1, count + 1):
        curve.add(float(i))
    points = curve.points
    assert len(points) < Curve.MOST
    assert len(points) >= min(count, Curve.MOST // 2 - 1)
    gaps = {b - a for a, b in itertools.pairwise(points)}
    assert len(gaps) <= 1, "evenly spread"
    if points:
        (gap,) = gaps or {1.0}
        assert points[0] == gap
        assert count - points[-1] < gap


def test_json_lines_for_programs() -> None:
    out = io.StringIO()
    display = JsonDisplay(Console(file=out))
    with display.phase("loading"), display.training():
        display.note('a "quoted" note')
        display.update(View("r", 3, 0, 9, score=1.25), force=True)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    kinds = [e["event"] for e in events]
    assert kinds == ["phase", "note", "progress", "phase done"]
    assert all(abs(e["time"] - time.time()) < 60 for e in events)
    assert events[1]["text"] == 'a "quoted" note'
    progress = events[2]
    assert (progress["run"], progress["step"], progress["target_steps"]) == ("r", 3, 9)
    assert progress["score"] == 1.25
    assert progress["loss"] is None
    assert events[3]["seconds"] >= 0
