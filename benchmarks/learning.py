"""``python -m benchmarks.learning``: how strong an agent becomes, over seeds and settings.

Trains every variant with every seed through the real command, lets each agent play 200 games on
the evaluation's deals, and prints means with 95% intervals over the games of each seed. Results are
kept in a folder: what has been trained before is not trained again. ``without=PART`` leaves out
what ``benchmarks.without`` can take away.

    python -m benchmarks.learning --preset quick --seeds 3
    python -m benchmarks.learning --steps 1200 --variant base --variant n8:train.n_step_returns=8
    python -m benchmarks.learning --workers 0 --variant plain:without=batch_norm
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

COMMAND = [sys.executable, "-W", "ignore", "-m"]
WITHOUT = "without="


class Variant(NamedTuple):
    """A name and what is set differently from the preset, or left out: ``without=PART``."""

    name: str
    settings: tuple[str, ...]

    def command(self) -> list[str]:
        """The command that trains and plays such agents."""
        parts = [s.removeprefix(WITHOUT) for s in self.settings if s.startswith(WITHOUT)]
        return ["benchmarks.without", ",".join(parts)] if parts else ["alphatriangle"]


def _variant(text: str) -> Variant:
    name, _, settings = text.partition(":")
    if not name or any("=" not in s for s in settings.split(",") if s):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:section.field=value,...")
    return Variant(name, tuple(s for s in settings.split(",") if s))


def _run(arguments: Sequence[str]) -> dict[str, Any]:
    done = subprocess.run([*COMMAND, *arguments, "--json"], stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measure(options: argparse.Namespace, variant: Variant, seed: int) -> dict[str, Any]:
    """Train one agent, or take what is there, and let it play."""
    run = f"{variant.name}-{seed}"
    kept = options.folder / f"{run}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    steps = ["--max-steps", str(options.steps)] if options.steps else []
    workers = ["--workers", str(options.workers)] if options.workers is not None else []
    settings = ["persistence.mlflow=false", "stats.evaluation_games=0", "stats.gate_games=0"]
    settings += [s for s in variant.settings if not s.startswith(WITHOUT)]
    train = ["train", "--preset", options.preset, "--run-name", run, "--seed", str(seed)]
    data = ["--data-dir", str(options.folder / "data")]
    sets = [part for setting in settings for part in ("--set", setting)]
    command = variant.command()
    trained = _run([*command, *train, *data, *steps, *workers, *sets])
    scores = {}
    for simulations in options.simulations:
        games = ["--games", str(options.games), "--simulations", str(simulations)]
        answer = _run([*command, "eval", run, *data, *games, "--against", "none"])
        scores[str(simulations)] = answer["players"][0]
    result = {
        "variant": variant.name,
        "settings": list(variant.settings),
        "seed": seed,
        "minutes": trained["seconds"] / 60,
        "steps": trained["global_step"],
        "scores": scores,
        "curve": _curve(options.folder / "data" / "runs" / run / "tensorboard"),
    }
    kept.write_text(json.dumps(result))
    return result


def _curve(folder: Path) -> list[tuple[int, float]]:
    """Training step and the mean score of the self-play games around it."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(e.step, e.value) for e in events.Scalars("episode/score")]


def table(results: Sequence[dict[str, Any]]) -> str:
    """In Markdown: a line for each variant, its seeds side by side."""
    lines = []
    simulations = list(results[0]["scores"])
    lines.append(f"| variant | minutes | {' | '.join(f'{s} simulations' for s in simulations)} |")
    lines.append("| --- " * (2 + len(simulations)) + "|")
    for name in dict.fromkeys(r["variant"] for r in results):
        own = [r for r in results if r["variant"] == name]
        cells = [name, f"{sum(r['minutes'] for r in own) / len(own):.1f}"]
        for s in simulations:
            scores = [r["scores"][s] for r in own]
            mean = sum(x["mean"] for x in scores) / len(scores)
            seeds = ", ".join(f"{x['mean']:.1f} ({x['low']:.1f} – {x['high']:.1f})" for x in scores)
            cells.append(f"**{mean:.1f}**: {seeds}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Scores in self-play over the steps, a colour for each variant, a line for each seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, name in enumerate(dict.fromkeys(r["variant"] for r in results)):
        for i, result in enumerate(r for r in results if r["variant"] == name):
            steps, scores = zip(*result["curve"], strict=True)
            label = name if i == 0 else None
            axes.plot(steps, _smooth(scores), color=f"C{number}", label=label, linewidth=1)
    axes.set_xlabel("training steps")
    axes.set_ylabel("score of self-play games")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _smooth(scores: Sequence[float]) -> list[float]:
    """Running means over a twentieth of the curve."""
    width = max(len(scores) // 20, 1)
    means = []
    for i in range(len(scores)):
        part = scores[max(i - width + 1, 0) : i + 1]
        means.append(sum(part) / len(part))
    return means


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--steps", type=int, default=None, help="default: the preset's")
    parser.add_argument("--workers", type=int, default=None, help="default: the preset's")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--simulations", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--variant", type=_variant, action="append", default=[])
    parser.add_argument("--folder", type=Path, default=Path("learning"))
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    variants = options.variant or [Variant(options.preset, ())]
    results = []
    for variant in variants:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            results.append(measure(options, variant, seed))
            sys.stderr.write(table(results).splitlines()[-1] + "\n")
    plot(results, options.folder / "curves.png")
    sys.stdout.write(table(results) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
