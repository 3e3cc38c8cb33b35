"""``alphatriangle eval``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from alphatriangle.cli.common import (
    AsJson,
    Checkpoint,
    DataDir,
    Debug,
    LatestRun,
    UsageError,
    console_for,
    persistence,
    print_json,
    reported_errors,
)
from alphatriangle.cli.tables import scores_table


def evaluate(
    run: LatestRun = None,
    against: Annotated[
        str,
        typer.Option(
            help="Other players, separated by commas: random, greedy, mobility, beam, beam128, "
            "planner; or none."
        ),
    ] = "random,greedy,mobility,beam,planner",
    games: Annotated[int, typer.Option(min=1, max=100_000, help="Games of each player.")] = 200,
    precision: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Fewer games, once the 95% interval is within this share of the agent's mean; 0 "
            "plays all.",
        ),
    ] = 0.0,
    simulations: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=10_000_000,
            help="Simulations a move, or a deal for n-tuple networks; more is stronger.",
            show_default="the run's",
        ),
    ] = None,
    checkpoint: Checkpoint = "latest",
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

    It changes nothing, and the run may be training meanwhile. All players meet the same deals, so
    that differences are compared game by game.

    random places anywhere; greedy clears the most now; mobility looks one placement ahead for open
    places; beam and beam128 plan each deal with the best 16 or 128 boards; planner searches like an
    n-tuple network, with a value made by hand.

    Examples:

      alphatriangle eval
      alphatriangle eval first --against beam128 --games 500 --simulations 300 --plot scores.png

    Exit codes: 0 done; 1 the network's answers are not finite; 2 bad input.
    """
    with reported_errors(debug):
        from alphatriangle.data.replay.recordings import write_episodes
        from alphatriangle.training.agent import load_agent
        from alphatriangle.training.display.display import Display
        from alphatriangle.training.judging.evaluation import (
            PLAYERS,
            difference,
            evaluate_baseline,
            play_evaluation,
            score_of_games,
        )
        from alphatriangle.training.players import make_player

        players = [p for p in against.split(",") if p and p != "none"]
        for other in players:
            if other not in PLAYERS:
                raise UsageError(
                    f"--against {other}: there is no such player; there are: {', '.join(PLAYERS)}"
                )
        for file in (plot, save_games):
            if file is not None and not file.absolute().parent.is_dir():
                raise UsageError(f"{file}: its folder does not exist")
        agent = load_agent(persistence(data_dir), run, checkpoint)
        settings = agent.config
        console = console_for(as_json)
        display = Display(console, quiet=as_json)
        name = f"{agent.run} (step {agent.step})"
        with display.phase(f"{name} plays {games} games") as say:
            player = make_player(agent.network, settings, simulations)
            episodes = play_evaluation(
                player, games, precision, lambda n: say(f"{n} of {games} are over")
            )
        own = score_of_games(name, episodes)
        games = len(episodes)
        scores = []
        for other in players:
            with display.phase(f"{other} plays {games} games"):
                scores.append(evaluate_baseline(other, settings, games))
        if save_games is not None:
            with _written(save_games):
                write_episodes(save_games, episodes)
        title = f"{games} games each, the same deals, {player.effort}"
        if plot is not None:
            from alphatriangle.training.judging.plots import plot_scores

            with _written(plot):
                plot_scores([*scores, own], title, plot)
        if as_json:
            print_json(
                {
                    "run": agent.run,
                    "step": agent.step,
                    "simulations": player.simulations,
                    "players": [score.summary() for score in (*scores, own)],
                    "ahead": {
                        score.player: difference(own.scores, score.scores)._asdict()
                        for score in scores
                    },
                }
            )
        else:
            console.print(scores_table([*scores, own], title, own))


@contextlib.contextmanager
def _written(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise UsageError(f"{file} cannot be written: {e.strerror or e}") from e
