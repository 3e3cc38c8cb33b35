"""A folder as a store: a second disk, or one that is mounted from elsewhere."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, TypeAlias

from alphatriangle.data.errors import CorruptFileError
from alphatriangle.data.storage import fs
from alphatriangle.data.storage.disk import disk
from alphatriangle.data.storage.pace import rest
from alphatriangle.data.stores.keys import check_key, check_prefix
from alphatriangle.data.stores.store import (
    ObjectExistsError,
    ObjectNotFoundError,
    StoreAlteredError,
    StoreDeniedError,
    StoredObject,
    StoreError,
    StoreUnavailableError,
    StoreUnsuitableError,
)

_CHUNK: Final = 1 << 20
_TEMPORARIES: Final = ".tmp"
_FORGOTTEN_SECONDS: Final = 86400.0
"""After so long a temporary file is one that a crash has left."""
_NOT_THERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
# What link() says where there are no hard links (FAT, exFAT, some FUSE and CIFS mounts).
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


_Folders: TypeAlias = list[Path]  # ``list`` means something else in the class


class FolderStore:
    """Objects as files below a folder that must be there.

    The folder itself is never made: where a disk is not mounted, its files would end on another.
    An object is written beside its place, fsynced and read back before it gets its name. Deadlines
    are those of the file system: a network mount that hangs holds a call as long as it hangs.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = root.as_uri()
        self._device: int | None = None
        self._is_swept = False
        self._lock = threading.Lock()

    def get(self, key: str, *, limit: int) -> bytes:
        path = self._path(key)
        try:
            with disk.open(path) as f:
                content = f.read(limit + 1)
        except OSError as e:
            raise self._failed("read", key, e) from e
        self._check_device()
        if len(content) > limit:
            raise StoreError(f"{key} in {self.url} is larger than {limit:,} bytes")
        return content

    def download(self, key: str, size: int) -> Iterator[bytes]:
        path = self._path(key)
        done = 0
        self._check_device()
        try:
            with disk.open(path) as f:
                while chunk := f.read(min(_CHUNK, size + 1 - done)):
                    done += len(chunk)
                    if done > size:
                        break
                    yield chunk
        except OSError as e:
            raise self._failed("read", key, e) from e
        if done != size:
            raise StoreError(f"{key} in {self.url} is not of {size:,} bytes")

    def create(self, key: str, content: bytes) -> None:
        path = self._path(key)
        temporary = self._temporary(path)
        try:
            with self._written(temporary, key) as f:
                f.write(content)
                disk.sync(f)
            if fs.read_bytes(temporary) != content:
                raise StoreAlteredError(f"{self.url} holds other bytes than were written to it")
            self._link(temporary, path, key)
            disk.sync_folder(path.parent)
        except OSError as e:
            raise self._failed("create", key, e) from e
        finally:
            _discard(temporary)

    def _link(self, temporary: Path, path: Path, key: str) -> None:
        """Give a whole file its name, which fails if the name is taken.

        ``O_EXCL`` would take the name first and leave an empty object where the machine is lost in
        between; a rename would replace what another has put. So there must be hard links.
        """
        try:
            disk.hard_link(temporary, path)
        except OSError as e:
            # NFS asks again when an answer is lost, and then hears of its own success.
            with contextlib.suppress(OSError):
                if temporary.stat().st_nlink > 1:
                    return
            if isinstance(e, FileExistsError):
                raise ObjectExistsError(f"{self.url} has {key} already") from e
            if e.errno in _NO_LINKS and not _has_links(temporary):
                raise StoreUnsuitableError(
                    f"the file system of {self.url} has no hard links, without which two writers "
                    "could both be told that they alone have written: choose another"
                ) from e
            raise

    def put_file(self, key: str, path: Path, size: int, sha256: str) -> None:
        target = self._path(key)
        temporary = self._temporary(target)
        digest, done = hashlib.sha256(), 0
        try:
            with self._written(temporary, key) as f:
                for chunk in _chunks(path):
                    digest.update(chunk)
                    done += len(chunk)
                    f.write(chunk)
                    rest()
                if (done, digest.hexdigest()) != (size, sha256):
                    raise CorruptFileError(path, "is not what was saved; it was not copied")
                disk.sync(f)
            if fs.digest_of(temporary).identity != (size, sha256):
                raise StoreAlteredError(f"{self.url} holds other bytes than were written to it")
            disk.rename(temporary, target)
            disk.sync_folder(target.parent)
        except _SourceFailedError as e:
            raise e.error from None
        except OSError as e:
            raise self._failed("put", key, e) from e
        finally:
            _discard(temporary)

    def overwrite(self, key: str, content: bytes) -> None:
        path = self._path(key)
        temporary = self._temporary(path)
        try:
            with self._written(temporary, key) as f:
                f.write(content)
                disk.sync(f)
            disk.rename(temporary, path)
            disk.sync_folder(path.parent)
        except OSError as e:
            raise self._failed("write", key, e) from e
        finally:
            _discard(temporary)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        folders = [self.root / check_prefix(prefix)]
        self._check_device()
        try:
            while folders:
                yield from self._listed(folders.pop(), folders)
        except OSError as e:
            raise self._failed("list", prefix, e) from e

    def _listed(self, folder: Path, more: _Folders) -> Iterator[StoredObject]:
        """The objects of one folder; its folders are added to ``more``."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            self._check_device()
            return
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                more.append(Path(entry.path))
                continue
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                key = Path(entry.path).relative_to(self.root).as_posix()
                yield StoredObject(key, status.st_size, status.st_mtime_ns)

    def delete(self, keys: Iterable[str]) -> None:
        self._check_device()
        folders = set()
        for key in keys:
            path = self._path(key)
            try:
                disk.remove(path)
            except NotADirectoryError:
                continue
            except OSError as e:
                raise self._failed("delete", key, e) from e
            folders.add(path.parent)
        for folder in folders:
            try:
                disk.sync_folder(folder)
            except FileNotFoundError:
                continue
            except OSError as e:
                raise self._failed("delete", folder.name, e) from e

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _temporary(self, path: Path) -> Path:
        return self.root / _TEMPORARIES / f"{path.name[:64]}.{secrets.token_hex(8)}"

    @contextlib.contextmanager
    def _written(self, temporary: Path, key: str) -> Iterator[IO[bytes]]:
        """A temporary file to write to, and the folder for what it will be."""
        self._check_device()
        try:
            self._make_folder(self.root / _TEMPORARIES)
            self._sweep()
            folder = self.root
            for part in key.split("/")[:-1]:
                folder = folder / part
                self._make_folder(folder)
            file = disk.create(temporary)
        except OSError as e:
            raise self._failed("write", key, e) from e
        with file:
            yield file

    def _make_folder(self, folder: Path) -> None:
        """Not with its parents: the root is not made, whatever has become of it."""
        if not folder.is_dir():
            disk.make_folder(folder)
            disk.sync_folder(folder.parent)

    def _sweep(self) -> None:
        """Once: remove what crashes have left."""
        with self._lock:
            if self._is_swept:
                return
            self._is_swept = True
        for entry in list(os.scandir(self.root / _TEMPORARIES)):
            with contextlib.suppress(OSError):
                if time.time() - entry.stat().st_mtime > _FORGOTTEN_SECONDS:
                    disk.remove(Path(entry.path))

    def _check_device(self) -> None:
        """
        Raises:
            StoreUnavailableError: the folder is not there, or it is another disk's now.
        """
        try:
            device = self.root.stat().st_dev
            is_folder = self.root.is_dir()
        except OSError as e:
            raise StoreUnavailableError(
                f"{self.url} is not there ({e.strerror}): is its disk mounted? "
                "The folder is never made here: make it once"
            ) from e
        if not is_folder:
            raise StoreUnavailableError(f"{self.url} is no folder")
        with self._lock:
            if self._device is None:
                self._device = device
        if device != self._device:
            raise StoreUnavailableError(
                f"{self.url} is on another disk than before: was its own unmounted?"
            )

    def _failed(self, doing: str, key: str, error: OSError) -> StoreError:
        """What an error of the file system means."""
        try:
            self._check_device()
        except StoreUnavailableError as gone:
            return gone
        if doing == "read" and error.errno in _NOT_THERE:
            return ObjectNotFoundError(f"{self.url} has no {key}")
        kind = StoreDeniedError if error.errno in _DENIED else StoreUnavailableError
        return kind(f"cannot {doing} {key} in {self.url}: {error.strerror or error}")


class _SourceFailedError(Exception):
    """It is not the store that failed."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _chunks(path: Path) -> Iterator[bytes]:
    """
    Raises:
        _SourceFailedError: the file cannot be read.
    """
    try:
        with disk.open(path) as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except OSError as e:
        raise _SourceFailedError(e) from e


def _has_links(temporary: Path) -> bool:
    """Whether its file system has hard links."""
    second = temporary.with_suffix(".link")
    try:
        disk.hard_link(temporary, second)
        disk.remove(second)
    except OSError:
        return False
    return True


def _discard(temporary: Path) -> None:
    with contextlib.suppress(OSError):
        disk.remove(temporary)
