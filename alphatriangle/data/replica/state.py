"""``replica/state.json``: what a run's folder remembers of its replica.

It is not trusted with safety: whose folder is a copy, or was rolled back, has the same file. It
says where the commit lies that was acknowledged last, for people and for a folder that has removed
that commit since, and which damaged commits its restore has passed over.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from alphatriangle.data.errors import CorruptFileError, DataError, UnsupportedFormatError
from alphatriangle.data.json_files import read_json_if_any
from alphatriangle.data.replica.layout import Position
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
    try:
        state = read_json_if_any(path, ReplicaState, CorruptFileError)
    except (CorruptFileError, UnsupportedFormatError) as e:
        logger.warning("what this folder remembers of its replica is lost: %s", e)
        state = None
    if state is None or (state.url, state.run_name) != (url, run_name):
        return ReplicaState(url=url, run_name=run_name)
    return state


def read_any_state(path: Path) -> ReplicaState | None:
    """What is remembered, of whatever replica; None if nothing is, or it is not readable."""
    try:
        return read_json_if_any(path, ReplicaState, CorruptFileError)
    except DataError:
        return None


def write_state(path: Path, state: ReplicaState) -> None:
    """Remember.

    Raises:
        OSError: it cannot be written.
    """
    fs.make_folder(path.parent)
    fs.write_bytes(path, state.model_dump_json(indent=1).encode() + b"\n")
