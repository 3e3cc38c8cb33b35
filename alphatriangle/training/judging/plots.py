"""Pictures of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from alphatriangle.training.judging.evaluation import PlayerScore


def plot_scores(scores: Sequence[PlayerScore], title: str, path: Path) -> None:
    """One line a player, best at the top: every game as a dot, the mean with its 95% interval.

    Raises:
        OSError: ``path`` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ordered = sorted(scores, key=lambda s: s.mean)
    figure = Figure(figsize=(8, 1.2 + 0.5 * len(ordered)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for height, score in enumerate(ordered):
        # Games side by side within their line, so that equal scores do not hide each other.
        offsets = [height + 0.3 * ((i * 0.618034) % 1.0 - 0.5) for i in range(score.games)]
        axes.plot(score.scores, offsets, ".", color="0.75", markersize=3, zorder=1)
        error = [[score.mean - score.low], [score.high - score.mean]]
        axes.errorbar([score.mean], [height], xerr=error, fmt="o", color="C0", capsize=4, zorder=2)
        axes.annotate(
            f"{score.mean:.1f}",
            (score.mean, height),
            (0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    axes.set_yticks(range(len(ordered)), [s.player for s in ordered])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlim(left=0)
    axes.set_xlabel("score of a game (dots), mean with 95% interval")
    axes.set_title(title, loc="left", fontsize=10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=120, format="png")
