"""The report as one self-contained page."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any, Final

from alphatriangle.config.toml import to_toml, toml_value
from alphatriangle.data.commits.files import best_commit
from alphatriangle.data.replica.state import ReplicaState
from alphatriangle.report.facts import Report
from alphatriangle.report.figures import as_svg, figures
from alphatriangle.viewer.frames import frames
from alphatriangle.viewer.page import game_page

_TITLES: Final = {
    "score": "Score",
    "losses": "Losses",
    "throughput": "Throughput",
    "search-health": "Search health",
    "replay": "What the replay holds",
    "replay-age": "How old it is",
    "occupancy": "Where the boards are full",
    "saves": "Saves",
}


def report_page(report: Report) -> str:
    """The page as HTML; it needs nothing beside itself."""
    pictures = figures(report)
    sections = [_section("Summary", _summary(report))]
    for name, figure in pictures.items():
        sections.append(_section(_TITLES[name], f'<div class="plot">{as_svg(figure)}</div>'))
    if not report.curves:
        note = "<p>This run writes no curves: <code>stats.tensorboard</code> is off.</p>"
        sections.insert(1, _section("Curves", note))
    if report.games:
        best = max(report.games, key=lambda game: game.score)
        title = f"Game {best.episode}, score {best.score:.2f}"
        page = html.escape(game_page(list(frames(best)), title), quote=True)
        sections.append(
            _section("Best game in self-play", f'<iframe title="{title}" srcdoc="{page}"></iframe>')
        )
    sections.append(_section("Commits", _commits(report)))
    sections.append(_section("Settings", _settings(report)))
    versions = _table(("library", "version"), report.versions.items())
    sections.append(_section("Environment", versions))
    template = resources.files("alphatriangle.report").joinpath("page.html").read_text("utf-8")
    title = html.escape(f"Run {report.summary.name}")
    return template.replace("__TITLE__", title).replace("__BODY__", "\n".join(sections))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{content}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    cells = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    ]
    return f'<div class="wide"><table><tr>{cells}</tr>{"".join(lines)}</table></div>'


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _summary(report: Report) -> str:
    run, replay = report.summary, report.replay
    facts = {
        "state": run.state,
        "preset": run.preset or "-",
        "steps": f"{run.step:,} of {run.target_steps or 0:,}",
        "games": f"{run.episodes:,}",
        "mean score of recent games": _number(run.score),
        "score of the best checkpoint": _number(run.best_score),
        "best game": _number(max((g.score for g in report.games), default=None)),
        "last commit": run.last_commit or "-",
        "size on disk": f"{run.size_bytes / 1e6:,.1f} MB, {run.commits} commits",
        "replay": "-"
        if replay is None
        else f"{replay.rows:,} of {replay.capacity or 0:,} rows, "
        f"{replay.afterstates:.0%} afterstates",
        **_replica(report.replica),
        "started from": (report.info.started_from if report.info else None) or "nothing",
    }
    players = [(p.player, f"{p.mean:.1f}", f"{p.low:.1f} – {p.high:.1f}") for p in report.baselines]
    compared = _table(("player to compare with", "mean score", "95% interval"), players)
    return _table(("", ""), facts.items()) + (compared if players else "")


def _replica(state: ReplicaState | None) -> dict[str, str]:
    if state is None:
        return {}
    last = state.acknowledged
    text = "no commit yet" if last is None else f"step {last.step:,} at {last.at}"
    stuck = f"; stuck since {state.error_since}: {state.error}" if state.error else ""
    return {"replica": f"{state.url}, {text}{stuck}"}


def _commits(report: Report) -> str:
    best = best_commit(report.commits)
    seconds = report.curves.get("persistence/save_seconds")
    took = {} if seconds is None else dict(zip(seconds.steps.tolist(), seconds.values, strict=True))
    rows = [
        (
            stored.commit.global_step,
            stored.commit.created_at.removesuffix("+00:00").replace("T", " "),
            f"{sum(f.size for f in stored.commit.files) / 1e6:,.1f}",
            f"{report.new_bytes[stored.commit.sequence] / 1e6:,.1f}",
            f"{took[stored.commit.global_step]:.2f}" if stored.commit.global_step in took else "-",
            _number(stored.commit.metrics.get("score")),
            "best" if stored == best else "",
        )
        for stored in report.commits
    ]
    head = ("step", "time (UTC)", "MB", "MB new", "seconds", "score", "")
    return _table(head, rows) + "<p>Those that retention has left.</p>"


def _settings(report: Report) -> str:
    changed = [(key, toml_value(a), toml_value(b)) for key, (a, b) in report.changed.items()]
    base = report.info.preset if report.info and report.info.preset else "defaults"
    table = _table(("setting", base, "this run"), changed)
    everything = html.escape(to_toml(report.config))
    return f"{table}<details><summary>all</summary><pre>{everything}</pre></details>"
