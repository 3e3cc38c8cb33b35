"""``alphatriangle runs`` on copies elsewhere: replica, push, pull, drill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from alphatriangle.cli.common import (
    AsJson,
    DataDir,
    Debug,
    FailedError,
    Run,
    Step,
    UsageError,
    console_for,
    persistence,
    print_json,
    print_problem,
    reported_errors,
    what_goes_on,
)
from alphatriangle.cli.tables import megabytes
from alphatriangle.utils.invocation import command

if TYPE_CHECKING:
    from alphatriangle.config import PersistenceConfig
    from alphatriangle.data.path_manager import PathManager
    from alphatriangle.data.replica.looking import ReplicaFacts
    from alphatriangle.data.replica.protocol import KeepRules
    from alphatriangle.data.replica.restoring import Restored

Url = Annotated[
    str | None,
    typer.Option("--url", help="Of the replica.", show_default="the one that the run has"),
]


def show_replica(
    run: Run,
    url: Url = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show how the copy of a run elsewhere is: step, lag, epoch and owner, what waits, last error.

    Asks the store; changes nothing. The run may be training meanwhile.

    Example:

      alphatriangle runs replica first

    Exit codes: 0 done; 2 no such run, no replica, or the store cannot be reached.
    """
    with reported_errors(debug):
        from alphatriangle.data.path_manager import existing_run
        from alphatriangle.data.replica.looking import look_at_replica

        paths = existing_run(persistence(data_dir), run)
        facts = look_at_replica(paths, url or _url_of(paths))
        if as_json:
            print_json(_as_dict(run, facts))
            return
        console = console_for(as_json)
        for name, text in _lines(facts).items():
            console.print(f"{name:<13} {text}", highlight=False, markup=False, soft_wrap=True)
        for passed in facts.unreadable:
            text = f"unreadable    commit {passed.position}: {passed.reason}"
            print_problem(console, text)


