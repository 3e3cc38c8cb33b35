"""``alphatriangle runs``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import track

from alphatriangle.cli.common import (
    EXIT_FAILED,
    AsJson,
    DataDir,
    Debug,
    FailedError,
    Run,
    Step,
    UsageError,
    complete_run,
    console_for,
    persistence,
    print_json,
    print_problem,
    reported_errors,
    what_goes_on,
)
from alphatriangle.cli.help import App
from alphatriangle.cli.replica import (
    prune_replica,
    replica_in_list,
    restore_from_url,
    verify_replica_of,
    weights_from_url,
)
from alphatriangle.cli.tables import ago, megabytes, runs_table
from alphatriangle.utils.invocation import command

if TYPE_CHECKING:
    from alphatriangle.config import PersistenceConfig
    from alphatriangle.data.commits.pruning import PruningPlan
    from alphatriangle.data.path_manager import PathManager

app = App(help="Look at runs, and look after them.")


@app.command("list")
def list_runs(data_dir: DataDir = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """List all runs, the one saved to last first.

    State: running (a process is training it), complete, unfinished, empty (nothing saved yet),
    damaged, or unreadable (somebody else's). Score: mean of recent games. Best: what the best
    checkpoint scored.

    Example:

      alphatriangle runs list --json

    Exit codes: 0 done, also when there is none; 2 bad input.
    """
    with reported_errors(debug):
        from alphatriangle.data.path_manager import PathManager
        from alphatriangle.data.runs.summary import summarize_runs

        config = persistence(data_dir)
        runs = summarize_runs(config, unreadable_too=True)
        copies = {run.name: replica_in_list(PathManager(config, run.name)) for run in runs}
        if as_json:
            print_json([{**run._asdict(), "replica": copies[run.name]} for run in runs])
        elif runs:
            console = console_for(as_json)
            console.print(runs_table(runs, copies, console.width))
        else:
            console_for(as_json).print(
                f"no runs in {config.root_data_dir} yet; "
                f"{command('train', '--preset', 'quick')} makes one",
                highlight=False,
                soft_wrap=True,
            )


@app.command("show")
def show_run(
    run: Run,
    step: Step = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a commit holds, by default the newest sound one, checked byte by byte.

    The state digest is a sha256 over weights, optimizer, schedule, generators, replay rows and
    priorities: two runs with the same digest go on the same way.

    Example:

      alphatriangle runs show first --json

    Exit codes: 0 done; 2 no such run, or none of its commits is sound.
    """
    with reported_errors(debug):
        from alphatriangle.data.path_manager import PathManager
        from alphatriangle.data.runs.inspection import describe_run
        from alphatriangle.data.runs.summary import has_settings

        config = persistence(data_dir)
        facts = describe_run(config, run, step)
        facts["replica"] = replica_in_list(PathManager(config, run))
        facts["repeat"] = None
        if has_settings(config, run):
            facts["repeat"] = _repeat_command(PathManager(config, run).configs, facts)
        if as_json:
            print_json(facts)
            return
        console = console_for(as_json)
        commit = facts["commit"]
        score = f"{commit['metrics']['score']:.1f}" if "score" in commit["metrics"] else "-"
        lines = {
            "run": f"{facts['name']} ({facts['state']}, preset {facts['preset'] or '-'})",
            "step": f"{commit['global_step']} of {facts['target_steps'] or '?'}",
            "games": f"{commit['episodes_played']:,} "
            f"({commit['total_simulations_run']:,} simulations)",
            "score": f"{score} (mean of recent games)",
            "network": f"{facts['parameters']:,} numbers in {len(facts['tensors'])} tensors, "
            f"{megabytes(sum(t['bytes'] for t in facts['tensors'].values()))}",
            "replay": f"{facts['buffer_rows']:,} of {facts['buffer_capacity'] or 0:,} rows in "
            f"{sum(f['kind'] == 'segment' for f in commit['files'])} segments",
            "on disk": f"{megabytes(facts['size_bytes'])}, {facts['commits']} commits",
            "commit": f"{commit['path']} ({len(commit['files'])} files, "
            f"{megabytes(sum(f['size'] for f in commit['files']))})",
            "saved": f"{commit['created_at']}, {ago(facts['age_seconds'])}",
            "replica": facts["replica"] or "none",
            "also saved": ", ".join(facts["components"]),
            "state digest": facts["state_digest"],
            "repeat": facts["repeat"] or "with the program that saved it",
        }
        for name, text in lines.items():
            console.print(f"{name:<13} {text}", highlight=False, markup=False, soft_wrap=True)
        for name, tensor in facts["tensors"].items() if tensors else ():
            text = f"{name}  {tensor['dtype']} {tensor['shape']}  {megabytes(tensor['bytes'])}"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
        for rejected in facts["rejected_commits"]:
            print_problem(console, f"passed over   {rejected['reason']}")
        for recording in facts["damaged_recordings"]:
            print_problem(console, f"games lost    {recording['reason']}")


def _repeat_command(configs: Path, facts: dict[str, Any]) -> str:
    """What trains another run with the settings of this one, from its beginning."""
    words = ["train", "--config", str(configs)]
    words += ["--preset", facts["preset"]] if facts["preset"] else []
    words += ["--max-steps", str(facts["target_steps"])] if facts["target_steps"] else []
    return command(*words, "--run-name", f"{facts['name']}-again")


@app.command("verify")
def verify_run(
    run: Run,
    replica: Annotated[
        bool, typer.Option("--replica", help="Check the copy elsewhere instead.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="Check the copy at this URL.", show_default="the one that the run has"),
    ] = None,
    read_data: Annotated[
        str | None,
        typer.Option(
            help="Of a replica: the share of its bytes to read, as 5%.", show_default="all"
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check every byte of every file that a commit of the run names, and that training could go on
    from each commit.

    A run may be training meanwhile. Of a replica it is checked that all of it is there, and the
    bytes of a share of it: what is read costs, where stores charge for it.

    Example:

      alphatriangle runs verify first
      alphatriangle runs verify first --replica --read-data 5%

    Exit codes: 0 all sound; 1 something is not; 2 no such run, or its replica cannot be reached.
    """
    with reported_errors(debug):
        if replica or url is not None:
            from alphatriangle.data.path_manager import existing_run as existing

            paths = existing(persistence(data_dir), run)
            verify_replica_of(paths, url, read_data, as_json=as_json)
            return
        if read_data is not None:
            raise UsageError(
                "--read-data is for replicas, with --replica or --url; here all is read"
            )
        from alphatriangle.data.commits.files import list_commits
        from alphatriangle.data.path_manager import existing_run
        from alphatriangle.data.runs.inspection import check_files, unsound_commits
        from alphatriangle.data.serializer import Serializer

        config = persistence(data_dir)
        paths = existing_run(config, run)
        known = list_commits(paths)
        console = console_for(as_json)
        total = len({f.path for s in known.commits for f in s.commit.files})
        checks = list(
            track(
                check_files(paths, known),
                f"checking {total} files",
                total=total,
                console=console,
                disable=as_json or not console.is_terminal,
            )
        )
        problems = [r.reason for r in known.unreadable] + [c.problem for c in checks if c.problem]
        # What a damaged file makes unsound has been said.
        unsound = unsound_commits(paths, known, Serializer(config.allowed_globals))
        problems += sorted({r.reason for r in unsound} - set(problems))
        size = sum(check.size for check in checks)
        if as_json:
            print_json(
                {
                    "run": run,
                    "commits": len(known.commits),
                    "files": len(checks),
                    "bytes": size,
                    "problems": problems,
                }
            )
        else:
            for problem in problems:
                print_problem(console, problem)
            console.print(
                f"{len(known.commits)} commits, {len(checks)} files, {megabytes(size)}: "
                + (f"{len(problems)} problems" if problems else "all sound"),
                highlight=False,
            )
        if problems:
            raise FailedError(f"run {run!r} is damaged in {len(problems)} places")


@app.command("explain-resume")
def explain_resume(
    run: Annotated[
        str | None,
        typer.Argument(
            help="Name of a run.",
            show_default="what train would take",
            autocompletion=complete_run,
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say which commit a start would load, and why newer ones are passed over.

    Example:

      alphatriangle runs explain-resume first

    Exit codes: 0 done, also when a start would begin a new run; 2 no such run, or no commit is
    sound.
    """
    with reported_errors(debug):
        from alphatriangle.data.commits.loading import load_for_reading
        from alphatriangle.data.path_manager import existing_run
        from alphatriangle.data.runs.summary import has_settings
        from alphatriangle.training.run_plan import TrainRequest, plan_run

        config = persistence(data_dir)
        if run is not None and not has_settings(config, existing_run(config, run).run_name):
            name, is_new = run, False
            facts: dict[str, Any] = {"run": run, "why": f"run {run!r} is of a loop with a Saver"}
        else:
            plan = plan_run(TrainRequest(run_name=run, data_dir=data_dir))
            name, is_new = plan.run_name, plan.is_new
            facts = {"run": name, "why": plan.message}
        if not is_new:
            state = load_for_reading(config, name)
            assert state.commit is not None
            facts |= {
                "commit": state.source,
                "step": state.commit.global_step,
                "created_at": state.commit.created_at,
                "passed_over": [r.model_dump() for r in state.rejected],
                "damaged_recordings": [d.model_dump() for d in state.damaged_recordings],
            }
        if as_json:
            print_json(facts)
            return
        console = console_for(as_json)
        console.print(facts["why"], highlight=False, markup=False, soft_wrap=True)
        if not is_new:
            text = f"commit {facts['commit']} (step {facts['step']}, {facts['created_at']})"
            console.print(text, highlight=False, markup=False, soft_wrap=True)
            for rejected in facts["passed_over"]:
                print_problem(console, f"passed over: {rejected['reason']}")
            for recording in facts["damaged_recordings"]:
                text = f"recorded games are lost: {recording['reason']}"
                print_problem(console, text)


@app.command("compare")
def compare_runs(
    one: Run,
    other: Run,
    step: Annotated[
        int | None,
        typer.Option(min=0, help="Compare the commits of this step.", show_default="newest"),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say where the states of two runs differ: component, tensor, first row, generator.

    It finds what a loop computes from something that is not saved: train a run twice, one of them
    interrupted, and compare.

    Example:

      alphatriangle runs compare first second

    Exit codes: 0 the states are equal; 1 they differ; 2 no such run or commit.
    """
    with reported_errors(debug):
        from alphatriangle.data.commits.loading import load_for_reading
        from alphatriangle.data.runs.compare import compare_states

        config = persistence(data_dir)
        states = (load_for_reading(config, run, step) for run in (one, other))
        differences = compare_states(*states)
        if as_json:
            print_json(
                {"equal": not differences, "differences": [d._asdict() for d in differences]}
            )
        else:
            console = console_for(as_json)
            for difference in differences:
                text = f"{difference.where}: {difference.what}"
                console.print(text, highlight=False, markup=False, soft_wrap=True)
            console.print(f"{len(differences)} differences" if differences else "equal")
        if differences:
            raise typer.Exit(EXIT_FAILED)


@app.command("prune")
def prune_run(
    run: Run,
    keep_last: Annotated[
        int | None, typer.Option(min=1, help="Newest commits to keep.", show_default="1")
    ] = None,
    keep_every_steps: Annotated[
        int | None, typer.Option(min=1, help="Keep commits at multiples of this step.")
    ] = None,
    keep_days: Annotated[
        float | None, typer.Option(min=0.0, help="Keep commits younger than so many days.")
    ] = None,
    replica: Annotated[
        bool,
        typer.Option("--replica", help="Of the copy elsewhere, what no commit there names."),
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Really remove, or only say.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what pruning would free; with --apply, remove it.

    The newest, the best and pinned commits always stay. Safe while the run is training. --apply
    refuses when the newest commit is not sound: an older one may be needed.

    A replica drops commits by itself. What machines that were lost have left there in the middle of
    a commit goes with --replica --apply, a week later, while the run is not training.

    Example:

      alphatriangle runs prune first --keep-last 2 --apply
      alphatriangle runs prune first --replica --apply

    Exit codes: 0 done; 1 the replica is another writer's, or damaged; 2 no such run, its newest
    commit is damaged, or its replica cannot be reached.
    """
    with reported_errors(debug):
        from alphatriangle.data.commits.known import KnownCommits
        from alphatriangle.data.commits.pruning import find_commit, plan_pruning
        from alphatriangle.data.path_manager import existing_run

        config = persistence(data_dir)
        if replica:
            if (keep_last, keep_every_steps, keep_days) != (None, None, None):
                raise UsageError("--replica keeps what the run's settings keep: no --keep-... here")
            prune_replica(run, config, apply=apply, as_json=as_json)
            return
        paths = existing_run(config, run)
        find_commit(paths, None)
        if apply:
            _check_newest(paths, config)
        plan = plan_pruning(
            KnownCommits(paths),
            keep_last=keep_last or 1,
            keep_every_steps=keep_every_steps,
            keep_days=keep_days,
        )
        if apply:
            _prune(paths, plan)
        removed = [s.commit.global_step for s in plan.removed]
        kept = [s.commit.global_step for s in plan.kept]
        if as_json:
            print_json(
                {
                    "run": run,
                    "applied": apply,
                    "removed_steps": removed,
                    "kept_steps": kept,
                    "files": len(plan.files),
                    "freed_bytes": plan.freed_bytes,
                }
            )
            return
        verb = "removed" if apply else "would remove"
        text = (
            f"{verb} {len(removed)} commits and {len(plan.files)} files, "
            f"{megabytes(plan.freed_bytes)}; kept are the steps {', '.join(map(str, kept))}"
        )
        console_for(as_json).print(text, highlight=False, soft_wrap=True)
        if removed and not apply:
            console_for(as_json).print("nothing was removed; --apply does it", highlight=False)


def _check_newest(paths: PathManager, config: PersistenceConfig) -> None:
    # Not at the top: who only looks does not wait for torch.
    from alphatriangle.data.commits.pruning import find_commit
    from alphatriangle.data.commits.soundness import read_sound
    from alphatriangle.data.serializer import Serializer

    newest, serializer = find_commit(paths, None), Serializer(config.allowed_globals)
    read_sound(paths.run, newest.path, newest.commit, serializer, seen=())


def _prune(paths: PathManager, plan: PruningPlan) -> None:
    from alphatriangle.data.commits.files import list_commits
    from alphatriangle.data.commits.pruning import carry_out_pruning
    from alphatriangle.data.elsewhere.mlflow_uploads import read_log, remove_stale_links

    carry_out_pruning(paths, plan)
    remove_stale_links(paths, list_commits(paths), read_log(paths.uploads))


@app.command("pin")
def pin_commit(
    run: Run,
    step: Step = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the pin away.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Pin a commit, so that it is never removed.

    Example:

      alphatriangle runs pin first --step 4000

    Exit codes: 0 done; 2 no such run or commit.
    """
    with reported_errors(debug):
        from alphatriangle.data.commits.pruning import find_commit, set_pin
        from alphatriangle.data.path_manager import existing_run

        paths = existing_run(persistence(data_dir), run)
        commit = find_commit(paths, step).commit
        set_pin(paths, commit.sequence, pinned=not remove)
        if as_json:
            print_json({"run": run, "step": commit.global_step, "pinned": not remove})
            return
        verb = "is no longer pinned" if remove else "is pinned"
        typer.echo(f"step {commit.global_step} of run {run!r} {verb}")


@app.command("fork")
def fork(
    run: Run,
    new_name: Annotated[str, typer.Argument(help="Name of the new run.")],
    step: Step = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a new run from a commit; both share its files by hard links.

    Safe while the run is training.

    Example:

      alphatriangle runs fork first second --step 4000

    Exit codes: 0 done; 2 no such run or commit, or the new name is taken.
    """
    with reported_errors(debug):
        from alphatriangle.data.runs.fork import fork_run

        commit = fork_run(persistence(data_dir), run, new_name, step)
        if as_json:
            print_json({"run": new_name, "from": run, "step": commit.global_step})
            return
        typer.echo(
            f"run {new_name!r} begins at step {commit.global_step} of {run!r}; "
            f"{what_goes_on(new_name, data_dir)} goes on with it"
        )


@app.command("export")
def export(
    run: Run,
    what: Annotated[str, typer.Option(help="weights, replay, buffer or run.")],
    to: Annotated[Path, typer.Option(help="File to write; it must not exist.")],
    step: Step = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a commit, by default the newest sound one, or a part of it.

    weights: safetensors. replay: Parquet. buffer: a buffer.pkl that needs no other file. run: all
    of it as one archive, of which runs restore makes a run again.

    Example:

      alphatriangle runs export first --what weights --to first.safetensors
      alphatriangle runs export first --what run --to first.tar

    Exit codes: 0 done; 2 bad input, or the file cannot be written.
    """
    with reported_errors(debug):
        from alphatriangle.data.commits.files import without
        from alphatriangle.data.commits.loading import load_for_reading
        from alphatriangle.data.path_manager import existing_run
        from alphatriangle.data.runs.archive import write_archive
        from alphatriangle.data.runs.export import export_state

        if what not in ("weights", "replay", "buffer", "run"):
            raise UsageError(f"--what {what}: there are weights, replay, buffer and run")
        config = persistence(data_dir)
        paths = existing_run(config, run)
        state = load_for_reading(config, run, step)
        assert state.commit is not None
        if what == "run":
            digest = write_archive(paths, without(state.commit, state.damaged_recordings), to)
        else:
            digest = export_state(state, what, to)  # type: ignore[arg-type]
        if as_json:
            facts = {"run": run, "step": state.commit.global_step, "what": what, "file": str(to)}
            print_json(facts | {"size": digest.size, "sha256": digest.sha256})
            return
        typer.echo(f"{to}: {megabytes(digest.size)}")


@app.command("restore")
def restore(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="What runs export --what run has written, the URL of a run in a replica, or "
            "mlflow:RUN_ID.",
        ),
    ],
    run_name: Annotated[
        str | None, typer.Option(help="Name of the run to make; its old one if left out.")
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            min=0, help="Step of the commit.", show_default="the newest sound one, or the only one"
        ),
    ] = None,
    weights_only: Annotated[
        bool,
        typer.Option("--weights-only", help="Of a replica: only the weights, as safetensors."),
    ] = False,
    to: Annotated[
        Path | None,
        typer.Option(help="With --weights-only: the file.", show_default="RUN_step_N.safetensors"),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a run of an archive, from a backup or another person, of its replica, or of what MLflow
    was given.

    Every byte is checked, and nothing in it runs code. MLflow is that of MLFLOW_TRACKING_URI, else
    that of the data folder.

    Example:

      alphatriangle runs restore first.tar --run-name theirs
      alphatriangle runs restore s3://bucket/alphatriangle/first --step 4000
      alphatriangle runs restore mlflow:0123456789abcdef0123456789abcdef

    Exit codes: 0 done; 2 nothing there, nothing sound, or the name is taken.
    """
    with reported_errors(debug):
        from alphatriangle.data.elsewhere.mlflow_restore import PREFIX, restore_from_mlflow
        from alphatriangle.data.runs.archive import restore_run
        from alphatriangle.data.stores.addresses import is_address

        if is_address(source):
            if weights_only:
                weights_from_url(source, step, to, data_dir, as_json=as_json)
            else:
                restore_from_url(source, step, run_name, data_dir, as_json=as_json)
            return
        if weights_only:
            raise UsageError("--weights-only is for replicas; runs export writes those of a run")
        config = persistence(data_dir)
        facts: dict[str, Any]
        if source.startswith(PREFIX):
            run_id = source.removeprefix(PREFIX)
            commit, rejected = restore_from_mlflow(config, run_id, run_name, step)
            facts = {"mlflow_run": run_id, "rejected": [r.model_dump() for r in rejected]}
        else:
            if step is not None:
                raise UsageError("--step: an archive holds one commit")
            commit, rejected = restore_run(config, Path(source), run_name), []
            facts = {"file": source}
        if as_json:
            print_json({"run": commit.run_name, **facts, "step": commit.global_step})
            return
        for passed_over in rejected:
            typer.echo(f"passed over {passed_over.path}: {passed_over.reason}")
        typer.echo(
            f"run {commit.run_name!r} begins at step {commit.global_step} of {source}; "
            f"{what_goes_on(commit.run_name, data_dir)} goes on with it"
        )
