"""One piece of work at a time, its result or its error to whoever asks, and nothing cut short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from alphatriangle.data.storage.background import Background


def test_results_and_errors_belong_to_who_collects() -> None:
    background = Background(lambda n: 10 // n, "test")
    assert background.collect(wait=True) is None, "nothing has been begun"
    background.start(5)
    assert background.collect(wait=True) == 2
    background.start(0)
    with pytest.raises(ZeroDivisionError):
        background.collect(wait=True)
    assert background.collect(wait=True) is None, "an error is told once"
    background.start(2)
    assert background.collect(wait=True) == 5
    background.close()


def test_asking_does_not_wait() -> None:
    go = Event()
    background = Background(lambda _: go.wait(60), "test")
    background.start(1)
    assert background.collect(wait=False) is None
    go.set()
    assert background.collect(wait=True) is True
    background.close()


def test_what_was_begun_is_finished_at_exit(tmp_path: Path) -> None:
    target = tmp_path / "done"
    code = f"""
from pathlib import Path
from alphatriangle.data.storage.background import Background
from time import sleep
background = Background(lambda p: (sleep(0.2), Path(p).touch()), "test")
background.start({str(target)!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert target.exists()
