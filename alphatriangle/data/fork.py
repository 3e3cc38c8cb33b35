"""A new run from a commit of another, sharing its files by hard links."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime
from pathlib import Path

from alphatriangle.config import PersistenceConfig
from alphatriangle.data import fs
from alphatriangle.data.commits import list_commits, verify_commit, without, write_commit
from alphatriangle.data.disk import disk
from alphatriangle.data.errors import CorruptFileError, DataError, RunExistsError, SaveFailedError
from alphatriangle.data.loading import load_newest
from alphatriangle.data.lock import RunLock
from alphatriangle.data.path_manager import PathManager, existing_run
from alphatriangle.data.pruning import find_commit
from alphatriangle.data.runs import read_run_info
from alphatriangle.data.schemas import Commit, RunInfo
from alphatriangle.data.serializer import Serializer


def fork_run(
    config: PersistenceConfig, run_name: str, new_name: str, step: int | None = None
) -> Commit:
    """Make run ``new_name`` with one commit: that of ``step`` of ``run_name``, else its newest.

    Files are immutable, so both runs share them by hard link where the file system can, and neither
    notices what the other removes. Every byte is checked in its new place before the commit is
    written. The source may be training meanwhile.

    Raises:
        RunExistsError: there is a run of the new name.
        DataError: the source or the commit is not there, not sound, or was removed meanwhile.
    """
    source = existing_run(config, run_name)
    return fork_commit(config, source, find_commit(source, step).commit, new_name)


def fork_newest(
    config: PersistenceConfig, run_name: str, new_name: str, serializer: Serializer
) -> Commit:
    """:func:`fork_run` from the newest sound commit, as a resume would choose it.

    Raises:
        RunExistsError: there is a run of the new name.
        DataError: the source is not there, or has no sound commit.
    """
    source = existing_run(config, run_name)
    state = load_newest(source, list_commits(source), serializer)
    assert state.commit is not None
    return fork_commit(config, source, state.commit, new_name)


def fork_commit(
    config: PersistenceConfig, source: PathManager, origin: Commit, new_name: str
) -> Commit:
    """:func:`fork_run` for a commit that has been chosen.

    Raises:
        RunExistsError: there is a run of the new name.
        DataError: a file of the commit is not there, not sound, or was removed meanwhile.
    """
    target = PathManager(config, new_name)
    if target.run_info.exists() or list_commits(target).commits:
        raise RunExistsError(f"run {new_name!r} exists; choose another name for the fork")
    target.make_folders()
    lock = RunLock(target)
    lock.acquire()
    try:
        for file in origin.files:
            if file.kind == "episodes" and not (source.run / file.path).exists():
                continue
            _share(source.run / file.path, target.run / file.path)
        now = time.time_ns()
        made = {
            "run_name": new_name,
            "sequence": 1,
            "created_ns": now,
            "created_at": datetime.fromtimestamp(now / 1e9, UTC).isoformat(timespec="seconds"),
            "best_sequence": 1 if origin.best_sequence == origin.sequence else None,
        }
        commit = origin.model_copy(update=made)
        commit = without(commit, verify_commit(target.run, commit))
        _describe(source, target, commit)
        write_commit(target, commit)
        checkpoint = target.run / commit.of_kind("checkpoint")[0].path
        fs.point_link(target.latest_checkpoint, checkpoint)
        if commit.best_sequence is not None:
            fs.point_link(target.best_checkpoint, checkpoint)
        for file in commit.of_kind("buffer"):
            fs.point_link(target.latest_buffer, target.run / file.path)
    except (OSError, CorruptFileError) as e:
        lock.release()
        with contextlib.suppress(OSError):
            fs.remove_tree(target.run)
        if isinstance(e, DataError):
            raise
        raise SaveFailedError(f"run {source.run_name!r} could not be forked: {e}") from e
    lock.release()
    return commit


def _share(source: Path, target: Path) -> None:
    fs.make_folder(target.parent)
    # Left by a fork that was killed: no commit names it.
    fs.remove(target)
    fs.share(source, target)
    disk.sync_folder(target.parent)


# What decides how a run computes stays as it was.
_KEPT = {"inference_dtype", "fused_inference", "training_dtype", "num_threads"}


def _describe(source: PathManager, target: PathManager, commit: Commit) -> None:
    """``run.json`` and ``configs.json`` of the new run."""
    info = read_run_info(source)
    steps = info.target_steps if info else max(commit.global_step, 1)
    kept = info.model_dump(include=_KEPT) if info else {}
    record = RunInfo(
        run_name=target.run_name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        preset=info.preset if info else None,
        target_steps=steps,
        steps_per_round=info.steps_per_round if info else steps,
        **kept,
        started_from=f"{source.run_name} at step {commit.global_step}",
    )
    fs.write_bytes(target.run_info, record.model_dump_json(indent=2).encode() + b"\n")
    if source.configs.exists():
        configs = json.loads(source.configs.read_bytes())
        configs.setdefault("train", {})["run_name"] = target.run_name
        fs.write_bytes(target.configs, json.dumps(configs, indent=2).encode() + b"\n")
