"""Where points go. Each sink knows the last step it was given for each name, also from before a
restart, and takes no step twice."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes points; ``last_steps`` is what it has."""

    last_steps: dict[str, int]

    def write(self, step: int, points: Mapping[str, float]) -> None:
        """Take points of a step that is new for each of them."""

    def flush(self) -> None:
        """Make everything taken so far durable."""

    def close(self) -> None:
        """Flush and let go."""


class TensorBoardSink:
    """Event files in ``folder``.

    Records are written here and now rather than by the library's thread: a disk that is full must
    not end training. Points that could not be written are kept and go into a new file later.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._waiting: list[tuple[float, int, dict[str, float]]] = []
        self.last_steps = _steps_in_event_files(folder)

    def write(self, step: int, points: Mapping[str, float]) -> None:
        self._waiting.append((time.time(), step, dict(points)))
        self.last_steps.update(dict.fromkeys(points, step))
        self._drain(durable=False)

    def flush(self) -> None:
        self._drain(durable=True)

    def close(self) -> None:
        self.flush()
        self._drop_file()

    def _drain(self, *, durable: bool) -> None:
        try:
            if self._file is None and self._waiting:
                self._open()
            if self._file is None:
                return
            for wall_time, step, points in self._waiting:
                self._file.write(_record(wall_time, step, points))
            self._file.flush()
            if durable:
                os.fsync(self._file.fileno())
            self._waiting.clear()
        except OSError as e:
            logger.warning("TensorBoard took no points, %d kept: %s", len(self._waiting), e)
            self._drop_file()

    def _open(self) -> None:
        """Begin a new file; what an unfinished one did take after all is not written again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        there = _steps_in_event_files(self._folder)
        self._waiting = [
            (wall_time, step, {k: v for k, v in points.items() if there.get(k, -1) < step})
            for wall_time, step, points in self._waiting
        ]
        # A name in the order of time, unique also within a second.
        name = f"events.out.tfevents.{time.time_ns():020}.{socket.gethostname()}.{os.getpid()}"
        self._file = (self._folder / name).open("xb")
        self._file.write(_header(time.time()))

    def _drop_file(self) -> None:
        if self._file is not None:
            # Closing flushes what could not be written before: it may fail for the same reason.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


def _framed(event: Any) -> bytes:
    """An event as a record of the file format: length, contents, and a checksum of each."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def _header(wall_time: float) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event as EventProto

    return _framed(EventProto(wall_time=wall_time, file_version="brain.Event:2"))


def _record(wall_time: float, step: int, points: Mapping[str, float]) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event as EventProto
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [Summary.Value(tag=name, simple_value=value) for name, value in points.items()]
    return _framed(EventProto(wall_time=wall_time, step=step, summary=Summary(value=values)))


def _steps_in_event_files(folder: Path) -> dict[str, int]:
    """The highest step of each tag; the torn end of a killed writer's file is passed over."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps: dict[str, int] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                steps[value.tag] = max(steps.get(value.tag, -1), event.step)
    return steps
