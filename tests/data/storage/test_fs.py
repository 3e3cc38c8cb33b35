"""Writing whole files or nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import IO

import pytest
import xxhash

from alphatriangle.data.storage import fs


@pytest.mark.parametrize("size", [0, 10, 40 << 20], ids=["empty", "small", "digested beside"])
def test_the_digest_is_of_what_was_written(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    block = bytes(range(256)) * 4096

    def write(f: IO[bytes]) -> None:
        left = size
        while left:
            left -= f.write(block[: min(left, len(block))])

    digest = fs.write_atomically(path, write)
    content = path.read_bytes()
    assert digest.identity == (size, hashlib.sha256(content).hexdigest())
    assert digest.xxh3 == xxhash.xxh3_128_hexdigest(content)
    assert fs.digest_of(path) == digest


@pytest.mark.parametrize("size", [10, 40 << 20])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(f: IO[bytes]) -> None:
        f.write(bytes(size))
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fs.write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
