"""The report's plots, by name. Each is a matplotlib figure, to be written as SVG or PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from alphatriangle.game.geometry import COLS, ROWS, is_playable, is_up
from alphatriangle.report.facts import Curve, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_Z95: Final = 1.96
_BASELINE_STYLES: Final = (":", "-.", "--", (0, (5, 1)))


def figures(report: Report) -> dict[str, Figure]:
    """Name -> figure, in the order of a page; those without data are left out."""
    found = {}
    for name, draw in _DRAWINGS.items():
        figure = draw(report)
        if figure is not None:
            found[name] = figure
    return found


def as_svg(figure: Figure) -> str:
    """For a page: the svg element alone."""
    out = io.StringIO()
    # Without a date, the same facts give the same page.
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def as_png(figure: Figure) -> bytes:
    """For a file."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120)
    return out.getvalue()


def _new(columns: int = 1, height: float = 3.2) -> tuple[Figure, Sequence[Axes]]:
    figure = Figure(figsize=(9, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.grid(alpha=0.3)
        for side in ("top", "right"):
            one.spines[side].set_visible(False)
    return figure, axes


def _lines(
    axes: Axes, curves: dict[str, Curve], names: dict[str, str], label: str, **style: Any
) -> bool:
    drawn = False
    for name, title in names.items():
        if name in curves:
            axes.plot(curves[name].steps, curves[name].values, label=title, **style)
            drawn = True
    axes.set_xlabel("training step")
    axes.set_ylabel(label)
    if drawn and len(names) > 1:
        axes.legend(frameon=False, fontsize=8)
    return drawn


def _score(report: Report) -> Figure | None:
    curves = report.curves
    mean = curves.get("episode/score")
    if mean is None:
        return None
    figure, (axes,) = _new(height=4.0)
    spread, count = curves.get("episode/score_std"), curves.get("episode/score_count")
    if spread is not None and count is not None and len(spread.steps) == len(mean.steps):
        half = _Z95 * spread.values / np.sqrt(np.maximum(count.values, 1.0))
        axes.fill_between(mean.steps, mean.values - half, mean.values + half, alpha=0.2, lw=0)
    axes.plot(mean.steps, mean.values, label="self-play, mean and 95% interval")
    for name, title in (("gate/score", "candidates"), ("gate/best_score", "best checkpoint")):
        if name in curves:
            axes.plot(curves[name].steps, curves[name].values, "o-", ms=4, label=title)
    for player, style in zip(report.baselines, _BASELINE_STYLES, strict=False):
        axes.axhline(player.mean, color="0.45", ls=style, lw=1, label=f"{player.player} player")
    axes.set_xlabel("training step")
    axes.set_ylabel("score of a game")
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # room for the legend
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")
    return figure


def _losses(report: Report) -> Figure | None:
    if "train/value_error" in report.curves:
        figure, (axes,) = _new()
        names = {"train/value_error": "value error"}
        _lines(axes, report.curves, names, "squared error of a chance to survive")
        return figure
    figure, (left, right) = _new(2)
    names = {"loss/total": "total", "loss/policy": "policy", "loss/value": "value"}
    drawn = _lines(left, report.curves, names, "loss")
    _lines(right, report.curves, {"train/learning_rate": "rate"}, "learning rate")
    return figure if drawn else None


def _throughput(report: Report) -> Figure | None:
    figure, (left, right) = _new(2)
    names = {
        "search/simulations_per_second": "simulations",
        "search/positions_per_second": "network positions",
    }
    drawn = _lines(left, report.curves, names, "a second")
    if "search/deals_per_second" in report.curves:
        _lines(right, report.curves, {"search/deals_per_second": "deals"}, "deals a second")
    else:
        _lines(right, report.curves, {"train/rows_per_second": "rows"}, "learner rows a second")
    return figure if drawn else None


def _search(report: Report) -> Figure | None:
    figure, (left, middle, right) = _new(3)
    shares = {"search/batch_fill": "batch fill", "search/distinct": "distinct positions"}
    drawn = _lines(left, report.curves, shares, "share")
    left.set_ylim(0, 1.05)
    _lines(middle, report.curves, {"search/policy_entropy": "entropy"}, "policy entropy (nats)")
    _lines(right, report.curves, {"search/value_error": "error"}, "value error at the end of games")
    return figure if drawn else None


def _replay(report: Report) -> Figure | None:
    replay = report.replay
    if replay is None:
        return None
    figure, axes = _new(2 if replay.priorities is None else 3)
    axes[0].hist(replay.policy_entropy, bins=40)
    axes[0].set_xlabel("entropy of policy targets (nats)")
    axes[1].hist(replay.returns, bins=40)
    axes[1].set_xlabel("n-step return")
    if replay.priorities is not None:
        axes[2].hist(replay.priorities, bins=40)
        axes[2].set_xlabel("priority")
    axes[0].set_ylabel("rows")
    return figure


def _age(report: Report) -> Figure | None:
    """Which training steps the rows come from: commits say how far the rows were at a step."""
    replay = report.replay
    if replay is None:
        return None
    known = [
        (segments[-1].end, stored.commit.global_step)
        for stored in reversed(report.commits)
        if (segments := stored.commit.of_kind("segment"))
    ]
    figure, (axes,) = _new(height=2.6)
    rows = np.array([end for end, _ in known], np.float64)
    steps = np.array([step for _, step in known], np.float64)
    numbers = np.linspace(replay.first_row, replay.first_row + replay.rows - 1, 2000)
    axes.hist(np.interp(numbers, rows, steps), bins=40, weights=np.full(2000, replay.rows / 2000))
    axes.set_xlabel("training step at which a row came in (before the oldest commit: its step)")
    axes.set_ylabel("rows")
    return figure


def _occupancy(report: Report) -> Figure | None:
    replay = report.replay
    if replay is None:
        return None
    figure, (axes,) = _new(height=4.2)
    cells = [(r, c) for r in range(ROWS) for c in range(COLS) if is_playable(r, c)]
    corners = [_triangle(row, col) for row, col in cells]
    shares = np.array([replay.occupancy[row * COLS + col] for row, col in cells])
    board = PolyCollection(corners, array=shares, cmap="viridis", edgecolors="white")
    axes.add_collection(board)
    axes.set_xlim(-0.2, COLS / 2 + 0.7)
    axes.set_ylim(-ROWS * 0.87 - 0.1, 0.1)
    axes.set_aspect("equal")
    axes.axis("off")
    figure.colorbar(board, label="share of rows in which the triangle is filled")
    return figure


def _triangle(row: int, col: int) -> list[tuple[float, float]]:
    x, top, bottom = col / 2, -row * 0.87, -(row + 1) * 0.87
    if is_up(row, col):
        return [(x, bottom), (x + 1, bottom), (x + 0.5, top)]
    return [(x, top), (x + 1, top), (x + 0.5, bottom)]


def _saves(report: Report) -> Figure | None:
    figure, (left, right) = _new(2)
    blocked = {"persistence/blocked_seconds": "blocked"}
    drawn = _lines(left, report.curves, blocked, "seconds training was blocked", marker=".", lw=0)
    _lines(
        right, report.curves, {"persistence/save_seconds": "save"}, "seconds until durable",
        marker=".", lw=0,
    )  # fmt: skip
    return figure if drawn else None


_DRAWINGS: Final[dict[str, Callable[[Report], Figure | None]]] = {
    "score": _score,
    "losses": _losses,
    "throughput": _throughput,
    "search-health": _search,
    "replay": _replay,
    "replay-age": _age,
    "occupancy": _occupancy,
    "saves": _saves,
}
