"""A disk that remembers, and every disk that a power cut could have left.

What POSIX promises and no more: the bytes of a file are durable when the file has been fsynced, a
name when its folder has been. Until then each may be there or not, in any combination: bytes whole,
torn, or zeros of the right length; names with or without each of the changes made to the folder.
A rename in a folder is one change: both names or neither; into another folder it is two.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from alphatriangle.data.storage.disk import Disk, disk

Tree = dict[str, "bytes | str | None"]
"""Path -> bytes of a file, target of a link, or None for a folder."""


class Op(NamedTuple):
    """One change of the disk, or a remark of the test."""

    kind: str
    path: str = ""
    handle: int = -1
    data: bytes = b""
    other: str = ""
    mark: Any = None


class _RecordedFile(io.FileIO):
    def __init__(self, log: Log, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self.log = log
        self.handle = next(log.handles)

    def write(self, data: Any) -> int:
        count = super().write(data)
        self.log.ops.append(Op("write", handle=self.handle, data=bytes(data)[:count]))
        return count


class Log:
    """The changes of everything below ``root`` since it was made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = read_tree(root)
        self.ops: list[Op] = []
        self.handles = itertools.count()

    def relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def mark(self, remark: Any) -> None:
        self.ops.append(Op("mark", mark=remark))


@contextlib.contextmanager
def _seen_fsync() -> Iterator[list[int]]:
    """The descriptors that the operating system is really asked to sync."""
    seen: list[int] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        real(descriptor)
        seen.append(descriptor)

    os.fsync = spy
    try:
        yield seen
    finally:
        os.fsync = real


class RecordingDisk(Disk):
    """The real disk, with a log."""

    log: Log

    def create(self, path: Path) -> IO[bytes]:
        return self._opened("create", path, "w")

    def append(self, path: Path) -> IO[bytes]:
        return self._opened("append", path, "a")

    def _opened(self, kind: str, path: Path, mode: str) -> IO[bytes]:
        raw = _RecordedFile(self.log, path, mode)
        self.log.ops.append(Op(kind, self.log.relative(path), raw.handle))
        return io.BufferedWriter(raw)

    def sync(self, file: IO[bytes]) -> None:
        with _seen_fsync() as seen:
            super().sync(file)
        if seen:
            self.log.ops.append(Op("sync", handle=file.raw.handle))  # type: ignore[attr-defined]

    def sync_folder(self, folder: Path) -> None:
        with _seen_fsync() as seen:
            super().sync_folder(folder)
        if seen:
            self.log.ops.append(Op("sync_folder", self.log.relative(folder)))

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        relative = self.log.relative
        self.log.ops.append(Op("rename", relative(source), other=relative(target)))

    def remove(self, path: Path) -> None:
        there = path.is_symlink() or path.exists()
        super().remove(path)
        if there:
            self.log.ops.append(Op("remove", self.log.relative(path)))

    def hard_link(self, existing: Path, new: Path) -> None:
        super().hard_link(existing, new)
        relative = self.log.relative
        self.log.ops.append(Op("link", relative(existing), other=relative(new)))

    def symbolic_link(self, target: str, link: Path) -> None:
        super().symbolic_link(target, link)
        self.log.ops.append(Op("symlink", self.log.relative(link), other=target))

    def make_folder(self, folder: Path) -> None:
        there = folder.is_dir()
        super().make_folder(folder)
        if not there:
            self.log.ops.append(Op("mkdir", self.log.relative(folder)))

    def remove_folder(self, folder: Path) -> None:
        super().remove_folder(folder)
        self.log.ops.append(Op("remove", self.log.relative(folder)))


@contextlib.contextmanager
def recording(root: Path) -> Iterator[Log]:
    """Record what the package does to the disk."""
    log = Log(root)
    disk.__class__ = RecordingDisk
    disk.log = log  # type: ignore[attr-defined]
    try:
        yield log
    finally:
        disk.__class__ = Disk
        del disk.log  # type: ignore[attr-defined]


def read_tree(root: Path) -> Tree:
    """What is below ``root``, without the lock, which is not a file but a lock."""
    tree: Tree = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.name == ".lock":
            continue
        if path.is_symlink():
            tree[name] = str(path.readlink())
        else:
            tree[name] = None if path.is_dir() else path.read_bytes()
    return tree


def write_tree(root: Path, tree: Tree) -> None:
    """Make ``root`` hold exactly ``tree``; parents come before what is in them."""
    for name, content in sorted(tree.items()):
        path = root / name
        match content:
            case None:
                path.mkdir()
            case bytes():
                path.write_bytes(content)
            case str():
                path.symlink_to(content)


