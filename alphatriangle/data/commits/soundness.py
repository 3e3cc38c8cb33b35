"""What "sound" means, for everybody who asks: training could go on from the commit.

Every byte it names is what was saved, and all of it comes back through the reader that a start
uses: checkpoint, buffer, and every row that the buffer says it has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from alphatriangle.data.commits.files import (
    damaged_recordings,
    read_file,
    refuse_link,
    verify_file,
)
from alphatriangle.data.errors import CorruptBufferError, CorruptCheckpointError
from alphatriangle.data.records import Commit, CommittedFile, DamagedFile
from alphatriangle.data.replay.rows import SegmentedRows
from alphatriangle.data.schemas import BufferData, CheckpointData
from alphatriangle.data.serializer import Serializer


class SoundState(NamedTuple):
    """What a sound commit holds."""

    checkpoint: CheckpointData
    buffer: BufferData | None
    damaged_recordings: list[DamagedFile]
    """Games that are lost. Recordings are for people, nothing is trained from them: a damaged one
    is no reason to give up the state beside it, which every commit since would lose with it."""


def read_sound(
    run: Path,
    path: Path,
    commit: Commit,
    serializer: Serializer,
    *,
    seen: Collection[str] | None = None,
) -> SoundState:
    """Check a commit of the run folder ``run`` and read all of it; ``path`` is its own file.

    For a start: every byte is read once and checked by the fastest digest that there is of it, and
    the rows are kept until they are asked for.

    With ``seen`` it is only checked, by all digests: rows pass through memory a batch at a time,
    and of segments and recordings that are among ``seen`` (by their path within the run), which
    have been checked before and never change, only the place.

    Raises:
        DataError: it is not sound.
    """
    check: Callable[[Path, CommittedFile], memoryview | None]
    check = read_file if seen is None else verify_file
    checkpoints, buffers = commit.of_kind("checkpoint"), commit.of_kind("buffer")
    if len(checkpoints) != 1 or len(buffers) > 1:
        raise CorruptCheckpointError(
            path, f"it names {len(checkpoints)} checkpoints and {len(buffers)} buffers"
        )
    content = check(run, checkpoints[0])
    checkpoint = serializer.load_checkpoint(run / checkpoints[0].path, content=content)
    if commit.global_step != checkpoint.global_step:
        raise CorruptCheckpointError(
            path, f"step {commit.global_step}, its checkpoint step {checkpoint.global_step}"
        )
    buffer = None
    for file in buffers:
        buffer = serializer.load_buffer(run / file.path, content=check(run, file))
    rows = buffer.buffer_list if buffer is not None else None
    _read_rows(run, path, commit, rows if isinstance(rows, SegmentedRows) else None, seen)
    new = [f for f in commit.of_kind("episodes") if f.path not in (seen or ())]
    return SoundState(checkpoint, buffer, damaged_recordings(run, new, check))


def _read_rows(
    run: Path, path: Path, commit: Commit, rows: SegmentedRows | None, seen: Collection[str] | None
) -> None:
    needed = {ref.name: ref for ref in rows.refs} if rows is not None else {}
    named = {PurePosixPath(file.path).name: file for file in commit.of_kind("segment")}
    for name, ref in needed.items():
        if name not in named or named[name].sha256 != ref.sha256:
            raise CorruptBufferError(path, f"its buffer needs {name}, which it lacks")
        if (named[name].first, named[name].end) != (ref.first, ref.end):
            raise CorruptBufferError(path, f"of {name} it says other rows than its buffer")
    if list(needed) != [PurePosixPath(file.path).name for file in commit.of_kind("segment")]:
        raise CorruptBufferError(path, "it names other segments than its buffer")
    if rows is not None:
        # By its commit, so that a start can check them by it.
        rows.refs = tuple(ref._replace(xxh3=named[ref.name].xxh3) for ref in rows.refs)
    known = set()
    for name, file in named.items():
        if seen and file.path in seen:
            known.add(name)
        elif name in needed:
            # Its bytes are digested when its rows are read.
            refuse_link(run, file)
        else:
            verify_file(run, file)
    if rows is not None and seen is None:
        rows.read()
    elif rows is not None:
        rows.check(known)
