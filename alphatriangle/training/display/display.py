"""How the person is told while training: a live view in a terminal, plain lines anywhere else.

Never silent for long: a phase of which nothing is heard repeats what it is doing.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, TextIO, cast

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from alphatriangle.training.display.view import View, facts, panel, plain_line
from alphatriangle.utils.terminal import UnfailingStream

_LINE_SECONDS = 3.0  # between two plain lines


def console_on(stream: TextIO) -> Console:
    """For what is said of a training: whatever becomes of ``stream``, training goes on."""
    return Console(file=cast(IO[str], UnfailingStream(stream)))


def _say_nothing(how_far: str) -> None:
    pass


class Display:
    """Shows phases and views."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self.console = console
        self._quiet = quiet
        self._live: Live | None = None
        self._last_line = 0.0
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Something that stays on the screen."""
        if self._quiet:
            return
        with self._lock:
            self._last_line = time.monotonic()
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def phase(self, what: str) -> Iterator[Callable[[str], None]]:
        """Something that takes a while; what is yielded takes how far it is."""
        if self._quiet:
            yield _say_nothing
            return
        began = time.monotonic()
        if self.console.is_terminal and self._live is None:
            spinner = Spinner("dots", what)
            with Live(spinner, console=self.console, transient=True):
                yield lambda how_far: spinner.update(text=f"{what}: {how_far}")
        else:
            self.note(f"{what} ...")
            done = threading.Event()
            so_far = [""]
            thread = threading.Thread(
                target=self._repeat, args=(what, so_far, began, done), daemon=True
            )
            thread.start()
            try:
                yield lambda how_far: so_far.__setitem__(0, f"{how_far}, ")
            finally:
                done.set()
                thread.join()
        if self.console.is_terminal:
            self.note(f"{what}: {time.monotonic() - began:.1f} s")

    def _repeat(self, what: str, so_far: list[str], began: float, done: threading.Event) -> None:
        while not done.wait(_LINE_SECONDS):
            self.note(f"{what} ... {so_far[0]}{time.monotonic() - began:.0f} s")

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """While it lasts, :meth:`update` shows views."""
        if self.console.is_terminal and not self._quiet:
            # Drawing takes 2 ms: twice a second is under half a percent of a core.
            with Live(console=self.console, refresh_per_second=2, transient=True) as live:
                self._live = live
                try:
                    yield
                finally:
                    self._live = None
        else:
            yield

    def update(self, view: View, *, force: bool = False) -> None:
        """Show the facts of the moment; in plain lines, every few seconds."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.update(panel(view))
        elif force or time.monotonic() - self._last_line >= _LINE_SECONDS:
            self.note(plain_line(view))


class JsonDisplay(Display):
    """One JSON object a line, for programs: notes, phases and progress, each with its time."""

    def note(self, text: str) -> None:
        """See :meth:`Display.note`."""
        self.say("note", text=text)

    @contextlib.contextmanager
    def phase(self, what: str) -> Iterator[Callable[[str], None]]:
        """Its begin and its end."""
        began = time.monotonic()
        self.say("phase", what=what)
        yield _say_nothing
        self.say("phase done", what=what, seconds=time.monotonic() - began)

    @contextlib.contextmanager
    def training(self) -> Iterator[None]:
        """Nothing special."""
        yield

    def update(self, view: View, *, force: bool = False) -> None:
        """The facts of the moment, every few seconds."""
        if force or time.monotonic() - self._last_line >= _LINE_SECONDS:
            self.say("progress", **facts(view))

    def say(self, event: str, **more: Any) -> None:
        """One event and its facts."""
        with self._lock:
            self._last_line = time.monotonic()
            line = json.dumps({"event": event, "time": time.time(), **more})
            self.console.file.write(line + "\n")
            self.console.file.flush()
