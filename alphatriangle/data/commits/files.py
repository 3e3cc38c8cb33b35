"""Commits: write one, find them, check that every byte they name is there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from alphatriangle.data.errors import (
    CommitNotFoundError,
    CorruptBufferError,
    CorruptCheckpointError,
    CorruptCommitError,
    CorruptFileError,
    DataError,
    FileUnavailableError,
    reading_failed,
)
from alphatriangle.data.json_files import parse_json, read_bytes
from alphatriangle.data.path_manager import PathManager, unused
from alphatriangle.data.records import Commit, CommittedFile, DamagedFile, FileKind, RejectedCommit
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import FileDigest, fastest


class StoredCommit(NamedTuple):
    """A commit and the file it stands in."""

    path: Path
    commit: Commit
    sha256: str  # of the file


class CommitList(NamedTuple):
    """All commit files of a run: the readable ones, newest first, and the others."""

    commits: list[StoredCommit]
    unreadable: list[RejectedCommit]


class _SealedCommit(Commit):
    """A commit as it stands in its file, with a digest over the rest of it."""

    seal: str


def _record(commit: Commit) -> dict[str, Any]:
    record = commit.model_dump(mode="json")
    if record["best_sequence"] is None:
        # Older commits do not have it, and their seals must hold.
        del record["best_sequence"]
    return record


def seal_of(commit: Commit) -> str:
    """What a commit is, in one number: sha256 (hex) over all that it says."""
    text = json.dumps(_record(commit), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(commit: Commit) -> bytes:
    """The content of a commit's file."""
    record = {**_record(commit), "seal": seal_of(commit)}
    return json.dumps(record, indent=1).encode() + b"\n"


def write_commit(paths: PathManager, commit: Commit) -> StoredCommit:
    """Make the save real: write the commit file beside all others.

    Raises:
        OSError: the save does not exist.
    """
    path = unused(paths.commit(commit.global_step))
    try:
        digest = fs.write_bytes(path, sealed(commit))
    except OSError:
        # The folder's fsync comes after the rename: what was not acknowledged must not be found.
        with contextlib.suppress(OSError):
            fs.remove(path)
        raise
    return StoredCommit(path, commit, digest.sha256)


def read_commit(path: Path) -> Commit:
    """Read a commit file and check its seal.

    Raises:
        CorruptCommitError: it is damaged.
        UnsupportedFormatError: a newer version wrote it.
    """
    return parse_commit(read_bytes(path, CorruptCommitError), path)


def parse_commit(content: bytes, path: Path) -> Commit:
    """:func:`read_commit` of bytes that come from ``path``.

    Raises:
        CorruptCommitError: it is damaged.
        UnsupportedFormatError: a newer version wrote it.
    """
    record = parse_json(content, path, _SealedCommit, CorruptCommitError)
    fields = {name: getattr(record, name) for name in Commit.model_fields}
    commit = Commit.model_construct(**fields)
    if seal_of(commit) != record.seal:
        raise CorruptCommitError(path, "its content does not match its seal")
    return commit


def commit_names(paths: PathManager) -> set[str]:
    """The names of a run's commit files, read or not.

    Raises:
        FileUnavailableError: the folder cannot be read now; what seems empty might not be.
    """
    try:
        # Thousands of paths would take ten times as long to make as names.
        names = os.listdir(paths.commits)  # noqa: PTH208
    except FileNotFoundError:
        return set()
    except OSError as e:
        raise reading_failed(paths.commits, e, CorruptCommitError) from e
    return {name for name in names if name.endswith(".json") and name[0] != "."}


def has_begun(paths: PathManager) -> bool:
    """Whether the run was ever trained or made.

    Raises:
        FileUnavailableError: nobody can tell now.
    """
    return bool(commit_names(paths)) or paths.run_info.exists()


def list_commits(paths: PathManager) -> CommitList:
    """Read every commit file of a run.

    Raises:
        FileUnavailableError: one cannot be read now, and may be the newest.
    """
    return read_commits(paths, commit_names(paths))


def read_commits(paths: PathManager, names: Iterable[str]) -> CommitList:
    """Read the commit files of these names.

    Raises:
        FileUnavailableError: one cannot be read now, and may be the newest.
    """
    commits: list[StoredCommit] = []
    unreadable: list[RejectedCommit] = []
    for path in (paths.commits / name for name in sorted(names)):
        try:
            content = read_bytes(path, CorruptCommitError)
            commit = parse_commit(content, path)
            commits.append(StoredCommit(path, commit, hashlib.sha256(content).hexdigest()))
        except FileUnavailableError:
            raise
        except DataError as e:
            unreadable.append(RejectedCommit(path=str(path), reason=str(e)))
    commits.sort(key=lambda stored: stored.commit.sequence, reverse=True)
    return CommitList(commits, unreadable)


