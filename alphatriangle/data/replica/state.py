"""``replica/state.json``: what a run's folder remembers of its replica.

It is not trusted with safety: whose folder is a copy, or was rolled back, has the same file. It
says where the commit lies that was acknowledged last, for people and for a folder that has removed
that commit since, and which damaged commits its restore has passed over. What was remembered of
another replica, which the run may go back to, stays beside it.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alphatriangle.data.errors import CorruptFileError, DataError, UnsupportedFormatError
from alphatriangle.data.json_files import read_json_if_any
from alphatriangle.data.records import Commit
from alphatriangle.data.replica.layout import Position
from alphatriangle.data.replica.records import seal_shown
from alphatriangle.data.storage import fs

logger = logging.getLogger(__name__)


class Acknowledged(BaseModel):
    """A commit that the replica has, for sure."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    epoch: int = Field(ge=1)
    number: int = Field(ge=1)
    sequence: int = Field(ge=1)
    step: int = Field(ge=0)
    seal: str
    at: str
    """UTC, ISO 8601; for people."""

    @property
    def position(self) -> Position:
        """Where it lies."""
        return Position(self.epoch, self.number)


def acknowledged_now(position: Position, commit: Commit) -> Acknowledged:
    """That the replica has ``commit`` at ``position``, which has just been found out."""
    return Acknowledged(
        epoch=position.epoch,
        number=position.number,
        sequence=commit.sequence,
        step=commit.global_step,
        seal=seal_shown(commit),
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


class ReplicaState(BaseModel):
    """What is remembered of one replica."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format_version: Literal[1] = 1
    url: str
    run_name: str
    epoch: int | None = None
    """The last that was claimed from here."""
    acknowledged: Acknowledged | None = None
    passed_over: list[list[int]] = Field(default_factory=list)
    error: str | None = None
    """Why nothing was handed over the last time that it was tried."""
    error_since: str | None = None
    """UTC, ISO 8601."""

    def positions_passed_over(self) -> frozenset[Position]:
        """Commits of the replica that a restore has found damaged."""
        return frozenset(Position(*pair) for pair in self.passed_over if len(pair) == 2)


def read_state(path: Path, url: str, run_name: str) -> ReplicaState:
    """What is remembered of the replica of that name there; nothing, if that is not readable."""
    for place in (path, _beside(path, url)):
        try:
            state = read_json_if_any(place, ReplicaState, CorruptFileError)
        except (CorruptFileError, UnsupportedFormatError) as e:
            logger.warning("what this folder remembers of its replica is lost: %s", e)
            continue
        if state is not None and (state.url, state.run_name) == (url, run_name):
            return state
    return ReplicaState(url=url, run_name=run_name)


def read_any_state(path: Path) -> ReplicaState | None:
    """What is remembered of the replica that was written to last; None if nothing is, or it is not
    readable."""
    try:
        return read_json_if_any(path, ReplicaState, CorruptFileError)
    except DataError:
        return None


def write_state(path: Path, state: ReplicaState) -> None:
    """Remember, without forgetting another replica of the run.

    Raises:
        OSError: it cannot be written.
    """
    fs.make_folder(path.parent)
    before = read_any_state(path)
    if before is not None and before.run_name == state.run_name and before.url != state.url:
        content = before.model_dump_json(indent=1).encode() + b"\n"
        fs.write_bytes(_beside(path, before.url), content)
    fs.write_bytes(path, state.model_dump_json(indent=1).encode() + b"\n")


def _beside(path: Path, url: str) -> Path:
    return path.with_name(f"{path.stem}-{hashlib.sha256(url.encode()).hexdigest()[:16]}.json")
