"""``alphatriangle report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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


def report(
    run: LatestRun = None,
    html: Annotated[
        Path | None, typer.Option(dir_okay=False, help="The page.", show_default="RUN.html")
    ] = None,
    png: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write the plots into this folder too.")
    ] = None,
    games: Annotated[
        int, typer.Option(min=0, max=10_000, help="Games of each player to compare with.")
    ] = 100,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Write what a run has done as one page: scores, losses, saves, settings, the best game.

    The run may be training meanwhile; nothing of it is touched.

    Examples:

      alphatriangle report
      alphatriangle report first --html first.html --png plots

    Exit codes: 0 done; 2 bad input.
    """
    with reported_errors(debug):
        from alphatriangle.report.facts import collect
        from alphatriangle.report.figures import as_png, figures
        from alphatriangle.report.page import report_page
        from alphatriangle.training.display.display import Display

        config = persistence(data_dir)
        run = chosen_run(config, run, "report on")
        console = console_for(False)
        with Display(console).phase(f"reading run {run!r}"):
            facts = collect(config, run, games)
        files = {html or Path(f"{run}.html"): report_page(facts).encode()}
        if png is not None:
            for name, figure in figures(facts).items():
                files[png / f"{name}.png"] = as_png(figure)
        for path, content in files.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            except OSError as e:
                raise UsageError(f"{path} cannot be written: {e.strerror}") from e
            console.print(f"{path}", highlight=False, markup=False, soft_wrap=True)
