"""``alphatriangle watch``."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alphatriangle.cli.common import (
    DataDir,
    Debug,
    LatestRun,
    UsageError,
    chosen_run,
    console_for,
    persistence,
    reported_errors,
)

if TYPE_CHECKING:
    from alphatriangle.viewer.frames import Frame


def watch(
    run: LatestRun = None,
    game: Annotated[
        str,
        typer.Option(
            help="Which of its recorded games: best, latest, or a number; new lets its agent play."
        ),
    ] = "best",
    games: Annotated[
        Path | None,
        typer.Option(help="Take the games from this file, which eval --save-games wrote."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Who plays a new game: latest, best, or a step.", show_default="best, else latest"
        ),
    ] = None,
    simulations: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=10_000_000,
            help="Of a new game, a move, or a deal for n-tuple networks.",
            show_default="the run's",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of a new game.", show_default="another each time")
    ] = None,
    delay: Annotated[
        float, typer.Option(min=0.0, max=60.0, help="Seconds between placements.")
    ] = 0.4,
    html: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Write a page with a scrubber instead, one file."),
    ] = None,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Watch a game, placement by placement, in the terminal or as a page: recorded, or played now.

    Green triangles were just placed, yellow ones just cleared. In a new game you also see which
    placements the search preferred and what it expects of them. Without a terminal each placement
    is a line. A run may be training meanwhile. Ctrl-C ends.

    Examples:

      alphatriangle watch first --game latest
      alphatriangle watch first --game new --simulations 500
      alphatriangle watch --html best.html
      alphatriangle watch --games games.arrow --game 17 --delay 1

    Exit codes: 0 done; 2 bad input.
    """
    with reported_errors(debug):
        if game == "new":
            if games is not None:
                raise UsageError("a new game is played by a run's agent: leave --games away")
            title, frames = _new_game(data_dir, run, checkpoint, simulations, seed)
        else:
            if (checkpoint, simulations, seed) != (None, None, None):
                raise UsageError("--checkpoint, --simulations and --seed are for --game new")
            title, frames = _recorded_game(data_dir, run, games, game)
        if html is not None:
            _write(html, title, frames)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                _show(title, frames, delay)


def _new_game(
    data_dir: Path | None,
    run: str | None,
    checkpoint: str | None,
    simulations: int | None,
    seed: int | None,
) -> tuple[str, Iterator[Frame]]:
    from alphatriangle.data.errors import CommitNotFoundError
    from alphatriangle.game import GameState
    from alphatriangle.training.agent import load_agent
    from alphatriangle.viewer.live import live_frames

    config = persistence(data_dir)
    run = chosen_run(config, run, "watch")
    try:
        agent = load_agent(config, run, checkpoint or "best")
    except CommitNotFoundError:
        if checkpoint is not None:
            raise
        agent = load_agent(config, run, "latest")
    seed = secrets.randbits(32) if seed is None else seed
    title = f"{agent.run} (step {agent.step}) plays seed {seed}"
    return title, live_frames(agent, GameState(seed), simulations)


def _recorded_game(
    data_dir: Path | None, run: str | None, games: Path | None, game: str
) -> tuple[str, Iterator[Frame]]:
    from alphatriangle.data.replay.recordings import read_episodes
    from alphatriangle.viewer.frames import ReplayError, frames
    from alphatriangle.viewer.recordings import choose_game, recorded_games

    if games is not None:
        if run is not None:
            raise UsageError("give the name of a run or --games, not both")
        where, known = str(games), read_episodes(games)
    else:
        config = persistence(data_dir)
        run = chosen_run(config, run, "watch")
        where, known = f"run {run!r}", recorded_games(config, run)
    episode = choose_game(known, game, where)
    try:
        seen = list(frames(episode))
    except ReplayError as e:
        raise UsageError(f"{where}: {e}") from e
    return f"{where}: game {episode.episode}, score {episode.score:.2f}", iter(seen)


def _write(html: Path, title: str, frames: Iterator[Frame]) -> None:
    from alphatriangle.viewer.page import game_page

    page = game_page(list(frames), title)
    try:
        html.write_text(page, encoding="utf-8")
    except OSError as e:
        raise UsageError(f"{html} cannot be written: {e.strerror}") from e
    typer.echo(f"{html}: {title}")


def _show(title: str, frames: Iterator[Frame], delay: float) -> None:
    from rich.live import Live

    from alphatriangle.viewer.terminal import frame_line, frame_text

    console = console_for()
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for frame in frames:
                live.update(frame_text(frame, title), refresh=True)
                time.sleep(delay)
    else:
        for line in (title, *map(frame_line, frames)):
            typer.echo(line)
