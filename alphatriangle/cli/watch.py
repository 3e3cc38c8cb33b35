"""``alphatriangle watch``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from alphatriangle.cli.common import (
    DataDir,
    Debug,
    LatestRun,
    UsageError,
    chosen_run,
    persistence,
    reported_errors,
)


def watch(
    run: LatestRun = None,
    game: Annotated[
        str, typer.Option(help="Which of its recorded games: best, latest, or a number.")
    ] = "best",
    games: Annotated[
        Path | None,
        typer.Option(help="Take the games from this file, which eval --save-games wrote."),
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
    """Watch a recorded game, placement by placement, in the terminal or as a page.

    Green triangles were just placed, yellow ones just cleared. Without a terminal each placement is
    a line. A run may be training meanwhile.

    Examples:

      alphatriangle watch first --game latest

      alphatriangle watch --html best.html

      alphatriangle watch --games games.arrow --game 17 --delay 1

    Exit codes: 0 done; 2 bad input.
    """
    with reported_errors(debug):
        from rich.console import Console
        from rich.live import Live

        from alphatriangle.data.segments import read_episodes
        from alphatriangle.viewer.frames import ReplayError, frames
        from alphatriangle.viewer.page import game_page
        from alphatriangle.viewer.recordings import choose_game, recorded_games
        from alphatriangle.viewer.terminal import frame_line, frame_text

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
        title = f"{where}: game {episode.episode}, score {episode.score:.2f}"
        console = Console()
        if html is not None:
            try:
                html.write_text(game_page(seen, title), encoding="utf-8")
            except OSError as e:
                raise UsageError(f"{html} cannot be written: {e.strerror}") from e
            console.print(f"{html}: {title}", highlight=False, markup=False, soft_wrap=True)
        elif console.is_terminal:
            with Live(frame_text(seen[0], title), console=console, auto_refresh=False) as live:
                for frame in seen:
                    live.update(frame_text(frame, title), refresh=True)
                    time.sleep(delay)
        else:
            for line in (title, *map(frame_line, seen)):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
