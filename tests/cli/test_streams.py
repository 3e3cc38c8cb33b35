"""What cannot be shown ends nothing, and what a terminal has no letters for becomes readable."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.command import COMMAND, commits, show, train_arguments

ONLY_AT_THE_END = ["--workers", "0", "--set", "persistence.save_freq_steps=1000000"]


def step_of(data: Path) -> int:
    step: int = show(data)["commit"]["global_step"]
    return step


@pytest.mark.parametrize("words", [[], ["--log-format", "json"], ["--json"]])
def test_a_reader_who_goes_away_ends_no_training(tmp_path: Path, words: list[str]) -> None:
    process = subprocess.Popen(
        [*COMMAND, *train_arguments(tmp_path, *ONLY_AT_THE_END, *words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    (process.stderr if words == ["--json"] else process.stdout).readline()
    process.stdout.close()
    process.stderr.close()
    assert process.wait(200) == 0
    assert step_of(tmp_path) == 24


def test_a_full_disk_for_what_is_said_ends_no_training(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        arguments = [*COMMAND, *train_arguments(tmp_path, "--workers", "0")]
        assert subprocess.run(arguments, stdout=full, stderr=full, check=False).returncode == 0
    assert step_of(tmp_path) == 24


def test_a_reader_who_has_seen_enough_of_a_list(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    arguments = [*COMMAND, "runs", "list", "--data-dir", str(tmp_path)]
    process = subprocess.run(arguments, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (process.returncode, process.stderr) == (0, b"")


class Terminal:
    """A terminal of its own, in which a command runs as its session's leader."""

    def __init__(self, arguments: list[str], *, hangup_ignored: bool = False, **env: str) -> None:
        self._master, slave = pty.openpty()
        hangup = signal.SIG_IGN if hangup_ignored else signal.SIG_DFL

        def become_leader() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGHUP, hangup)

        self.process = subprocess.Popen(
            arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=become_leader,
            env={**os.environ, "COLUMNS": "100", "LINES": "40", "TERM": "xterm", **env},
        )
        os.close(slave)

    def pieces(self) -> Iterator[bytes]:
        """What is shown, until the command ends."""
        while True:
            select.select([self._master], [], [], 200)
            try:
                piece = os.read(self._master, 4096)
            except OSError:  # nobody has the other end any more
                return
            if not piece:
                return
            yield piece

    def read_until(self, pattern: bytes) -> None:
        shown = b""
        for piece in self.pieces():
            shown += piece
            if re.search(pattern, shown):
                return
        raise AssertionError(shown[-2000:])

    def close(self) -> None:
        os.close(self._master)


@pytest.mark.parametrize("hangup_ignored", [False, True])
def test_a_closed_terminal_saves_and_stops_unless_hangups_are_ignored(
    tmp_path: Path, hangup_ignored: bool
) -> None:
    steps = 60 if hangup_ignored else 100_000
    arguments = train_arguments(tmp_path, *ONLY_AT_THE_END, steps=steps)
    terminal = Terminal([*COMMAND, *arguments], hangup_ignored=hangup_ignored)
    terminal.read_until(rb"of [\d,]+ steps")
    terminal.close()
    assert terminal.process.wait(200) == 0
    assert len(commits(tmp_path)) == 1
    assert (step_of(tmp_path) == 60) if hangup_ignored else (step_of(tmp_path) > 0)


@pytest.fixture(scope="module")
def trained_in_ascii(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained, and evaluated, in a terminal that knows ASCII only."""
    data = tmp_path_factory.mktemp("ascii")
    arguments = train_arguments(data, "--workers", "0", "--set", "stats.evaluation_games=3")
    terminal = Terminal([*COMMAND, *arguments], PYTHONIOENCODING="ascii")
    shown = b"".join(terminal.pieces()).decode("ascii")
    terminal.close()
    assert terminal.process.wait(60) == 0, shown
    assert "is complete: 24 steps" in shown
    assert re.search(r"[|/\\-] compiling kernels", shown), "a spinner"
    assert re.search(r"\d\.\d - \d+\.\d", shown), "an interval"
    return data


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    "words",
    [
        ["runs", "list"], ["runs", "show", "r", "--tensors"], ["watch", "r"], ["config", "show"],
        ["eval", "r", "--games", "2"], ["report", "r", "--html", "r.html"], ["play", "r"],
        ["config", "diff", "quick", "laptop"], ["--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_command_in_a_terminal_without_unicode(
    trained_in_ascii: Path, tmp_path: Path, words: list[str], encoding: str
) -> None:
    where = [] if words == ["--help"] else ["--data-dir", str(trained_in_ascii)]
    result = subprocess.run(
        [sys.executable, "-m", "alphatriangle", *words, *where],
        capture_output=True,
        input="hint\ntürkis\nquit\n".encode("latin-1"),
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "FORCE_COLOR": "1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    assert result.stdout.decode(encoding)