def push_run(
    run: Run,
    url: Annotated[str, typer.Argument(help="Of a bucket or folder: s3://bucket/folder.")],
    anew: Annotated[
        bool, typer.Option("--anew", help="Begin again where it was emptied on purpose.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Hand over once, without training, what a replica lacks of a run.

    The run must not be training: whatever trains with persistence.replica does it by itself.

    Example:

      alphatriangle runs push first s3://bucket/alphatriangle

    Exit codes: 0 done; 1 the replica is another writer's; 2 no such run, or the store cannot be
    reached.
    """
    with reported_errors(debug):
        from alphatriangle.data.errors import FencedError
        from alphatriangle.data.path_manager import existing_run
        from alphatriangle.data.replica.once import push

        config = persistence(data_dir)
        rules = _keep_rules(existing_run(config, run), config)
        try:
            state = push(config, run, url, rules, anew=anew)
        except FencedError as e:
            raise FailedError(str(e)) from e
        assert state.acknowledged is not None
        step = state.acknowledged.step
        if as_json:
            print_json({"run": run, "url": url, "step": step, "epoch": state.epoch})
            return
        typer.echo(f"{url} has run {run!r} up to step {step}")


def pull_run(
    url: Annotated[str, typer.Argument(help="Of a run: s3://bucket/folder/first.")],
    step: Step = None,
    run_name: Annotated[
        str | None, typer.Option(help="Name of the run to make; its own if left out.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make a run here of its replica, every byte checked: what runs restore does with a URL.

    Under its own name it is the same run, which may go on being replicated; under another it is a
    new one.

    Example:

      alphatriangle runs pull s3://bucket/alphatriangle/first

    Exit codes: 0 done; 2 no run there, none of its commits is sound, the store cannot be reached,
    or the name is taken here.
    """
    with reported_errors(debug):
        restore_from_url(url, step, run_name, data_dir, as_json=as_json)


def prune_replica(run: str, config: PersistenceConfig, *, apply: bool, as_json: bool) -> None:
    """Say what a replica holds that no commit of it names, or remove it, and say so."""
    from alphatriangle.data.errors import FencedError
    from alphatriangle.data.path_manager import existing_run
    from alphatriangle.data.replica.once import look_for_orphans, sweep

    paths = existing_run(config, run)
    url = _url_of(paths)
    try:
        if apply:
            found = sweep(config, run, url, _keep_rules(paths, config))
        else:
            found = look_for_orphans(config, run, url)
    except FencedError as e:
        raise FailedError(str(e)) from e
    if found.missing:
        raise FailedError(
            f"nothing was removed: {url} lacks {len(found.missing)} objects that it needs; "
            f"{command('runs', 'verify', run, '--replica')} says which"
        )
    count, size = len(found.objects), found.size
    if as_json:
        print_json({"run": run, "replica": url, "applied": apply, "objects": count, "bytes": size})
        return
    verb = "removed" if apply else "would remove"
    typer.echo(f"{url}: {verb} {count} objects that no commit names, {megabytes(size)}")
    if count and not apply:
        typer.echo("nothing was removed; --apply does it")


def drill_run(
    run: Run,
    url: Url = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Folder to restore below.", show_default="where temporary files go"),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Restore the replica of a run to another place as after the loss of this machine, compare its
    state with the one here, say how long it took, and remove it again.

    Example:

      alphatriangle runs drill first

    Exit codes: 0 restored, and the same where it could be compared; 1 it is another state; 2 it
    cannot be restored.
    """
    with reported_errors(debug):
        from alphatriangle.data.path_manager import existing_run
        from alphatriangle.data.replica.drill import drill

        config = persistence(data_dir)
        if to is not None and not to.is_dir():
            raise UsageError(f"--to {to}: there is no such folder")
        found = drill(config, run, url or _url_of(existing_run(config, run)), to)
        if as_json:
            rejected = [r.model_dump() for r in found.rejected]
            print_json({"run": run, **found._asdict(), "rejected": rejected, "same": found.is_same})
        else:
            _tell_drill(console_for(as_json), found)
        if found.is_same is False:
            raise FailedError(
                f"step {found.step} of run {run!r} is another state in the replica than here"
            )


def _tell_drill(console: Console, found: Any) -> None:
    speed = found.bytes_downloaded / 2**20 / max(found.seconds, 1e-9)
    same = {
        True: "the same as here",
        False: "NOT that of here",
        None: "nothing here to compare it with: that step is not kept",
    }[found.is_same]
    lines = {
        "restored": f"step {found.step}, {megabytes(found.bytes_downloaded)} in "
        f"{found.seconds:.1f} s ({speed:.0f} MiB/s), every byte checked and read",
        "state digest": f"{found.state_digest}, {same}",
    }
    for name, text in lines.items():
        console.print(f"{name:<13} {text}", highlight=False, markup=False, soft_wrap=True)
    for rejected in found.rejected:
        print_problem(console, f"passed over   {rejected.path}: {rejected.reason}")


def restore_from_url(
    url: str, step: int | None, run_name: str | None, data_dir: Path | None, *, as_json: bool
) -> None:
    """Restore a run from a replica, and say so."""
    from alphatriangle.data.replica.restoring import restore_replica
    from alphatriangle.data.stores.addresses import open_store, split_run_url

    store, name = split_run_url(url)
    restored = restore_replica(
        persistence(data_dir), open_store(store), name, new_name=run_name, step=step
    )
    made = run_name or name
    if as_json:
        print_json({"run": made, "from": url, **_restored_facts(restored)})
        return
    console = console_for(as_json)
    for rejected in restored.rejected:
        text = f"passed over {rejected.path}: {rejected.reason}"
        print_problem(console, text)
    for file in restored.damaged:
        text = f"lost, but no part of the training state: {file.path}: {file.reason}"
        print_problem(console, text)
    text = (
        f"run {made!r} is here at step {restored.commit.global_step} "
        f"({megabytes(restored.bytes_downloaded)}); "
    )
    if restored.newer and made == name:
        text += (
            f"the replica has {restored.newer} newer commits, so that under this name it cannot "
            f"go on being replicated there: {command('runs', 'fork', made, 'NEW')} makes a run "
            "that can"
        )
    else:
        text += f"{what_goes_on(made, data_dir)} goes on with it"
    typer.echo(text)


def weights_from_url(
    url: str, step: int | None, to: Path | None, data_dir: Path | None, *, as_json: bool
) -> None:
    """Write the weights of a run in a replica to a file, and say so."""
    from alphatriangle.data.replica.restoring import restore_weights
    from alphatriangle.data.stores.addresses import open_store, split_run_url

    store, name = split_run_url(url)
    written = restore_weights(persistence(data_dir), open_store(store), name, to, step=step)
    if as_json:
        rejected = [r.model_dump() for r in written.rejected]
        facts = {"step": written.step, "file": str(written.path), "rejected": rejected}
        print_json({"from": url, **facts})
        return
    for passed_over in written.rejected:
        typer.echo(f"passed over {passed_over.path}: {passed_over.reason}")
    typer.echo(f"{written.path}: weights of step {written.step}, {megabytes(written.size)}")


def _restored_facts(restored: Restored) -> dict[str, Any]:
    return {
        "step": restored.commit.global_step,
        "bytes_downloaded": restored.bytes_downloaded,
        "rejected": [r.model_dump() for r in restored.rejected],
        "damaged": [d.model_dump() for d in restored.damaged],
    }


def _url_of(paths: PathManager) -> str:
    """Where the replica of a run is: as it was last, or as its settings say.

    Raises:
        UsageError: it has none.
    """
    from alphatriangle.data.replica.state import read_any_state
    from alphatriangle.data.runs.summary import read_configs

    state = read_any_state(paths.replica_state)
    if state is not None:
        return state.url
    settings = (read_configs(paths) or {}).get("persistence", {})
    if isinstance(url := settings.get("replica"), str):
        return url
    name = paths.run_name
    raise UsageError(
        f"run {name!r} has no replica: train it with --set persistence.replica=URL, hand it over "
        f"once with {command('runs', 'push', name, 'URL')}, or name one with --url"
    )


def _keep_rules(paths: PathManager, config: PersistenceConfig) -> KeepRules:
    """What the run itself keeps."""
    from alphatriangle.config import build
    from alphatriangle.data.replica.protocol import KeepRules
    from alphatriangle.data.runs.summary import read_configs

    saved = (read_configs(paths) or {}).get("persistence")
    own = config if saved is None else build({"persistence": saved}).persistence
    return KeepRules.of(own)


def _lines(facts: ReplicaFacts) -> dict[str, str]:
    there = facts.newest_there
    lines = {"replica": facts.url}
    if there is None:
        lines["there"] = "no commit"
    else:
        newest = there.newest
        kept = "" if len(there.holds) == 1 else f", {len(there.holds)} commits kept"
        lines["there"] = f"step {newest.step:,} (commit {there.position}{kept})"
    here = facts.newest_here
    lines["here"] = "no commit" if here is None else f"step {here.commit.global_step:,}"
    if facts.is_ahead:
        lines["behind"] = "no: it is ahead of this folder, another machine has trained the run"
    elif there is None or here is None:
        lines["behind"] = "-" if here is None else "everything"
    else:
        lines["behind"] = (
            f"{facts.seconds_behind:.0f} s of training, {megabytes(facts.waiting_bytes)}"
            if facts.seconds_behind
            else "nothing"
        )
    owner = "nobody" if facts.epoch == 0 else "unreadable"
    if facts.owner is not None:
        o = facts.owner
        owner = f"process {o.pid} on {o.host}, since {o.created_at}"
    lines["epoch"] = f"{facts.epoch}, {owner}"
    if facts.here.acknowledged is not None:
        last = facts.here.acknowledged
        lines["acknowledged"] = f"step {last.step:,} at {last.at}"
    if facts.here.error is not None:
        lines["last error"] = f"{facts.here.error} (since {facts.here.error_since})"
    return lines


def _as_dict(run: str, facts: ReplicaFacts) -> dict[str, Any]:
    there, here = facts.newest_there, facts.newest_here
    return {
        "run": run,
        "url": facts.url,
        "step": None if there is None else there.newest.step,
        "step_here": None if here is None else here.commit.global_step,
        "is_ahead": facts.is_ahead,
        "seconds_behind": None if there is None else facts.seconds_behind,
        "waiting_bytes": facts.waiting_bytes,
        "commits": 0 if there is None else len(there.holds),
        "epoch": facts.epoch,
        "owner": None if facts.owner is None else facts.owner.model_dump(),
        "acknowledged": None
        if facts.here.acknowledged is None
        else facts.here.acknowledged.model_dump(),
        "error": facts.here.error,
        "error_since": facts.here.error_since,
        "unreadable": [p.reason for p in facts.unreadable],
    }


def verify_replica_of(
    paths: PathManager, url: str | None, read_data: str | None, *, as_json: bool
) -> None:
    """Check the replica of a run, and say so."""
    from alphatriangle.data.replica.looking import verify_elsewhere

    where, run = url or _url_of(paths), paths.run_name
    found = verify_elsewhere(paths, where, 1.0 if read_data is None else _share(read_data))
    problems = [damage.reason for damage in found.damaged]
    if as_json:
        facts = {"commits": found.commits, "objects": found.objects, "bytes_read": found.bytes_read}
        print_json({"run": run, "replica": where, **facts, "problems": problems})
    else:
        console = console_for(as_json)
        for problem in problems:
            print_problem(console, problem)
        console.print(
            f"{where}: {found.commits} commits, {found.objects} objects, "
            f"{megabytes(found.bytes_read)} read: "
            + (f"{len(problems)} problems" if problems else "all sound"),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if problems:
        raise FailedError(
            f"the replica of run {run!r} is damaged in {len(problems)} places; what the run still "
            f"has here is put again when it is trained, or by {command('runs', 'push', run, where)}"
        )


def _share(text: str) -> float:
    """``5%`` or ``0.05``.

    Raises:
        UsageError: it is neither.
    """
    number, is_percent = text.removesuffix("%"), text.endswith("%")
    try:
        share = float(number) / (100 if is_percent else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"--read-data {text}: a share of the bytes is meant, such as 5% or 0.05")
    return share


def replica_in_list(paths: PathManager) -> str | None:
    """Which step the replica has, from what the folder remembers; None without a replica."""
    from alphatriangle.data.replica.state import read_any_state

    state = read_any_state(paths.replica_state)
    if state is None:
        return None
    step = "no commit" if state.acknowledged is None else f"step {state.acknowledged.step}"
    return f"{step}, stuck" if state.error else step
