"""Streams that people read: what a terminal has no letters for, and what nobody can read any more.

Somebody else decides what standard output is: a terminal in ASCII, a pipe whose reader has gone
away, a file on a full disk. Text becomes readable in any encoding, and for a training, which is
worth more than what it says, writing never fails.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import select
import sys
from typing import Final, TextIO

READABLE: Final = "alphatriangle.readable"
"""Name of the error handler for ``str.encode`` that replaces what an encoding does not have."""

_PLAIN: Final = {
    **dict.fromkeys("–—‐‑−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”„", '"'),
    "▲": "A",
    "△": "^",
    "▼": "V",
    "▽": "v",
    **dict.fromkeys("·•∙", "."),
    **dict(zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True)),
    **dict.fromkeys("━─╸╺═", "-"),
    **dict.fromkeys("│┃║╷╵", "|"),
    "…": ".",
    "×": "x",
    "±": "~",
    "→": ">",
    "µ": "u",
}
_BRAILLE: Final = range(0x2800, 0x2900)
_BOXES: Final = range(0x2500, 0x2580)


def _plain(letter: str) -> str:
    """One letter for one, so that columns stay columns."""
    if ord(letter) in _BRAILLE:
        return "|/-\\"[ord(letter) % 4]  # of which spinners are made
    return _PLAIN.get(letter, "+" if ord(letter) in _BOXES else "?")


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


codecs.register_error(READABLE, _replace)


def make_streams_readable() -> None:
    """Let the standard streams of this process take, and give, any text in whatever encoding."""
    for stream, errors in ((sys.stdin, "replace"), (sys.stdout, READABLE), (sys.stderr, READABLE)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)


class UnfailingStream(io.TextIOBase):
    """A stream to which writing never fails and never takes long; :attr:`failure` says what
    is wrong now.

    What cannot be written is left out: the reader is gone, the terminal closed, the disk full, or
    nobody reads what a pipe holds.
    """

    PATIENCE_SECONDS = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: Exception | None = None

    def write(self, text: str) -> int:
        """Write what can be written; the length of ``text``, whatever becomes of it."""
        try:
            self._wait_for_room()
            self.failure = None
            try:
                self._stream.write(text)
            except UnicodeEncodeError as e:
                self._stream.write(text.encode(e.encoding, READABLE).decode(e.encoding))
        except (OSError, ValueError) as e:  # a ValueError: the stream has been closed
            self.failure = e
        return len(text)

    def _wait_for_room(self) -> None:
        if os.name != "posix":
            return  # select knows sockets only
        try:
            number = self._stream.fileno()
        except (OSError, ValueError):
            return
        # Who did not read a moment ago is not waited for again.
        seconds = 0.0 if isinstance(self.failure, BlockingIOError) else self.PATIENCE_SECONDS
        if not select.select([], [number], [], seconds)[1]:
            raise BlockingIOError("nobody reads what has been written")

    def flush(self) -> None:
        """Pass on what can be passed on."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as e:
            self.failure = e

    def isatty(self) -> bool:
        """Of the stream; a closed one is none."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def fileno(self) -> int:
        """Of the stream."""
        return self._stream.fileno()

    def writable(self) -> bool:
        """Always."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"


def drop_unwritten(stream: TextIO) -> None:
    """Let go of what ``stream`` could not be given, lest the interpreter tries again at its end.

    For the standard streams of our own process, as its last deed.
    """
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
