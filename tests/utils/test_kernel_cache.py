"""The cache of compiled kernels: ours to check, and nothing about it ends a command."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from numba.core import caching

from alphatriangle.utils import kernel_files

PROGRAM = """
import json, os, resource, sys
from alphatriangle.utils.kernels import kernel
if "--small-files" in sys.argv:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
if "--nobody" in sys.argv:
    import numba
    numba.njit(lambda x: x)(1)  # loads what is closed to other users
    os.setgid(61234)
    os.setuid(61234)  # in no list of users
@kernel
def twice(x):
    return 2 * x + 1
result = twice(20)
stats = twice.stats
print(json.dumps([result, sum(stats.cache_hits.values()), stats.cache_path]))
"""


class Ran(NamedTuple):
    result: int
    hits: int
    folder: str


def run(home: Path | None, *arguments: str, **more: str) -> Ran:
    """The program with its caches below ``home``; without one, with no home at all."""
    names = ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "TMPDIR")
    environment = {k: v for k, v in os.environ.items() if k not in names} | more
    if home is not None:
        environment["HOME"] = str(home)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Ran(*json.loads(done.stdout.splitlines()[-1]))


def only_file(folder: str | Path) -> Path:
    (path,) = Path(folder).glob("*.kernel")
    return path


def zeros(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(512) + content[middle + 512 :]


def flipped(place: float) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        i = int(place * (len(content) - 1))
        return content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :]

    return flip


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut in half": lambda content: content[: len(content) // 2],
    "one byte more": lambda content: content + b"\0",
    "zeros in the middle": zeros,
    "all zeros": lambda content: bytes(len(content)),
    "a bit of the seal": flipped(0.002),
    "a bit of the machine code": flipped(0.5),
    "the last bit": flipped(1.0),
    "no pickle under a right seal": lambda content: b"",
    "another kernel's file": lambda content: b"",
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_kernel_is_compiled_again_and_whole_again(tmp_path: Path, case: str) -> None:
    first = run(tmp_path)
    assert (first.result, first.hits) == (41, 0)
    path = only_file(first.folder)
    content = DAMAGE[case](path.read_bytes())
    if case == "no pickle under a right seal":
        content = kernel_files.seal(path.name, b"nonsense") + b"nonsense"
    elif case == "another kernel's file":
        payload = path.read_bytes()[len(kernel_files._MAGIC) + 32 :]
        content = kernel_files.seal("other.kernel", payload) + payload
    path.write_bytes(content)
    again = run(tmp_path)
    assert (again.result, again.hits) == (41, 0)
    assert run(tmp_path).hits == 1


def test_a_folder_in_the_place_of_a_file(tmp_path: Path) -> None:
    path = only_file(run(tmp_path).folder)
    path.unlink()
    path.mkdir()
    assert run(tmp_path)[:2] == (41, 0)


def test_a_disk_without_room_costs_the_cache_only(tmp_path: Path) -> None:
    assert run(tmp_path, "--small-files")[:2] == (41, 0)
    assert run(tmp_path).hits == 0
    assert run(tmp_path).hits == 1
    assert not list(tmp_path.rglob("*.tmp"))


needs_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become another user"
)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that other users can reach, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


@needs_root
@pytest.mark.parametrize("home", [None, Path("/nonexistent/home"), Path("/dev/null")], ids=str)
def test_without_a_home_there_is_a_private_folder(open_path: Path, home: Path | None) -> None:
    """As under a service manager."""
    first = run(home, "--nobody", TMPDIR=str(open_path))
    assert Path(first.folder).is_relative_to(open_path)
    assert Path(first.folder).parent.stat().st_mode & 0o077 == 0
    assert run(home, "--nobody", TMPDIR=str(open_path)).hits == 1


@needs_root
def test_without_any_place_kernels_are_compiled_in_memory(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert run(Path("/dev/null"), "--nobody", TMPDIR=str(tmp_path)).result == 41


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="file modes")
def test_a_folder_that_others_can_write_to_is_not_read(tmp_path: Path) -> None:
    first = run(tmp_path)
    Path(first.folder).chmod(0o777)
    other = run(tmp_path, TMPDIR=str(tmp_path))
    assert other.folder != first.folder
    assert other.hits == 0


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="symbolic links")
def test_a_link_that_somebody_has_laid_is_not_followed(tmp_path: Path) -> None:
    trap, place = tmp_path / "trap", tmp_path / "tmp"
    trap.mkdir()
    place.mkdir()
    (place / f"alphatriangle-{os.getuid()}").symlink_to(trap)
    found = run(Path("/dev/null"), TMPDIR=str(place))
    assert found == (41, 0, "")
    assert not list(trap.rglob("*.kernel"))


@needs_root
def test_a_complete_folder_that_is_only_to_be_read_is_used(open_path: Path) -> None:
    """Made by root for everybody."""
    first = run(None, NUMBA_CACHE_DIR=str(open_path / "shared"))
    for folder in (open_path / "shared", Path(first.folder)):
        folder.chmod(0o755)
    only_file(first.folder).chmod(0o644)
    assert run(None, "--nobody", NUMBA_CACHE_DIR=str(open_path / "shared")).hits == 1


def test_kernels_of_old_sources_go_but_for_a_few(tmp_path: Path) -> None:
    folder = tmp_path / ".cache/alphatriangle"
    for i in range(6):
        (folder / f"kernels-{i}").mkdir(parents=True)
        os.utime(folder / f"kernels-{i}", (i, i))
    ours = Path(run(tmp_path).folder).name
    left = {p.name for p in folder.iterdir()}
    assert left == {"kernels-3", "kernels-4", "kernels-5", ours}


@pytest.mark.parametrize("arguments", [["--version"], ["runs", "list"]])
def test_commands_work_without_a_home(tmp_path: Path, arguments: list[str]) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("HOME", "XDG_CACHE_HOME")}
    for home in ({}, {"HOME": "/nonexistent"}, {"HOME": "/dev/null"}):
        done = subprocess.run(
            [sys.executable, "-m", "alphatriangle", *arguments],
            env=clean | home,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def test_what_is_used_of_numba_is_there() -> None:
    """No public interface: a newer numba that changes it has to fail here first."""
    assert list(inspect.signature(caching.FunctionCache._load_overload).parameters) == [
        "self",
        "sig",
        "target_context",
    ]
    assert list(inspect.signature(caching.FunctionCache._save_overload).parameters) == [
        "self",
        "sig",
        "data",
    ]
    for name in ("reduce", "rebuild", "check_cachable"):
        assert hasattr(caching.CompileResultCacheImpl, name)
    assert hasattr(caching.FunctionCache, "_index_key")


def test_kernels_of_another_machine_are_used_when_they_are_whole(tmp_path: Path) -> None:
    """Handed on by digest; what is not what it claims, or lies elsewhere, is as good as none."""
    there, here = tmp_path / "there", tmp_path / "here"
    path = only_file(run(there).folder)
    sealed = path.read_bytes()
    program = (
        "import sys, pickle; from alphatriangle.utils.kernel_files import put_kernels;"
        "print(put_kernels(pickle.loads(sys.stdin.buffer.read())))"
    )
    kernels = {
        path.name: sealed,
        "broken.kernel": flipped(0.5)(sealed),
        f"../{path.name}": kernel_files.seal(f"../{path.name}", b"x") + b"x",
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(kernels),
        env={**os.environ, "HOME": str(here), "XDG_CACHE_HOME": ""},
        capture_output=True,
        check=True,
    )
    assert done.stdout.strip() == b"1", done.stderr
    assert [p.name for p in here.rglob("*.kernel")] == [path.name]
    assert run(here)[:2] == (41, 1)
