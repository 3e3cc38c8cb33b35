"""Removing commits that are not to be kept, and the files that only they name.

Safe beside a training process: the newest commit always stays, a new one builds on files of the
newest alone, and files that no commit names (perhaps of a save in flight) are not touched.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from alphatriangle.data.commits.files import (
    StoredCommit,
    best_commit,
    list_commits,
    of_step,
)
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.retention import CommitFacts, sequences_to_delete
from alphatriangle.data.errors import (
    CommitNotFoundError,
    CorruptCommitError,
    CorruptPinsError,
    SaveFailedError,
)
from alphatriangle.data.json_files import read_json_if_any
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Pins, RejectedCommit
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.storage.failpoints import failpoint

_DAY_NS = 86_400 * 10**9


class PruningPlan(NamedTuple):
    """What pruning would do."""

    kept: list[StoredCommit]  # newest first
    removed: list[StoredCommit]  # newest first
    files: list[str]  # relative to the run, named by removed commits only
    freed_bytes: int
    unreadable: list[RejectedCommit]  # commits that nobody knows anything of, which stay


def read_pins(paths: PathManager) -> set[int]:
    """Sequence numbers of the pinned commits.

    Raises:
        CorruptPinsError: the file is damaged: nobody knows what may be removed.
    """
    pins = read_json_if_any(paths.pins, Pins, CorruptPinsError)
    return set() if pins is None else set(pins.sequences)


def set_pin(paths: PathManager, sequence: int, *, pinned: bool) -> None:
    """Pin a commit, or take its pin away.

    Raises:
        CorruptPinsError: the present pins cannot be read.
        SaveFailedError: the new ones cannot be written.
    """
    pins = read_pins(paths)
    pins = pins | {sequence} if pinned else pins - {sequence}
    record = Pins(sequences=sorted(pins))
    try:
        fs.write_bytes(paths.pins, record.model_dump_json().encode() + b"\n")
    except OSError as e:
        raise SaveFailedError(f"cannot write {paths.pins}: {e.strerror}") from e


def find_commit(paths: PathManager, step: int | None) -> StoredCommit:
    """The newest commit of a step; the newest of all without one.

    Raises:
        CommitNotFoundError: there is none.
        CorruptCommitError: the newest is asked for, and one that cannot be read may be it.
    """
    known = list_commits(paths)
    if step is not None:
        return of_step(known, paths.run_name, step).commits[0]
    for rejected in known.unreadable:
        raise CorruptCommitError(
            Path(rejected.path),
            f"it may be the newest commit; choose one by its step ({rejected.reason})",
        )
    if not known.commits:
        raise CommitNotFoundError(f"run {paths.run_name!r} has no commit yet")
    return known.commits[0]


def plan_pruning(
    run: KnownCommits,
    *,
    keep_last: int,
    keep_every_steps: int | None = None,
    keep_days: float | None = None,
    held: Collection[int] = (),
) -> PruningPlan:
    """What the rules would remove. Nothing is touched; commits of the steps ``held`` stay as well.

    Raises:
        CorruptPinsError: the pins cannot be read.
    """
    known, paths = run.look(), run.paths
    best = best_commit(known.commits)
    pinned = read_pins(paths)
    if held:
        pinned |= {s.commit.sequence for s in known.commits if s.commit.global_step in held}
    doomed = sequences_to_delete(
        _facts(known.commits, keep_last, keep_every_steps, best),
        keep_last=keep_last,
        keep_every_steps=keep_every_steps,
        pinned=pinned,
        keep_newer_than_ns=None if keep_days is None else time.time_ns() - int(keep_days * _DAY_NS),
    )
    # Between a commit and its links they still lead to the one before: it stays until they move.
    linked = _link_targets(paths)
    removed = [
        s
        for s in known.commits
        if s.commit.sequence in doomed and not linked & {f.path for f in s.commit.files}
    ]
    leaving = {s.commit.sequence for s in removed}
    kept = [s for s in known.commits if s.commit.sequence not in leaving]
    # An unreadable commit may name any of them.
    files = [] if known.unreadable else run.named_by_these_alone(removed)
    sizes = {f.path: f.size for s in removed for f in s.commit.files}
    freed = sum(sizes[path] for path in files)
    return PruningPlan(kept, removed, files, freed, known.unreadable)


def _facts(
    commits: list[StoredCommit],
    keep_last: int,
    keep_every_steps: int | None,
    best: StoredCommit | None,
) -> list[CommitFacts]:
    """What retention has to look at: not the thousands that their steps keep for good."""
    every = keep_every_steps or 0
    return [
        CommitFacts(s.commit.sequence, s.commit.global_step, s is best, s.commit.created_ns)
        for i, s in enumerate(commits)
        if i < keep_last or not every or s.commit.global_step % every or not s.commit.global_step
    ]


def _link_targets(paths: PathManager) -> set[str]:
    """The files that ``latest.pkl``, ``best.pkl`` and ``buffer.pkl`` lead to now."""
    targets = set()
    for link in (paths.latest_checkpoint, paths.best_checkpoint, paths.latest_buffer):
        with contextlib.suppress(OSError):
            targets.add(paths.relative(link.with_name(link.readlink().name)))
    return targets


def carry_out_pruning(paths: PathManager, plan: PruningPlan) -> None:
    """Remove the commits first, durably, then their files: a crash leaves garbage, no damage.

    Raises:
        OSError: something could not be removed; running it again goes on.
    """
    if not plan.removed:
        return
    for stored in plan.removed:
        fs.remove(stored.path)
    disk.sync_folder(paths.commits)
    failpoint("retention.commits")
    for path in plan.files:
        fs.remove(paths.run / Path(path))
        failpoint("retention.file")
