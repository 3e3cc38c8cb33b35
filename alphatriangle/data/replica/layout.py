"""Where everything of a replica is: keys, and what a key says.

::

    <run>/epochs/000001.json                     a writer's claim: created once, never removed
    <run>/e000001/commits/000000000042.json      a commit, by the number it has within its epoch
    <run>/e000001/objects/<sha256>               the content of a file
    <run>/HEAD.json                              a hint where to begin to look
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

_COMMIT: Final = re.compile(r"e(\d{6,9})/commits/(\d{12,15})\.json", re.ASCII)
_OBJECT: Final = re.compile(r"e(\d{6,9})/objects/([0-9a-f]{64})", re.ASCII)
_EPOCH: Final = re.compile(r"epochs/(\d{6,9})\.json", re.ASCII)


class Position(NamedTuple):
    """Which commit of a replica; both numbers begin with 1 and leave none out."""

    epoch: int
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}/{self.number}"


class ObjectPlace(NamedTuple):
    """Which object of a replica."""

    epoch: int
    sha256: str


class EpochPlace(NamedTuple):
    """Which claim."""

    epoch: int


class Layout(NamedTuple):
    """The keys of one run."""

    run_name: str

    @property
    def prefix(self) -> str:
        """All of the run."""
        return f"{self.run_name}/"

    @property
    def head(self) -> str:
        """The hint."""
        return f"{self.prefix}HEAD.json"

    @property
    def epochs(self) -> str:
        """All claims."""
        return f"{self.prefix}epochs/"

    def epoch(self, epoch: int) -> str:
        """A claim."""
        return f"{self.epochs}{epoch:06d}.json"

    def folder(self, epoch: int, kind: Literal["commits", "objects"]) -> str:
        """All commits or objects of an epoch."""
        return f"{self.prefix}e{epoch:06d}/{kind}/"

    def commit(self, position: Position) -> str:
        """A commit."""
        return f"{self.folder(position.epoch, 'commits')}{position.number:012d}.json"

    def object(self, place: ObjectPlace) -> str:
        """The content of a file."""
        return f"{self.folder(place.epoch, 'objects')}{place.sha256}"

    def parse(self, key: str) -> Position | ObjectPlace | EpochPlace | None:
        """What is under a key; None where it is none that :class:`Layout` gives."""
        if not key.startswith(self.prefix):
            return None
        rest = key[len(self.prefix) :]
        place: Position | ObjectPlace | EpochPlace
        if match := _COMMIT.fullmatch(rest):
            place = Position(int(match[1]), int(match[2]))
            again = self.commit(place)
        elif match := _OBJECT.fullmatch(rest):
            place = ObjectPlace(int(match[1]), match[2])
            again = self.object(place)
        elif match := _EPOCH.fullmatch(rest):
            place = EpochPlace(int(match[1]))
            again = self.epoch(place.epoch)
        else:
            return None
        return place if again == key and place.epoch > 0 else None
