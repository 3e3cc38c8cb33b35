"""What a replica holds as JSON: claims, commits, the hint; each sealed by a digest of its own."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from alphatriangle.data.commits.files import seal_of
from alphatriangle.data.errors import CorruptReplicaError
from alphatriangle.data.json_files import parse_json
from alphatriangle.data.records import Commit, RunInfo, Sha256
from alphatriangle.data.replica.layout import ObjectPlace, Position

LARGEST_RECORD: Final = 64 << 20
"""Bytes of JSON that are read into memory: a commit of 100,000 files is a third of it."""
LARGEST_CLAIM: Final = 1 << 16

EpochNumber = Annotated[int, Field(ge=1, lt=10**9)]
Nonce = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_SEAL_SHOWN: Final = 16


class Held(NamedTuple):
    """A commit that the replica keeps, as every newer commit lists it."""

    epoch: int
    number: int
    sequence: int
    step: int
    created_ns: int
    seal: str
    """The beginning of the commit's own: which commit it is, wherever it lies."""

    @property
    def position(self) -> Position:
        """Where it lies."""
        return Position(self.epoch, self.number)


class Dropped(NamedTuple):
    """A commit that is kept no more, whose files are still there."""

    epoch: int
    number: int
    dropped_in: int
    """The epoch of the commit that dropped it."""

    @property
    def position(self) -> Position:
        """Where it lies."""
        return Position(self.epoch, self.number)


def _held(value: Any) -> Any:
    match value:
        case [int(epoch), int(number), int(sequence), int(step), int(created_ns), str(seal)]:
            numbers = (epoch, number, sequence, step, created_ns)
            if all(0 <= n < 2**63 for n in numbers) and epoch and number and len(seal) < 65:
                return Held(*numbers, seal)
    raise ValueError("not a commit that is held")


def _dropped(value: Any) -> Any:
    match value:
        case [int(epoch), int(number), int(dropped_in)]:
            if all(0 < n < 2**63 for n in (epoch, number, dropped_in)):
                return Dropped(epoch, number, dropped_in)
    raise ValueError("not a commit that was dropped")


# Lists of numbers in the file: there is one for each commit that is kept, in each commit.
_Held = Annotated[Held, BeforeValidator(_held), PlainSerializer(list)]
_Dropped = Annotated[Dropped, BeforeValidator(_dropped), PlainSerializer(list)]


class _Sealed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    seal: str = ""
    """sha256 (hex) over everything else."""


class Epoch(_Sealed):
    """A writer's claim: from now on nobody who writes to an older epoch is acknowledged."""

    format_version: Literal[1] = 1
    run_name: str
    epoch: EpochNumber
    nonce: Nonce
    """Of the process that made it."""
    host: str
    pid: int
    created_at: str
    """UTC, ISO 8601; for people."""


class StoredObject(BaseModel):
    """A file that is an object, but none of those that the commit names."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    epoch: EpochNumber
    size: int = Field(ge=0, lt=2**63)
    sha256: Sha256

    @property
    def place(self) -> ObjectPlace:
        """Where it lies."""
        return ObjectPlace(self.epoch, self.sha256)


class RemoteCommit(_Sealed):
    """A commit of the replica: that of the run, where its files are, and what else is kept."""

    format_version: Literal[1, 2] = 1
    """That of its commit."""
    epoch: EpochNumber
    number: int = Field(ge=1, lt=10**15)
    nonce: Nonce
    """Of the writer."""
    parent: str | None = None
    """Seal of the replica's commit that this one follows."""
    commit: Commit
    epochs: list[EpochNumber]
    """In which epoch the object of each file of the commit lies, in the order of its files."""
    run_info: RunInfo | None = None
    """As it was then. Small, and what the arithmetic of a resume depends on: it stands here."""
    configs: StoredObject | None = None
    holds: list[_Held]
    """The commits that are kept, the newest first, this one among them."""
    best_sequence: int | None = None
    """Which of them is the best, as the newest says."""
    dropped: list[_Dropped] = Field(default_factory=list)
    """Those whose files are to be removed, by and by."""
    pins: list[int] = Field(default_factory=list)
    """Sequence numbers of commits that are pinned."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.format_version != self.commit.format_version:
            raise ValueError(f"its commit has format version {self.commit.format_version}")
        if len(self.epochs) != len(self.commit.files):
            raise ValueError("it does not say of each file where it is")
        if not any(held.position == self.position for held in self.holds):
            raise ValueError("it does not hold itself")
        return self

    @property
    def position(self) -> Position:
        """Where it lies."""
        return Position(self.epoch, self.number)

    @property
    def newest(self) -> Held:
        """Of the commits that are kept; commits of an outage may follow newer ones."""
        return max(self.holds, key=lambda held: held.sequence)

    def file_sizes(self) -> dict[ObjectPlace, int]:
        """The objects of the files that the commit names, and the bytes of each."""
        files = zip(self.commit.files, self.epochs, strict=True)
        return {ObjectPlace(epoch, file.sha256): file.size for file, epoch in files}

    def sizes(self) -> dict[ObjectPlace, int]:
        """All objects that it takes to have this commit, and the bytes of each."""
        more = {} if self.configs is None else {self.configs.place: self.configs.size}
        return {**self.file_sizes(), **more}


class Hint(_Sealed):
    """``HEAD.json``: a commit that was acknowledged; newer ones are found from there."""

    format_version: Literal[1] = 1
    epoch: EpochNumber
    number: int = Field(ge=1, lt=10**15)

    @property
    def position(self) -> Position:
        """Where it says the newest commit was."""
        return Position(self.epoch, self.number)


def seal_shown(commit: Commit) -> str:
    """What tells a commit from all others in a list of them."""
    return seal_of(commit)[:_SEAL_SHOWN]


Record = TypeVar("Record", bound=_Sealed)


def sealed(record: Record) -> tuple[Record, bytes]:
    """The record with its seal, and the content of its object."""
    fields = record.model_dump(mode="json", exclude={"seal"})
    seal = _seal(fields)
    content = json.dumps({**fields, "seal": seal}, separators=(",", ":")).encode() + b"\n"
    return record.model_copy(update={"seal": seal}), content


def parse(content: bytes, key: str, model: type[Record]) -> Record:
    """The record under ``key``, which is not trusted.

    Raises:
        CorruptReplicaError: it is damaged.
        UnsupportedFormatError: a newer version wrote it.
    """
    record = parse_json(content, Path(key), model, CorruptReplicaError)
    # Only what stands there: a field that this version adds must not break older seals.
    fields = record.model_dump(mode="json", exclude={"seal"}, exclude_unset=True)
    if _seal(fields) != record.seal:
        raise CorruptReplicaError(Path(key), "its content does not match its seal")
    return record


def parse_commit(content: bytes, key: str, position: Position) -> RemoteCommit:
    """:func:`parse` of the commit of a position.

    Raises:
        CorruptReplicaError: it is damaged, or another one.
        UnsupportedFormatError: a newer version wrote it.
    """
    record = parse(content, key, RemoteCommit)
    if record.position != position:
        raise CorruptReplicaError(Path(key), f"it says that it is commit {record.position}")
    return record


def _seal(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