@dataclass
class Inode:
    """A file: what is durable of it, and what a reader sees."""

    durable: bytes = b""
    current: bytes = b""

    def variants(self) -> list[bytes]:
        """What a power cut may leave of it."""
        if self.durable == self.current:
            return [self.current]
        new = len(self.current) - len(self.durable)
        torn = self.current[: len(self.durable) + new // 2] if new > 0 else self.current[:1]
        zeros = self.durable + bytes(max(new, 0))
        return list(dict.fromkeys([self.durable, self.current, torn, zeros]))


Entry = Inode | str | None
"""A file, the target of a link, or None for a folder."""
_Change = list[tuple[str, "Entry | bool"]]  # names and what they become; False: gone


@dataclass
class _Folder:
    durable: dict[str, Entry] = field(default_factory=dict)
    current: dict[str, Entry] = field(default_factory=dict)
    pending: list[_Change] = field(default_factory=list)

    def change(self, changes: _Change) -> None:
        _apply(self.current, changes)
        self.pending.append(changes)

    def variants(self, limit: int, rng: random.Random) -> list[tuple[bool, ...]]:
        """Which of the pending changes are there; the first is none, the last all."""
        count = len(self.pending)
        if 2**count <= limit:
            return list(itertools.product([False, True], repeat=count))
        some = [tuple(rng.random() < 0.5 for _ in range(count)) for _ in range(limit)]
        return [(False,) * count, *some, (True,) * count]

    def after(self, kept: tuple[bool, ...]) -> dict[str, Entry]:
        names = dict(self.durable)
        for changes, is_kept in zip(self.pending, kept, strict=True):
            if is_kept:
                _apply(names, changes)
        return names


def _apply(names: dict[str, Entry], changes: _Change) -> None:
    for name, entry in changes:
        if entry is False:
            names.pop(name, None)
        else:
            names[name] = entry  # type: ignore[assignment]


class Volume:
    """What is durable and what is not, after some of the changes of a log."""

    def __init__(self, base: Tree) -> None:
        self.folders: dict[str, _Folder] = {"": _Folder()}
        self._handles: dict[int, Inode] = {}
        for name, content in sorted(base.items()):
            entry: Entry = Inode(content, content) if isinstance(content, bytes) else content
            folder, leaf = self._split(name)
            folder.durable[leaf] = folder.current[leaf] = entry
            if content is None:
                self.folders[name] = _Folder()

    def _split(self, path: str) -> tuple[_Folder, str]:
        parent, _, leaf = path.rpartition("/")
        return self.folders[parent], leaf

    def apply(self, op: Op) -> None:
        """Take over one change."""
        match op.kind:
            case "create":
                inode = self._handles[op.handle] = Inode()
                folder, leaf = self._split(op.path)
                folder.change([(leaf, inode)])
            case "append":
                folder, leaf = self._split(op.path)
                if leaf not in folder.current:
                    folder.change([(leaf, Inode())])
                entry = folder.current[leaf]
                assert isinstance(entry, Inode)
                self._handles[op.handle] = entry
            case "write":
                self._handles[op.handle].current += op.data
            case "sync":
                inode = self._handles[op.handle]
                inode.durable = inode.current
            case "sync_folder":
                folder = self.folders["" if op.path == "." else op.path]
                folder.durable, folder.pending = dict(folder.current), []
            case "rename":
                folder, leaf = self._split(op.path)
                target, new = self._split(op.other)
                entry = folder.current[leaf]
                if target is folder:
                    folder.change([(leaf, False), (new, entry)])
                else:
                    # Either folder may have been written back without the other.
                    target.change([(new, entry)])
                    folder.change([(leaf, False)])
            case "remove":
                folder, leaf = self._split(op.path)
                folder.change([(leaf, False)])
            case "link":
                source, leaf = self._split(op.path)
                folder, new = self._split(op.other)
                folder.change([(new, source.current[leaf])])
            case "symlink":
                folder, leaf = self._split(op.path)
                folder.change([(leaf, op.other)])
            case "mkdir":
                folder, leaf = self._split(op.path)
                folder.change([(leaf, None)])
                self.folders[op.path] = _Folder()

    def crashes(self, limit: int, rng: random.Random) -> Iterator[Tree]:
        """Disks that a power cut now could leave: all of them when they are few, else a sample."""
        unsure = {path: f.variants(limit, rng) for path, f in self.folders.items() if f.pending}
        inodes = {id(i): i for f in self.folders.values() for i in self._files(f)}
        torn = {key: i.variants() for key, i in inodes.items() if len(i.variants()) > 1}
        choices = [*unsure.values(), *torn.values()]
        total = 1
        for options in choices:
            total *= len(options)
        if total <= limit:
            combinations = list(itertools.product(*choices))
        else:
            combinations = [tuple(o[0] for o in choices), tuple(o[-1] for o in choices)]
            combinations += [tuple(rng.choice(o) for o in choices) for _ in range(limit)]
        for combination in combinations:
            kept = dict(zip(unsure, combination, strict=False))
            contents = dict(zip(torn, combination[len(unsure) :], strict=True))
            tree: Tree = {}
            self._walk("", kept, contents, tree)
            yield tree

    @staticmethod
    def _files(folder: _Folder) -> Iterator[Inode]:
        seen = list(folder.durable.values()) + list(folder.current.values())
        seen += [entry for changes in folder.pending for _, entry in changes]  # type: ignore[misc]
        yield from (entry for entry in seen if isinstance(entry, Inode))

    def _walk(
        self,
        path: str,
        kept: dict[str, tuple[bool, ...]],
        contents: dict[int, bytes],
        tree: Tree,
    ) -> None:
        folder = self.folders[path]
        names = folder.after(kept[path]) if path in kept else folder.durable
        for leaf, entry in names.items():
            full = f"{path}/{leaf}" if path else leaf
            if isinstance(entry, Inode):
                tree[full] = contents.get(id(entry), entry.durable)
            else:
                tree[full] = entry
                if entry is None:
                    self._walk(full, kept, contents, tree)
