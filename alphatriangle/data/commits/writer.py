"""From a captured state to a commit: the one place that knows the order of writes.

    segment of the new rows -> buffer file -> checkpoint -> episodes -> read back -> COMMIT
    -> read back -> links -> retention -> note of the newest -> merge small files for the next one

Up to the commit nothing exists that a reader would look at; after it, nothing can be lost.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.capture import Capture
from alphatriangle.data.commits.files import (
    CommitList,
    StoredCommit,
    best_commit,
    read_commit,
    write_commit,
)
from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.commits.newest import NewestNote
from alphatriangle.data.commits.pruning import carry_out_pruning, plan_pruning
from alphatriangle.data.commits.soundness import read_sound
from alphatriangle.data.errors import (
    CorruptBufferError,
    CorruptCommitError,
    CorruptFileError,
    DataError,
    FileUnavailableError,
    SaveFailedError,
    StateNotFiniteError,
)
from alphatriangle.data.path_manager import unused
from alphatriangle.data.records import Commit, CommittedFile, FileKind
from alphatriangle.data.replay.compaction import LARGEST_RECORDING, segments_to_merge
from alphatriangle.data.replay.recordings import merge_episodes, write_episodes
from alphatriangle.data.replay.segments import (
    RowsKind,
    SegmentRef,
    merge_segments,
    write_segment,
)
from alphatriangle.data.replay.source import CapturedReplay
from alphatriangle.data.serializer import Serializer, buffer_record
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.background import Background
from alphatriangle.data.storage.digests import FileDigest, fastest
from alphatriangle.data.storage.failpoints import failpoint
from alphatriangle.data.storage.pace import Pace
from alphatriangle.utils.columns import row_count
from alphatriangle.utils.finite import first_not_finite

logger = logging.getLogger(__name__)

_FREE_SPACE_MARGIN = 16 << 20
# What makes a save impossible: the disk, or state that cannot be pickled.
_CANNOT_WRITE = (
    OSError,
    DataError,
    pickle.PicklingError,
    TypeError,
    ValueError,
    MemoryError,
)


@dataclass
class SaveReport:
    """What a finished save says of itself."""

    commit: Commit
    seconds: float
    bytes_written: int


class CommitWriter:
    """Writes captures in the background, one at a time."""

    def __init__(
        self,
        run: KnownCommits,
        config: PersistenceConfig,
        serializer: Serializer,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_commit`` is called after each commit, on the thread that writes."""
        self._on_commit = on_commit
        self._run = run
        self._paths = run.paths
        self._config = config
        self._serializer = serializer
        self._pace = Pace()
        self._background = Background(self._write_paced, "commit-writer")
        self._newest = NewestNote(run.paths)
        # Of the newest commit there; found out by the first save, which looks at all of them.
        self._sequence: int | None = None
        self._committed: Commit | None = None
        # What the next commit builds on: the files of the last one, perhaps merged.
        self._segments: list[CommittedFile] = []
        self._recordings: list[CommittedFile] = []
        self._lineage: str | None = None
        self._kind: RowsKind | None = None
        self._linked_best: int | None = None
        # Files of the save that is being written.
        self._written: list[Path] = []

    def rows_written(self, lineage: str) -> int:
        """The number of the first row that is in no segment yet; 0 for a buffer never seen."""
        if lineage != self._lineage or not self._segments:
            return 0
        return self._segments[-1].end or 0

    def rows_of(self, lineage: str) -> RowsKind | None:
        """What the rows of this lineage are; None while nothing is known of it."""
        return self._kind if lineage == self._lineage else None

    def continue_from(self, commit: Commit, lineage: str | None, kind: RowsKind | None) -> None:
        """Build on a commit of this run that has been loaded, and on the rows of its buffer."""
        self._committed = commit
        self._segments = commit.of_kind("segment")
        self._recordings = commit.of_kind("episodes")
        self._lineage, self._kind = lineage, kind

    def start(self, capture: Capture) -> None:
        """Begin to write; the one before must have been collected."""
        self._pace.begin()
        self._background.start(capture)

    def collect(self, *, wait: bool) -> SaveReport | None:
        """The report of the save in flight when it is done, or after waiting for it.

        Raises:
            SaveFailedError: it failed; nothing that was committed has changed.
        """
        if wait:
            self._pace.hurry()
        return self._background.collect(wait=wait)

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._pace.hurry()
        self._background.close()

    def _look_around(self) -> None:
        """What a writer has to know of a run before its first save there.

        Raises:
            SaveFailedError: the commits cannot be read now.
        """
        try:
            known = self._run.look()
        except FileUnavailableError as e:
            raise SaveFailedError(f"nothing was saved in {self._paths.run}: {e}") from e
        try:
            self._remove_garbage(known)
        except OSError as e:
            logger.warning("what a killed save has left in %s stays: %s", self._paths.run, e)
        # Unreadable commits may have had any sequence; starting above their number keeps order.
        newest = known.commits[0].commit.sequence if known.commits else 0
        self._sequence = newest + len(known.unreadable)

    def _remove_garbage(self, known: CommitList) -> None:
        """Remove files that no commit names, left by saves that did not become commits.

        Skipped while some commit cannot be read: nobody knows what it names.
        """
        if known.unreadable:
            return
        named = {f.path for stored in known.commits for f in stored.commit.files}
        paths = self._paths
        links = (paths.latest_checkpoint, paths.best_checkpoint, paths.latest_buffer)
        for folder in (
            self._paths.checkpoints,
            self._paths.buffers,
            self._paths.segments,
            self._paths.episodes,
            self._paths.commits,
        ):
            for path in folder.iterdir():
                temporary = path.name.startswith(".") and path.name.endswith(fs.TEMPORARY_SUFFIX)
                orphan = (
                    folder != self._paths.commits
                    and path.suffix in (".pkl", ".arrow")
                    and not path.is_symlink()
                    and path not in links
                    and self._paths.relative(path) not in named
                )
                if path.is_file() and (temporary or orphan):
                    fs.remove(path)

    def _write_paced(self, capture: Capture) -> SaveReport:
        with self._pace:
            return self._write(capture)

    def _write(self, capture: Capture) -> SaveReport:
        started = time.perf_counter()
        step = capture.global_step
        if self._sequence is None:
            self._look_around()
        self._check_finite(capture)
        self._check_space(capture)
        self._written = []
        stored = None
        try:
            commit = self._write_files(capture)
            self._read_back(commit)
            self._newest.before_commit(step)
            failpoint("commit.before")
            stored = write_commit(self._paths, commit)
            failpoint("commit.after")
            if read_commit(stored.path) != commit:
                raise CorruptCommitError(stored.path, "it is not what was written")
            self._run.add(stored)
            failpoint("commit.read-back")
        except _CANNOT_WRITE as e:
            self._undo(stored)
            reason = e.strerror or e if isinstance(e, OSError) else f"{type(e).__name__}: {e}"
            raise SaveFailedError(
                f"the state of step {step} could not be saved in {self._paths.run}: "
                f"{reason}; the commits before it are intact"
            ) from e
        self._on_commit()
        written = sum(f.size for f in self._new_files(stored.commit))
        if (replay := capture.replay) is None:
            self.continue_from(stored.commit, None, None)
        else:
            self.continue_from(stored.commit, replay.counters["lineage"], replay.kind)
        try:
            self._point_links(stored.commit)
            left = self._apply_retention(capture.held)
            self._newest.after_commit(left)
            failpoint("newest.noted")
            self._merge_small_files(step)
        except (OSError, CorruptFileError, FileUnavailableError) as e:
            # Conveniences: the commit is sound without them, and the next save tries again.
            logger.warning("step %d is saved, but: %s", step, e)
        return SaveReport(stored.commit, time.perf_counter() - started, written)

    def _undo(self, stored: StoredCommit | None) -> None:
        """Remove what a failed save has written: on a full disk it would be in its own way.

        What was merged for it may be why it failed: the next one builds on what is committed.
        """
        if self._committed is not None:
            self._segments = self._committed.of_kind("segment")
            self._recordings = self._committed.of_kind("episodes")
        with contextlib.suppress(OSError):
            if stored is not None:
                fs.remove(stored.path)
            for path in self._written:
                fs.remove(path)

    def _new_files(self, commit: Commit) -> list[CommittedFile]:
        before = set() if self._committed is None else {f.path for f in self._committed.files}
        return [f for f in commit.files if f.path not in before]

    def _read_back(self, commit: Commit) -> None:
        """What a start could not load must not become a commit, nor anything older go for it."""
        known = [] if self._committed is None else self._committed.files
        path = self._paths.commit(commit.global_step)
        seen = {file.path for file in known}
        lost = read_sound(self._paths.run, path, commit, self._serializer, seen=seen)
        for recording in lost.damaged_recordings:
            raise CorruptBufferError(self._paths.run / recording.path, recording.reason)

    def _check_finite(self, capture: Capture) -> None:
        if capture.allow_not_finite:
            return
        for name in ("model_state_dict", "optimizer_state_dict"):
            place = first_not_finite(capture.fields[name], name)
            if place is not None:
                raise StateNotFiniteError(
                    f"the state of step {capture.global_step} was not saved in {self._paths.run}: "
                    f"{place} is not finite; the commits before it are intact"
                )

    def _check_space(self, capture: Capture) -> None:
        needed = capture.nbytes + _FREE_SPACE_MARGIN
        free = shutil.disk_usage(self._paths.run).free
        if free < needed:
            raise SaveFailedError(
                f"the state of step {capture.global_step} was not saved: "
                f"{self._paths.run} has {free >> 20} MiB free, a save needs up to "
                f"{needed >> 20} MiB; free some space, training goes on and will try again"
            )

    def _write_files(self, capture: Capture) -> Commit:
        checkpoint, step = capture.checkpoint(), capture.global_step
        files: list[CommittedFile] = []
        if capture.replay is not None:
            files += self._write_buffer(capture.replay, step)
        path = unused(self._paths.checkpoint(step))
        digest = self._serializer.save_checkpoint(checkpoint, path)
        failpoint("write.checkpoint")
        files.append(self._file(path, "checkpoint", digest))
        files += self._recordings
        if capture.episodes:
            path = unused(self._paths.episodes_file(step))
            digest = write_episodes(path, capture.episodes)
            failpoint("write.episodes")
            files.append(self._file(path, "episodes", digest))
        now = time.time_ns()
        assert self._sequence is not None, "looked around before"
        self._sequence += 1
        return Commit(
            format_version=2,
            run_name=self._paths.run_name,
            sequence=self._sequence,
            global_step=step,
            created_at=datetime.fromtimestamp(now / 1e9, UTC).isoformat(timespec="seconds"),
            created_ns=now,
            episodes_played=checkpoint.episodes_played,
            total_simulations_run=checkpoint.total_simulations_run,
            is_best=checkpoint.is_best,
            best_sequence=self._sequence if checkpoint.is_best else capture.best_sequence,
            metrics=capture.metrics,
            versions=checkpoint.versions,
            files=files,
        )

    def _write_buffer(self, replay: CapturedReplay, step: int) -> list[CommittedFile]:
        oldest = replay.counters["oldest"]
        known = self._segments if replay.counters["lineage"] == self._lineage else []
        segments = [f for f in known if (f.end or 0) > oldest]
        if (count := row_count(replay.new_rows)) > 0:
            first, end = replay.first_new_row, replay.first_new_row + count
            path = unused(self._paths.segment(first, end - 1))
            digest = write_segment(path, replay.new_rows, first, replay.kind.codec_name)
            failpoint("write.segment")
            segments.append(self._file(path, "segment", digest, first, end))
        record = buffer_record(replay, self._paths.segments, _references(segments))
        path = unused(self._paths.buffer(step))
        digest = self._serializer.save_buffer(record, path)
        failpoint("write.buffer")
        return [*segments, self._file(path, "buffer", digest)]

    def _merge_small_files(self, step: int) -> None:
        """Keep the number of segments and recordings bounded, for the next commit.

        The commits there are keep the files they name.
        """
        while True:
            sizes = [(f.end or 0) - (f.first or 0) for f in self._segments]
            window = segments_to_merge(sizes)
            if window is None:
                break
            parts = self._segments[window.start : window.stop]
            first, end = parts[0].first or 0, parts[-1].end or 0
            path = unused(self._paths.segment(first, end - 1))
            digest = merge_segments(path, self._paths.segments, _references(parts))
            failpoint("merge.segment")
            merged = self._file(path, "segment", digest, first, end)
            self._segments[window.start : window.stop] = [merged]
        while True:
            sizes = [f.size for f in self._recordings]
            window = segments_to_merge(sizes, LARGEST_RECORDING)
            if window is None:
                break
            parts = self._recordings[window.start : window.stop]
            path = unused(self._paths.merged_episodes_file(step))
            sources = [(self._paths.run / f.path, fastest(f.sha256, f.xxh3)) for f in parts]
            digest = merge_episodes(path, sources)
            failpoint("merge.episodes")
            merged = self._file(path, "episodes", digest)
            self._recordings[window.start : window.stop] = [merged]

    def _file(
        self,
        path: Path,
        kind: FileKind,
        digest: FileDigest,
        first: int | None = None,
        end: int | None = None,
    ) -> CommittedFile:
        self._written.append(path)
        return CommittedFile(
            path=self._paths.relative(path),
            kind=kind,
            size=digest.size,
            sha256=digest.sha256,
            xxh3=digest.xxh3,
            first=first,
            end=end,
        )

    def _point_links(self, commit: Commit) -> None:
        checkpoint = self._paths.run / commit.of_kind("checkpoint")[0].path
        fs.point_link(self._paths.latest_checkpoint, checkpoint)
        failpoint("links.checkpoint")
        self._point_best(commit, checkpoint)
        for file in commit.of_kind("buffer"):
            fs.point_link(self._paths.latest_buffer, self._paths.run / file.path)
        failpoint("links.end")

    def _point_best(self, commit: Commit, checkpoint: Path) -> None:
        """Where it leads already it is left alone, after a start it is not known where that is."""
        if commit.best_sequence is None or commit.best_sequence == self._linked_best:
            return
        if commit.best_sequence != commit.sequence:
            best = best_commit(self._run.look().commits)
            if best is None:
                return
            checkpoint = self._paths.run / best.commit.of_kind("checkpoint")[0].path
        fs.point_link(self._paths.best_checkpoint, checkpoint)
        self._linked_best = commit.best_sequence

    def _apply_retention(self, held: frozenset[int]) -> CommitList:
        """What is left is found by the one look at the folder that a save takes."""
        plan = plan_pruning(
            self._run,
            held=held,
            keep_last=self._config.keep_last,
            keep_every_steps=self._config.keep_every_steps,
            keep_days=self._config.keep_days,
        )
        carry_out_pruning(self._paths, plan)
        failpoint("retention.end")
        return CommitList(plan.kept, plan.unreadable)


def _references(segments: Sequence[CommittedFile]) -> list[SegmentRef]:
    return [
        SegmentRef(f.path.rpartition("/")[2], f.first or 0, f.end or 0, f.sha256, f.xxh3)
        for f in segments
    ]
