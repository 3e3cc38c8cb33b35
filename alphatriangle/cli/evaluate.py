"""``alphatriangle eval``."""

from __future__ import annotations

from typing import Annotated

import typer

from alphatriangle.cli.common import (
    AsJson,
    DataDir,
    Debug,
    UsageError,
    console_for,
    persistence,
    print_json,
    reported_errors,
)
from alphatriangle.cli.tables import scores_table


def evaluate(
    run: Annotated[
        str | None, typer.Argument(help="Name of a run.", show_default="the latest")
    ] = None,
    against: Annotated[
        str, typer.Option(help="Other players, separated by commas: random, greedy, or none.")
    ] = "random,greedy",
    games: Annotated[int, typer.Option(min=1, max=100_000, help="Games of each player.")] = 200,
    simulations: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Simulations a move.", show_default="the run's"),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Let a run's agent play whole games on fixed seeds, against other players.

    It uses the newest sound commit and changes nothing; a run may be training meanwhile. All
    players meet the same deals.

    Examples:

      alphatriangle eval

      alphatriangle eval first --against greedy --games 500 --simulations 64 --json

    Exit codes: 0 done; 2 bad input.
    """
    with reported_errors(debug):
        from alphatriangle.config import build
        from alphatriangle.data.loading import load_for_reading
        from alphatriangle.data.runs import summarize_runs
        from alphatriangle.nn import NeuralNetwork, WeightsMismatchError
        from alphatriangle.training.display import Display
        from alphatriangle.training.evaluation import (
            BASELINES,
            evaluate_agent,
            evaluate_baseline,
        )

        players = [p for p in against.split(",") if p and p != "none"]
        for player in players:
            if player not in BASELINES:
                raise UsageError(
                    f"--against {player}: there is no such player; there are: "
                    f"{', '.join(BASELINES)}"
                )
        config = persistence(data_dir)
        if run is None:
            latest = next((r for r in summarize_runs(config) if r.commits), None)
            if latest is None:
                raise UsageError(
                    f"{config.root_data_dir} has no run to evaluate; "
                    "alphatriangle train --preset quick makes one"
                )
            run = latest.name
        state = load_for_reading(config, run)
        checkpoint = state.checkpoint_data
        assert checkpoint is not None
        settings = build(checkpoint.config)
        network = NeuralNetwork(settings.model, "auto")
        try:
            network.set_weights(checkpoint.model_state_dict)
        except WeightsMismatchError as e:
            raise UsageError(f"{state.source}: {e}") from e
        console = console_for(as_json)
        display = Display(console, quiet=as_json)
        scores = [evaluate_baseline(player, settings, games) for player in players]
        name = f"{run} (step {checkpoint.global_step})"
        with display.phase(f"{name} plays {games} games"):
            scores.append(evaluate_agent(network, settings, games, name, simulations))
        searched = simulations or settings.search.num_simulations
        if as_json:
            print_json(
                {
                    "run": run,
                    "step": checkpoint.global_step,
                    "simulations": searched,
                    "players": [score.summary() for score in scores],
                }
            )
        else:
            title = f"{games} games each, the same deals, {searched} simulations a move"
            console.print(scores_table(scores, title))
