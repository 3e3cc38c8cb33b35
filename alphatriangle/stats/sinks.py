"""Where points go. Each sink knows the last step it was given for each name, also from before a
restart, and takes no step twice."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import threading
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

    def sync(self) -> None:
        """Make what was taken so far durable: on any thread, drawing nothing, also after close."""

    def close(self) -> None:
        """Sync and let go."""


class TensorBoardSink:
    """Event files in ``folder``.

    Records are written here and now rather than by the library's thread: a disk that is full must
    not end training. Points that could not be written are kept and go into a new file later.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._guard = threading.Lock()
        """Held for all but the wait for the disk: nobody who writes waits for a sync."""
        self._waiting: list[tuple[float, int, dict[str, float]]] = []
        self.last_steps = _steps_in_event_files(folder)

    def write(self, step: int, points: Mapping[str, float]) -> None:
        with self._guard:
            self._waiting.append((time.time(), step, dict(points)))
            self.last_steps.update(dict.fromkeys(points, step))
            self._drain()

    def sync(self) -> None:
        try:
            with self._guard:
                if self._waiting:
                    self._drain()
                if self._file is None:
                    return
                # Its own, so that the file may be closed meanwhile.
                descriptor = os.dup(self._file.fileno())
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as e:
            logger.warning("TensorBoard's points may not outlast a power cut: %s", e)

    def close(self) -> None:
        self.sync()
        with self._guard:
            self._drop_file()

    def _drain(self) -> None:
        try:
            if self._file is None and self._waiting:
                self._open()
            if self._file is None:
                return
            for wall_time, step, points in self._waiting:
                self._file.write(_record(wall_time, step, points))
            self._file.flush()
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
        if (file := self._file) is None:
            return
        self._file = None
        # What it has taken is never written again, so it has to be durable. Each step may fail, for
        # the reason why the file is dropped.
        for step in (file.flush, lambda: os.fsync(file.fileno()), file.close):
            with contextlib.suppress(OSError):
                step()


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
