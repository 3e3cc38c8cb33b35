"""``alphatriangle eval``."""

from __future__ import annotations

from pathlib import Path
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
        str,
        typer.Option(
            help="Other players, separated by commas: random, greedy, mobility, beam, beam128; "
            "or none."
        ),
    ] = "random,greedy,mobility,beam",
    games: Annotated[int, typer.Option(min=1, max=100_000, help="Games of each player.")] = 200,
    simulations: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Simulations a move.", show_default="the run's"),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Draw the scores into this PNG file.")
    ] = None,
    save_games: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write the agent's games to this Arrow file."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Let a run's agent play whole games on fixed seeds, against other players.

    It uses the newest sound commit and changes nothing; a run may be training meanwhile. All
    players meet the same deals, so that differences are compared game by game.

    random places anywhere; greedy clears the most now; mobility looks one placement ahead for open
    places; beam and beam128 plan each deal with the best 16 or 128 boards.

    Examples:

      alphatriangle eval

      alphatriangle eval first --against beam128 --games 500 --simulations 64 --plot scores.png

    Exit codes: 0 done; 2 bad input.
    """
    with reported_errors(debug):
        from alphatriangle.config import build
        from alphatriangle.data.loading import load_for_reading
        from alphatriangle.data.runs import latest_run
        from alphatriangle.data.segments import write_episodes
        from alphatriangle.game.players import PLAYERS
        from alphatriangle.nn import NeuralNetwork, WeightsMismatchError
        from alphatriangle.training.display import Display
        from alphatriangle.training.evaluation import (
            difference,
            evaluate_baseline,
            play_agent,
            score_of_games,
        )

        players = [p for p in against.split(",") if p and p != "none"]
        for player in players:
            if player not in PLAYERS:
                raise UsageError(
                    f"--against {player}: there is no such player; there are: {', '.join(PLAYERS)}"
                )
        for file in (plot, save_games):
            if file is not None and not file.absolute().parent.is_dir():
                raise UsageError(f"{file}: its folder does not exist")
        config = persistence(data_dir)
        if run is None:
            latest = latest_run(config)
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
        scores = []
        for player in players:
            with display.phase(f"{player} plays {games} games"):
                scores.append(evaluate_baseline(player, settings, games))
        name = f"{run} (step {checkpoint.global_step})"
        with display.phase(f"{name} plays {games} games"):
            episodes = play_agent(network, settings, games, simulations)
        agent = score_of_games(name, episodes)
        if save_games is not None:
            write_episodes(save_games, episodes)
        searched = simulations or settings.search.num_simulations
        title = f"{games} games each, the same deals, {searched} simulations a move"
        if plot is not None:
            from alphatriangle.training.plots import plot_scores

            plot_scores([*scores, agent], title, plot)
        if as_json:
            print_json(
                {
                    "run": run,
                    "step": checkpoint.global_step,
                    "simulations": searched,
                    "players": [score.summary() for score in (*scores, agent)],
                    "ahead": {
                        score.player: difference(agent.scores, score.scores)._asdict()
                        for score in scores
                    },
                }
            )
        else:
            console.print(scores_table([*scores, agent], title, agent))
