"""``alphatriangle cluster``: the Ray cluster that training would play in."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from alphatriangle.cli.common import (
    EXIT_FAILED,
    AsJson,
    Debug,
    UsageError,
    console_for,
    print_json,
    reported_errors,
)
from alphatriangle.cli.help import App

app = App(help="Look at the Ray cluster that training would play in.")


@app.callback()
def _cluster() -> None:
    pass


@app.command()
def check(
    address: Annotated[
        str | None,
        typer.Option(help="host:port or ray://host:port.", show_default="RAY_ADDRESS"),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Tell in 10 s whether the cluster answers, who is there, and who is fit to play.

    A node is fit when it has the same package and the same versions of what computes. Kernels that
    it lacks are given to it by a training that has them.

    Examples:

      RAY_ADDRESS=10.0.0.1:6379 alphatriangle cluster check
      alphatriangle cluster check --address ray://10.0.0.1:10001 --json

    Exit codes: 0 every node is fit; 1 one is not, or nobody answers; 2 no cluster is named.
    """
    with reported_errors(debug):
        from alphatriangle.training.cluster.check import check as ask
        from alphatriangle.training.cluster.ray_session import named_address

        asked = address or named_address()
        if asked is None:
            raise UsageError(
                "no cluster is named: set RAY_ADDRESS to host:port of its head, or give --address"
            )
        found = ask(asked)
        if as_json:
            print_json(found)
        else:
            _tell(found)
        if not found["answers"] or not all(node["fit"] for node in found["nodes"]):
            raise typer.Exit(EXIT_FAILED)


def _tell(found: dict[str, Any]) -> None:
    console = console_for()
    if not found["answers"]:
        console.print(f"{found['reason']}", markup=False, highlight=False)
        return
    table = Table(title=f"Ray at {found['address']}", title_justify="left")
    for heading in ("node", "fit", "free CPUs", "GPUs", "package", "Python", "torch", "kernels"):
        table.add_column(heading)
    for node in found["nodes"]:
        versions = node.get("versions", {})
        role = " (head)" if node["is_head"] else " (leaving)" if node["is_draining"] else ""
        table.add_row(
            node["name"] + role,
            "yes" if node["fit"] else "no",
            f"{node['free_cpus']:.0f} of {node['cpus']:.0f}",
            f"{node['gpus']:.0f}",
            node.get("package", "?"),
            versions.get("python", "?"),
            versions.get("torch", "?"),
            str(node.get("kernels", "?")),
        )
    console.print(table)
    for node in found["nodes"]:
        if not node["fit"]:
            console.print(f"{node['name']}: {node['reason']}", markup=False, highlight=False)
