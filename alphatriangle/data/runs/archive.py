"""A run at one commit as one file, to be kept elsewhere or given away, and a run made of it again.

An archive is a plain tar of the run's folder with that one commit in it: the commit file first,
``run.json`` and ``configs.json``, then the files that the commit names. Any tar program unpacks it.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

from alphatriangle.config import PersistenceConfig
from alphatriangle.data.commits.files import parse_commit, sealed
from alphatriangle.data.errors import (
    ArchiveNotFoundError,
    CorruptArchiveError,
    CorruptRunInfoError,
    ExportError,
    reading_failed,
)
from alphatriangle.data.json_files import parse_json
from alphatriangle.data.path_manager import PathManager
from alphatriangle.data.records import Commit, CommittedFile, RunInfo
from alphatriangle.data.runs.fork import Origin, make_run
from alphatriangle.data.runs.summary import parse_configs
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.digests import FileDigest
from alphatriangle.data.storage.disk import disk
from alphatriangle.utils.invocation import command

# Names in an archive, whatever they are in the run.
_RUN_INFO: Final = "run.json"
_CONFIGS: Final = "configs.json"
_CHUNK: Final = 1 << 20
_LARGEST_RECORD: Final = 64 << 20
"""Bytes of JSON that are read into memory: a commit of 100,000 files is a third of it."""

# What damaged or forged headers make tarfile raise.
_DAMAGE: Final = (tarfile.TarError, EOFError, ValueError, OverflowError, MemoryError)


def write_archive(paths: PathManager, commit: Commit, path: Path) -> FileDigest:
    """Write the run as it was at ``commit`` to ``path``, atomically.

    Raises:
        ExportError: the file exists or cannot be written, or the commit was removed meanwhile.
    """
    if path.exists():
        raise ExportError(f"{path} exists; choose another --to, nothing is overwritten")

    def write(f: IO[bytes]) -> None:
        with tarfile.open(fileobj=f, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            _add(tar, paths.relative(paths.commit(commit.global_step)), sealed(commit), commit)
            for name, record in ((_RUN_INFO, paths.run_info), (_CONFIGS, paths.configs)):
                if record.exists():
                    _add(tar, name, fs.read_bytes(record), commit)
            for file in commit.files:
                with disk.open(paths.run / file.path) as content:
                    tar.addfile(_header(file.path, file.size, commit), content)

    try:
        return fs.write_atomically(path, write)
    except FileNotFoundError as e:
        if path.parent.is_dir():
            raise ExportError(
                f"step {commit.global_step} of run {paths.run_name!r} was removed while it was "
                f"copied ({e.filename}); {command('runs', 'pin', paths.run_name)} keeps it, or "
                "take a newer one"
            ) from e
        raise ExportError(f"cannot write {path}: there is no folder {path.parent}") from e
    except OSError as e:
        raise ExportError(f"cannot write {path}: {e.strerror or e}") from e


def restore_run(config: PersistenceConfig, archive: Path, new_name: str | None = None) -> Commit:
    """Make a run of an archive, under its old name or a new one; every byte is checked.

    Raises:
        ArchiveNotFoundError: there is no such file.
        CorruptArchiveError: it is no archive, lacks something, or is damaged.
        CorruptFileError: something in it is not what its commit says.
        RunExistsError: there is a run of that name.
        SaveFailedError: the disk says no.
    """
    with _opened(archive) as tar:
        with _damage_reported(archive):
            members = {m.name: m for m in tar.getmembers() if m.isreg() and not m.issparse()}
        origin = _origin(archive, tar, members)

        def extract(file: CommittedFile, target: Path) -> None:
            member = members.get(file.path)
            if member is None:
                raise FileNotFoundError(f"{archive} lacks {file.path}")
            if member.size != file.size:
                raise CorruptArchiveError(
                    archive, f"{file.path} has {member.size} bytes, the commit says {file.size}"
                )
            with disk.create(target) as copy:
                for chunk in _chunks(archive, tar, member):
                    copy.write(chunk)
                disk.sync(copy)

        return make_run(config, new_name or origin.run_name, origin, extract)


def _origin(archive: Path, tar: tarfile.TarFile, members: dict[str, tarfile.TarInfo]) -> Origin:
    commits = [name for name in members if name.startswith("commits/")]
    if len(commits) != 1:
        raise CorruptArchiveError(archive, f"it holds {len(commits)} commits, an archive holds one")

    def read(name: str) -> bytes:
        member = members[name]
        if member.size > _LARGEST_RECORD:
            raise CorruptArchiveError(archive, f"{name} says it has {member.size} bytes")
        return b"".join(_chunks(archive, tar, member))

    commit = parse_commit(read(commits[0]), archive / commits[0])
    info = configs = None
    if _RUN_INFO in members:
        where = archive / _RUN_INFO
        info = parse_json(read(_RUN_INFO), where, RunInfo, CorruptRunInfoError)
    if _CONFIGS in members:
        configs = parse_configs(read(_CONFIGS), archive / _CONFIGS)
    return Origin(commit.run_name, commit, info, configs)


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    if not archive.exists():
        raise ArchiveNotFoundError(f"there is no archive {archive}")
    try:
        content = disk.open(archive)
    except OSError as e:
        raise reading_failed(archive, e, CorruptArchiveError) from e
    with content:
        with _damage_reported(archive):
            tar = tarfile.open(fileobj=content, mode="r:")  # noqa: SIM115 - closed below
        with tar:
            yield tar


def _chunks(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    with _damage_reported(archive):
        content = tar.extractfile(member)
        assert content is not None, "only regular files are members"
        left = member.size
        while left:
            chunk = content.read(min(left, _CHUNK))
            if not chunk:
                raise CorruptArchiveError(archive, f"it ends within {member.name}")
            left -= len(chunk)
            yield chunk


@contextlib.contextmanager
def _damage_reported(archive: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as e:
        raise CorruptArchiveError(archive, f"it is no archive of a run: {e}") from e
    except OSError as e:
        raise reading_failed(archive, e, CorruptArchiveError) from e


def _add(tar: tarfile.TarFile, name: str, content: bytes, commit: Commit) -> None:
    tar.addfile(_header(name, len(content), commit), io.BytesIO(content))


def _header(name: str, size: int, commit: Commit) -> tarfile.TarInfo:
    # The commit's time, and nothing of the machine or the person that writes it.
    header = tarfile.TarInfo(name)
    header.size = size
    header.mtime = commit.created_ns // 10**9
    return header
