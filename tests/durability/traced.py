"""What any program does to a folder, as strace saw it, for the power cuts of :mod:`crash_disk`.

For programs whose changes do not pass through our own layer. Writes to mapped memory are no system
calls: the program copies the folder somewhere at each mark, and what a file holds there beyond what
was written to it has come that way, and is not durable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.durability.crash_disk import Inode, Op, Tree, Volume, read_tree

MARK = ".acknowledged-"
"""The program asks for access to a file of this name and a number when a save has returned."""

_CALLS = (
    "openat,open,creat,write,pwrite64,writev,pwritev,lseek,sendfile,copy_file_range,ftruncate,"
    "fallocate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,"
    "link,linkat,symlink,symlinkat,access,faccessat,faccessat2"
)
_LINE = re.compile(r"(\d+)\s+(\w+)\((.*)\)\s+=\s+(-?\d+)(<.*>)?")
_UNFINISHED = re.compile(r"(\d+)\s+(\w+\(.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(\d+)\s+<\.\.\. \w+ resumed>(.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"(-?\w+)<((?:\\x[0-9a-f]{2})*)>")


def strace(log: Path) -> list[str]:
    """The command that runs what follows it and writes ``log``."""
    return ["strace", "-f", "-y", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}", "-o", str(log)]


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


class TracedVolume(Volume):
    """A volume that follows a log of strace; crashes come between its calls."""

    def __init__(self, root: Path, snapshots: Path) -> None:
        super().__init__({})
        self._root, self._snapshots = root, snapshots
        self._positions: dict[int, int] = {}
        self._open: dict[int, Inode] = {}

    def follow(self, log: Path) -> Iterator[int | None]:
        """After each change of the disk: None, or the number of the save that has returned."""
        for name, arguments, result, opened in _calls(log):
            if name.startswith(("access", "faccess")):
                path = _STRING.search(arguments)
                number = _bytes(path[1]).decode().rpartition(MARK)[2] if path else ""
                if path and MARK.encode() in _bytes(path[1]):
                    self._take_over_mapped(self._snapshots / number)
                    yield int(number)
            elif result >= 0 and self._call(name, arguments, result, opened):
                yield None

    def _inside(self, path: bytes) -> str | None:
        root = f"{self._root}/".encode()
        return path.removeprefix(root).decode() if path.startswith(root) else None

    def _call(self, name: str, arguments: str, result: int, opened: str) -> bool:
        strings = [_bytes(s) for s in _STRING.findall(arguments)]
        # Names follow the folder that they are relative to.
        paths = [self._inside(s) for s in strings]
        descriptors = [(fd, _bytes(path)) for fd, path in _DESCRIPTOR.findall(arguments)]
        match name:
            case "openat" | "open" | "creat":
                found = _DESCRIPTOR.fullmatch(f"{result}{opened}")
                path = self._inside(_bytes(found[2])) if found else None
                return path is not None and self._opened(result, path, arguments)
            case "rename" | "renameat" | "renameat2":
                return self._named("rename", paths)
            case "link" | "linkat":
                return self._named("link", paths)
            case "symlink" | "symlinkat":
                return paths[1] is not None and self._do(
                    Op("symlink", paths[1], other=strings[0].decode())
                )
            case "unlink" | "unlinkat" | "rmdir":
                return paths[0] is not None and self._do(Op("remove", paths[0]))
            case "mkdir" | "mkdirat":
                return paths[0] is not None and self._do(Op("mkdir", paths[0]))
        descriptor, on = int(descriptors[0][0]), descriptors[0][1]
        if self._inside(on) is None and on != str(self._root).encode():
            return False
        if name in ("fsync", "fdatasync"):
            if descriptor in self._open:
                self._open[descriptor].durable = self._open[descriptor].current
                return True
            return self._do(Op("sync_folder", self._inside(on) or ""))
        inode = self._open[descriptor]
        if name == "lseek":
            self._positions[descriptor] = result
            return False
        before = inode.current
        numbers = [int(n) for n in re.findall(r"(?<=, )\d+(?=,|$)", arguments)]
        match name:
            case "ftruncate":
                inode.current = before[: numbers[-1]].ljust(numbers[-1], b"\0")
            case "fallocate":
                inode.current = before.ljust(sum(numbers[-2:]), b"\0")
            case "copy_file_range":
                raise ValueError("copy_file_range is not followed")
            case "pwrite64" | "pwritev":
                self._write(inode, b"".join(strings)[:result], numbers[-1])
            case _:
                place = self._positions[descriptor]
                data = b"".join(strings)
                if name == "sendfile":
                    data = self._path_inode(self._inside(descriptors[-1][1]) or "").current[place:]
                self._write(inode, data[:result], place)
                self._positions[descriptor] = place + result
        return inode.current != before

    @staticmethod
    def _write(inode: Inode, data: bytes, place: int) -> None:
        before = inode.current.ljust(place, b"\0")
        inode.current = before[:place] + data + before[place + len(data) :]

    def _opened(self, descriptor: int, path: str, arguments: str) -> bool:
        self._positions[descriptor] = 0
        folder, leaf = self._split(path)
        entry = folder.current.get(leaf)
        self._open.pop(descriptor, None)
        changed = False
        if leaf not in folder.current:
            entry = Inode()
            folder.change([(leaf, entry)])
            changed = True
        if isinstance(entry, str):
            raise ValueError(f"{path} is opened through a link")
        if entry is None:
            return False
        self._open[descriptor] = entry
        if "O_TRUNC" in arguments and entry.current:
            entry.current = b""
            changed = True
        if "O_APPEND" in arguments:
            self._positions[descriptor] = len(entry.current)
        return changed

    def _path_inode(self, path: str) -> Inode:
        folder, leaf = self._split(path)
        entry = folder.current[leaf]
        assert isinstance(entry, Inode)
        return entry

    def _named(self, kind: str, paths: list[str | None]) -> bool:
        old, new = paths
        if old is None and new is None:
            return False
        if old is None or new is None:
            raise ValueError(f"{kind} into the folder or out of it: {paths}")
        return self._do(Op(kind, old, other=new))

    def _do(self, op: Op) -> bool:
        self.apply(op)
        return True

    def _take_over_mapped(self, snapshot: Path) -> None:
        for path, content in read_tree(snapshot).items():
            if isinstance(content, bytes):
                self._path_inode(path).current = content

    def now(self) -> Tree:
        """What a reader sees, without any crash."""
        tree: Tree = {}
        for path, folder in self.folders.items():
            for leaf, entry in folder.current.items():
                full = f"{path}/{leaf}" if path else leaf
                tree[full] = entry.current if isinstance(entry, Inode) else entry
        return tree


def _calls(log: Path) -> Iterator[tuple[str, str, int, str]]:
    """Name, arguments, result and, of an open, what was opened; calls that were cut are joined."""
    begun: dict[str, str] = {}
    with log.open() as f:
        for line in f:
            text = line.rstrip("\n")
            if cut := _UNFINISHED.fullmatch(text):
                begun[cut[1]] = cut[2]
                continue
            if rest := _RESUMED.fullmatch(text):
                text = f"{rest[1]} {begun.pop(rest[1])}{rest[2]}"
            if call := _LINE.fullmatch(text):
                yield call[2], call[3], int(call[4]), call[5] or ""
            elif call := re.match(r"(\d+)\s+(\w+)\((.*)\)\s+=\s+(-\d+)", text):
                yield call[2], call[3], int(call[4]), ""
