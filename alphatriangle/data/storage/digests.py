"""The two digests of a file, and what each is for.

**sha256** names a content wherever it goes: objects of a replica, what MLflow was given, segments
in buffer files. **xxh3** (XXH3 of 128 bits) is made beside it when a file is written, and is what
the next start checks the bytes by, some twenty times as fast. Both find every accident; xxh3 finds
nothing that somebody forges, and whoever forges can write another sha256 into a record as well.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal, NamedTuple

import xxhash

Algorithm = Literal["sha256", "xxh3"]

MAKERS: Final[dict[Algorithm, Any]] = {"sha256": hashlib.sha256, "xxh3": xxhash.xxh3_128}


class FileDigest(NamedTuple):
    """What identifies the content of a file."""

    size: int  # bytes
    sha256: str  # hex
    xxh3: str  # hex

    @property
    def identity(self) -> tuple[int, str]:
        """Size and sha256: what a content is known by elsewhere."""
        return self.size, self.sha256


class Checksum(NamedTuple):
    """What some bytes must have."""

    algorithm: Algorithm
    value: str  # hex


def fastest(sha256: str, xxh3: str | None) -> Checksum:
    """The one to check bytes by; of what older versions have written there is only the sha256."""
    return Checksum("sha256", sha256) if xxh3 is None else Checksum("xxh3", xxh3)


class Digester:
    """Makes both digests of the bytes that it is given. Takes them without the interpreter's
    lock."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._xxh3 = xxhash.xxh3_128()
        self._size = 0

    def update(self, data: Any) -> None:
        """Bytes that follow."""
        self._sha256.update(data)
        self._xxh3.update(data)
        self._size += len(data)

    def digest(self) -> FileDigest:
        """Of everything so far."""
        return FileDigest(self._size, self._sha256.hexdigest(), self._xxh3.hexdigest())
