"""``alphatriangle runs``."""

from __future__ import annotations

from typing import Annotated

import typer

from alphatriangle.cli.common import (
    AsJson,
    DataDir,
    Debug,
    console_for,
    persistence,
    print_json,
    reported_errors,
)
from alphatriangle.cli.tables import megabytes, runs_table

app = typer.Typer(no_args_is_help=True, help="Look at runs.")


@app.command("list")
def list_runs(data_dir: DataDir = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """List all runs, the one saved to last first.

    State: running (a process is training it), complete, unfinished, empty (nothing saved yet), or
    damaged.

    Example:

      alphatriangle runs list --json

    Exit codes: 0 done, also when there is none; 2 bad input.
    """
    with reported_errors(debug):
        from alphatriangle.data.runs import summarize_runs

        config = persistence(data_dir)
        runs = summarize_runs(config)
        if as_json:
            print_json([run._asdict() for run in runs])
        elif runs:
            console_for(as_json).print(runs_table(runs))
        else:
            console_for(as_json).print(
                f"no runs in {config.root_data_dir} yet; alphatriangle train --preset quick "
                "makes one",
                highlight=False,
                soft_wrap=True,
            )


@app.command("show")
def show_run(
    run: Annotated[str, typer.Argument(help="Name of a run.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a run holds: its newest sound commit, checked byte by byte, and its digest.

    The state digest is a sha256 over weights, optimizer, schedule, generators, replay rows and
    priorities: two runs with the same digest go on the same way.

    Example:

      alphatriangle runs show first --json

    Exit codes: 0 done; 2 no such run, or none of its commits is sound.
    """
    with reported_errors(debug):
        from alphatriangle.data.runs import describe_run

        facts = describe_run(persistence(data_dir), run)
        if as_json:
            print_json(facts)
            return
        console = console_for(as_json)
        commit = facts["commit"]
        score = "-" if facts["score"] is None else f"{facts['score']:.1f}"
        lines = {
            "run": f"{facts['name']} ({facts['state']}, preset {facts['preset'] or '-'})",
            "step": f"{facts['step']} of {facts['target_steps'] or '?'}",
            "games": f"{facts['episodes']:,} ({commit['total_simulations_run']:,} simulations)",
            "score": f"{score} (mean of recent games)",
            "network": f"{facts['parameters']:,} parameters in {len(facts['tensors'])} tensors",
            "replay": f"{facts['buffer_rows']:,} of {facts['buffer_capacity'] or 0:,} rows",
            "on disk": f"{megabytes(facts['size_bytes'])}, {facts['commits']} commits",
            "commit": f"{commit['path']} ({commit['created_at']}, {len(commit['files'])} files)",
            "also saved": ", ".join(facts["components"]),
            "state digest": facts["state_digest"],
        }
        for name, text in lines.items():
            console.print(f"{name:<13} {text}", highlight=False, markup=False, soft_wrap=True)
        for rejected in facts["rejected_commits"]:
            console.print(f"passed over   {rejected['reason']}", style="red", soft_wrap=True)