def of_step(known: CommitList, run_name: str, step: int) -> CommitList:
    """Of ``known``, the readable commits of one step.

    Raises:
        CommitNotFoundError: there is none; the message names the steps that there are.
    """
    commits = [stored for stored in known.commits if stored.commit.global_step == step]
    if not commits:
        steps = ", ".join(str(s.commit.global_step) for s in known.commits) or "none"
        raise CommitNotFoundError(
            f"run {run_name!r} has no commit of step {step}; its commits are of steps: {steps}"
        )
    return CommitList(commits, [])


def best_commit(commits: Sequence[StoredCommit]) -> StoredCommit | None:
    """Of ``commits``, newest first, the one that the newest says is the best."""
    if commits and (sequence := commits[0].commit.best_sequence) is not None:
        return next((s for s in commits if s.commit.sequence == sequence), None)
    return next((s for s in commits if s.commit.is_best), None)


_CORRUPT: dict[FileKind, type[CorruptFileError]] = {
    "checkpoint": CorruptCheckpointError,
    "buffer": CorruptBufferError,
    "segment": CorruptBufferError,
    "episodes": CorruptBufferError,
}


def difference(file: CommittedFile, digest: FileDigest) -> str | None:
    """In what bytes of this digest are not those of the file; None where they are."""
    if digest.size != file.size:
        return "size"
    if digest.sha256 != file.sha256:
        return "sha256"
    return None if file.xxh3 in (None, digest.xxh3) else "xxh3"


def refuse_link(run: Path, file: CommittedFile) -> None:
    """
    Raises:
        CorruptFileError: the file is a link, which may lead anywhere.
    """
    if (run / file.path).is_symlink():
        raise _CORRUPT[file.kind](run / file.path, "it is a link; committed files never are")


def verify_file(run: Path, file: CommittedFile) -> None:
    """Check one file against its commit, by every digest that there is of it.

    Raises:
        CorruptFileError: it is missing, has another size, or other bytes.
        FileUnavailableError: it cannot be read now.
    """
    with _reading(run, file) as path:
        digest = fs.digest_of(path)
    if (differs := difference(file, digest)) is not None:
        raise _not_what_was_saved(path, file, differs)


def read_file(run: Path, file: CommittedFile) -> memoryview:
    """The bytes of a file, checked as a start does: by the fastest digest that there is of it.

    Raises:
        CorruptFileError: it is missing, has another size, or other bytes.
        FileUnavailableError: it cannot be read now.
    """
    algorithm, value = fastest(file.sha256, file.xxh3)
    with _reading(run, file) as path:
        content, found = fs.read_digested(path, algorithm)
    if found != value:
        raise _not_what_was_saved(path, file, algorithm)
    return content


@contextlib.contextmanager
def _reading(run: Path, file: CommittedFile) -> Iterator[Path]:
    """Where the file is, if it is of its size; what goes wrong meanwhile means that it is damaged
    or out of reach."""
    path, corrupt = run / file.path, _CORRUPT[file.kind]
    try:
        refuse_link(run, file)
        size = path.stat().st_size
        if size != file.size:
            raise corrupt(path, f"it has {size} bytes, the commit says {file.size}")
        yield path
    except FileNotFoundError as e:
        raise corrupt(path, "the file is missing") from e
    except OSError as e:
        raise reading_failed(path, e, corrupt) from e


def _not_what_was_saved(path: Path, file: CommittedFile, differs: str) -> CorruptFileError:
    reason = f"its bytes are not those that were saved ({differs} differs)"
    return _CORRUPT[file.kind](path, reason)


def damaged_recordings(
    run: Path,
    files: Iterable[CommittedFile],
    check: Callable[[Path, CommittedFile], object] = verify_file,
) -> list[DamagedFile]:
    """Those of the recordings that are not what was saved, as ``check`` finds."""
    damaged = []
    for file in files:
        try:
            check(run, file)
        except CorruptFileError as e:
            damaged.append(DamagedFile(path=file.path, reason=str(e)))
    return damaged


def without(commit: Commit, damaged: Sequence[DamagedFile]) -> Commit:
    """The commit as one that does not name these files."""
    paths = {d.path for d in damaged}
    return commit.model_copy(update={"files": [f for f in commit.files if f.path not in paths]})
