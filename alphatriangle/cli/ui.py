"""``alphatriangle ui``: the web pages of TensorBoard and MLflow on this data."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from alphatriangle.cli.common import DataDir, Debug, UsageError, persistence, reported_errors

app = typer.Typer(no_args_is_help=True, help="Open the curves in a browser.")
_HOST = "127.0.0.1"

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")]


def _free_port(port: int) -> int:
    """``port`` if nobody listens there; a free one for 0.

    Raises:
        UsageError: the port is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as e:
            raise UsageError(
                f"port {port} on {_HOST} cannot be used ({e.strerror}); "
                "choose another --port, or leave it away"
            ) from e
        return int(probe.getsockname()[1])


def _data_folder(data_dir: Path | None, name: str) -> Path:
    folder = persistence(data_dir).root_data_dir.absolute()
    if not (folder / name).exists():
        raise UsageError(
            f"{folder / name} does not exist; alphatriangle train --preset quick makes it"
        )
    return folder


def _serve(arguments: list[str], port: int) -> NoReturn:
    """Become the server: signals and the exit code are then its own."""
    typer.echo(f"http://{_HOST}:{port}  (Ctrl-C stops)")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", *arguments])


@app.command()
def tensorboard(data_dir: DataDir = None, port: Port = 0, debug: Debug = False) -> None:
    """Show the curves of all runs in TensorBoard.

    Example:

      alphatriangle ui tensorboard --port 6006

    Exit codes: 0 stopped; 2 no data, or the port is in use.
    """
    with reported_errors(debug):
        folder = _data_folder(data_dir, "runs")
        chosen = _free_port(port)
        _serve(
            ["tensorboard.main", "--logdir", str(folder / "runs"), "--host", _HOST]
            + ["--port", str(chosen)],
            chosen,
        )


@app.command()
def mlflow(data_dir: DataDir = None, port: Port = 0, debug: Debug = False) -> None:
    """Show runs, metrics and artifacts in MLflow.

    Example:

      alphatriangle ui mlflow --port 5000

    Exit codes: 0 stopped; 2 no data, or the port is in use.
    """
    with reported_errors(debug):
        from alphatriangle.data.mlflow_log import tracking_uri

        folder = _data_folder(data_dir, "mlruns/mlflow.db")
        chosen = _free_port(port)
        _serve(
            ["mlflow", "server", "--backend-store-uri", tracking_uri(folder / "mlruns")]
            + ["--host", _HOST, "--port", str(chosen)],
            chosen,
        )
