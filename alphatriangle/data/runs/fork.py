"""New runs from a commit: of another run, sharing its files, or from elsewhere (see archive.py)."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import list_commits, without, write_commit
from alphatriangle.data.commits.loading import load_newest
from alphatriangle.data.commits.pruning import find_commit
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.errors import DataError, RunExistsError, SaveFailedError
from alphatriangle.data.path_manager import PathManager, existing_run
from alphatriangle.data.records import Commit, CommittedFile, RunInfo
from alphatriangle.data.runs.summary import read_configs, read_run_info
from alphatriangle.data.serializer import Serializer
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.storage.lock import RunLock

logger = logging.getLogger(__name__)


class Origin(NamedTuple):
    """What a new run begins with."""

    run_name: str
    commit: Commit
    info: RunInfo | None
    configs: dict[str, Any] | None


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
    return _fork(config, source, find_commit(source, step).commit, new_name)


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
    return _fork(config, source, state.commit, new_name)


def _fork(config: PersistenceConfig, source: PathManager, commit: Commit, new_name: str) -> Commit:
    origin = Origin(source.run_name, commit, read_run_info(source), read_configs(source))

    def share(file: CommittedFile, target: Path) -> None:
        fs.share(source.run / file.path, target)

    return make_run(config, new_name, origin, share)


def make_run(
    config: PersistenceConfig,
    new_name: str,
    origin: Origin,
    place: Callable[[CommittedFile, Path], None],
) -> Commit:
    """Make run ``new_name`` with one commit; ``place`` puts each of its files under a new name.

    What ``place`` writes must be durable but for the name. A recording of games that it does not
    find (FileNotFoundError) is left out; without any other file there is no run.

    Raises:
        RunExistsError: there is a run of the new name.
        CorruptFileError: a file is not what the commit says.
        SaveFailedError: one is not there, or the disk says no.
    """
    target = PathManager(config, new_name)
    known = list_commits(target)
    if known.commits or known.unreadable:
        raise RunExistsError(f"run {new_name!r} exists; choose another name for the new one")
    # Without a commit it is what somebody has left who was killed, or who has not saved anything.
    is_new = not target.run.exists()
    target.make_folders()
    lock = RunLock(target.run)
    lock.acquire()
    try:
        for file in origin.commit.files:
            path = target.run / file.path
            fs.make_folder(path.parent)
            fs.remove(path)
            try:
                place(file, path)
            except FileNotFoundError:
                if file.kind != "episodes":
                    raise
            disk.sync_folder(path.parent)
        commit = _first_commit(origin.commit, new_name)
        place_of_commit = target.commit(commit.global_step)
        serializer = Serializer(config.allowed_globals)
        state = read_sound(target.run, place_of_commit, commit, serializer, seen=())
        damaged = state.damaged_recordings
        for recording in damaged:
            logger.warning("recorded games are lost: %s", recording.reason)
        commit = without(commit, damaged)
        _describe(target, origin)
        write_commit(target, commit)
        checkpoint = target.run / commit.of_kind("checkpoint")[0].path
        # Beside the files, whose folders are those of the run that they come from.
        fs.point_link(checkpoint.with_name(target.latest_checkpoint.name), checkpoint)
        if commit.best_sequence is not None:
            fs.point_link(checkpoint.with_name(target.best_checkpoint.name), checkpoint)
        for file in commit.of_kind("buffer"):
            buffer = target.run / file.path
            fs.point_link(buffer.with_name(target.latest_buffer.name), buffer)
    except (OSError, DataError) as e:
        lock.release()
        if is_new:
            with contextlib.suppress(OSError):
                fs.remove_tree(target.run)
        if isinstance(e, DataError):
            raise
        raise SaveFailedError(
            f"run {new_name!r} could not be made of {origin.run_name!r}: {e}"
        ) from e
    lock.release()
    return commit


def _first_commit(origin: Commit, new_name: str) -> Commit:
    now = time.time_ns()
    made = {
        "run_name": new_name,
        "sequence": 1,
        "created_ns": now,
        "created_at": datetime.fromtimestamp(now / 1e9, UTC).isoformat(timespec="seconds"),
        "best_sequence": 1 if origin.best_sequence == origin.sequence else None,
    }
    return origin.model_copy(update=made)


# What decides how a run computes stays as it was.
_KEPT = {"inference_dtype", "fused_inference", "training_dtype", "num_threads", "copies"}


def _describe(target: PathManager, origin: Origin) -> None:
    """``run.json`` and ``configs.json`` of the new run."""
    info, step = origin.info, origin.commit.global_step
    steps = info.target_steps if info else max(step, 1)
    kept = info.model_dump(include=_KEPT) if info else {}
    record = RunInfo(
        run_name=target.run_name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        preset=info.preset if info else None,
        target_steps=steps,
        steps_per_round=info.steps_per_round if info else steps,
        **kept,
        started_from=f"{origin.run_name} at step {step}",
    )
    fs.write_bytes(target.run_info, record.model_dump_json(indent=2).encode() + b"\n")
    if origin.configs is not None:
        train = {**origin.configs.get("train", {}), "run_name": target.run_name}
        configs = {**origin.configs, "train": train}
        fs.write_bytes(target.configs, json.dumps(configs, indent=2).encode() + b"\n")
