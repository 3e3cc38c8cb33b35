"""``alphatriangle ui``: the web pages of TensorBoard and MLflow on this data, and Ray's."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from alphatriangle.cli.common import DataDir, Debug, UsageError, persistence, reported_errors
from alphatriangle.cli.help import App
from alphatriangle.utils.invocation import command
from alphatriangle.utils.processes import python

if TYPE_CHECKING:
    from alphatriangle.data.path_manager import PathManager

app = App(help="Open curves, runs and processes in a browser.")

Port = Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")]
Host = Annotated[
    str,
    typer.Option(
        help="Address to listen on. There is no password: 0.0.0.0 lets everybody in who reaches "
        "this machine."
    ),
]
LOCAL = "127.0.0.1"


def _free_port(host: str, port: int) -> int:
    """``port`` if nobody listens there; a free one for 0.

    Raises:
        UsageError: the port is in use, or ``host`` is no address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise UsageError(
                f"port {port} on {host} cannot be used ({e.strerror}); "
                "choose another --port or --host, or leave them away"
            ) from e
        return int(probe.getsockname()[1])


def _paths(data_dir: Path | None) -> PathManager:
    from alphatriangle.data.path_manager import PathManager

    return PathManager(persistence(data_dir), "any")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"{path} does not exist; {command('train', '--preset', 'quick')} makes it")
    return path


def _serve(arguments: list[str], host: str, port: int) -> NoReturn:
    """Become the server: signals and the exit code are then its own."""
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"http://{shown}:{port}  (Ctrl-C stops)")
    sys.stdout.flush()
    os.execv(sys.executable, python(*arguments))


@app.command()
def tensorboard(
    data_dir: DataDir = None, host: Host = LOCAL, port: Port = 0, debug: Debug = False
) -> None:
    """Show the curves of all runs in TensorBoard.

    Example:

      alphatriangle ui tensorboard --port 6006

    Exit codes: 0 stopped; 2 no data, or the port is in use.
    """
    with reported_errors(debug):
        runs = _existing(_paths(data_dir).runs)
        chosen = _free_port(host, port)
        _serve(
            ["tensorboard.main", "--logdir", str(runs), "--host", host] + ["--port", str(chosen)],
            host,
            chosen,
        )


@app.command()
def mlflow(
    data_dir: DataDir = None, host: Host = LOCAL, port: Port = 0, debug: Debug = False
) -> None:
    """Show runs, metrics and artifacts in MLflow.

    Example:

      alphatriangle ui mlflow --port 5000

    Exit codes: 0 stopped; 2 no data, or the port is in use.
    """
    with reported_errors(debug):
        from alphatriangle.data.elsewhere.mlflow_store import tracking_uri

        mlruns = _paths(data_dir).mlruns
        _existing(mlruns / "mlflow.db")
        chosen = _free_port(host, port)
        _serve(
            ["mlflow", "server", "--backend-store-uri", tracking_uri(mlruns)]
            # One process is enough for one person; the default is four.
            + ["--host", host, "--port", str(chosen), "--workers", "1"],
            host,
            chosen,
        )


@app.command()
def ray(host: Host = LOCAL, port: Port = 0, debug: Debug = False) -> None:
    """Show the processes of a training that is running, in Ray's dashboard.

    Workers, their memory and processors, their logs. Start it beside the training, on the same
    machine or with RAY_ADDRESS. It needs packages of its own: pip install
    'alphatriangle[dashboard]'. Ray asks for its token, which "ray get-auth-token" prints.

    Example:

      alphatriangle ui ray --port 8265

    Exit codes: 0 stopped; 2 no Ray is running, the packages are missing, or the port is in use.
    """
    with reported_errors(debug):
        from alphatriangle.training.ray_dashboard import NoDashboardError, dashboard_command

        chosen = _free_port(host, port)
        try:
            command = dashboard_command(host, chosen)
        except NoDashboardError as e:
            raise UsageError(str(e)) from e
        _serve(command, host, chosen)
