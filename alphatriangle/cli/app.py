"""The command line: ``alphatriangle``."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from alphatriangle import __version__
from alphatriangle.cli import cluster, config, replica, runs, ui
from alphatriangle.cli.evaluate import evaluate
from alphatriangle.cli.help import App
from alphatriangle.cli.play import play
from alphatriangle.cli.report import report
from alphatriangle.cli.train import train
from alphatriangle.cli.watch import watch
from alphatriangle.utils.interrupting import end_without_those_left_behind
from alphatriangle.utils.terminal import make_streams_readable

app = App(
    name="alphatriangle",
    help="Train an agent for the triangle puzzle. Nothing it has learned is ever lost.",
    epilog="First steps: alphatriangle train --preset quick",
)
app.command()(train)
app.command("eval")(evaluate)
app.command()(watch)
app.command()(play)
app.command()(report)
for name, function in {
    "replica": replica.show_replica,
    "push": replica.push_run,
    "pull": replica.pull_run,
    "drill": replica.drill_run,
}.items():
    runs.app.command(name)(function)
app.add_typer(runs.app, name="runs")
app.add_typer(config.app, name="config")
app.add_typer(cluster.app, name="cluster")
app.add_typer(ui.app, name="ui")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"alphatriangle {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Version.")
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="No colours, as with NO_COLOR=1; may stand anywhere.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point."""
    make_streams_readable()
    arguments = sys.argv[1:]
    if "--no-color" in arguments:
        # Before anything is printed, and wherever it stands.
        os.environ["NO_COLOR"] = "1"
        arguments = [word for word in arguments if word != "--no-color"]
    try:
        app(arguments)
    except SystemExit as e:
        end_without_those_left_behind(e.code if isinstance(e.code, int) else 1)
        raise
    finally:
        # The interpreter would look through all of torch for cycles once more: half a second.
        gc.freeze()
