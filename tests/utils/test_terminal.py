"""Text in any encoding; a stream to which writing never fails."""

from __future__ import annotations

import io
import os
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphatriangle.utils.terminal import READABLE, UnfailingStream


@given(st.text(st.characters()), st.sampled_from(["ascii", "latin-1", "cp437", "utf-8"]))
def test_any_text_in_any_encoding_letter_for_letter(text: str, encoding: str) -> None:
    written = text.encode(encoding, READABLE).decode(encoding)
    assert len(written) == len(text)
    for before, after in zip(text, written, strict=True):
        assert after == before or not before.isascii()


def test_what_is_shown_stays_readable() -> None:
    def in_ascii(text: str) -> str:
        return text.encode("ascii", READABLE).decode()

    assert in_ascii("3.0 – 4.5") == "3.0 - 4.5"
    assert len(set(in_ascii("▁▂▃▄▅▆▇█"))) == 8
    assert in_ascii("▲△▼▽") == "A^Vv", "a filled triangle is no free one"
    assert set(in_ascii("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")) <= set("|/-\\")


def ascii_stream(raw: io.RawIOBase | io.BytesIO) -> TextIO:
    return io.TextIOWrapper(raw, "ascii", write_through=True)  # type: ignore[arg-type]


def test_a_stream_takes_what_its_encoding_does_not_have() -> None:
    raw = io.BytesIO()
    stream = UnfailingStream(ascii_stream(raw))
    assert stream.write("a – b") == 5
    assert (raw.getvalue(), stream.failure) == (b"a - b", None)


def test_a_closed_stream_and_one_without_a_reader_take_everything() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        stream = UnfailingStream(gone)
        stream.write("x")
        stream.flush()
        assert isinstance(stream.failure, BrokenPipeError)
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)
    closed = UnfailingStream(gone)
    closed.write("x")
    closed.flush()
    assert isinstance(closed.failure, ValueError)
    assert not closed.isatty()


def test_a_pipe_that_nobody_reads_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UnfailingStream, "PATIENCE_SECONDS", 0.01)
    read, write = os.pipe()
    os.set_blocking(write, False)
    with os.fdopen(read, "rb", 0) as reader, os.fdopen(write, "w") as full:
        while os.write(write, b"x" * 4096) == 4096:
            if not UnfailingStream(full).write("") and UnfailingStream(full).failure:
                break
            stream = UnfailingStream(full)
            stream.write("")
            if stream.failure is not None:
                break
        stream.write("lost\n")
        assert isinstance(stream.failure, BlockingIOError)
        os.set_blocking(read, False)
        while reader.read(65536):
            pass
        stream.write("shown\n")
        stream.flush()
        assert (stream.failure, reader.read(100)) == (None, b"shown\n")
