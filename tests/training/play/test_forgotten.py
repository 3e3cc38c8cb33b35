"""A worker that nobody calls any more ends, one that is called or at work does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import threading, sys
from alphatriangle.training.play.forgotten import EndsWhenForgotten
life = EndsWhenForgotten(0.4)
{what}
threading.Event().wait()
"""
AT_WORK = """
with life.call():
    threading.Event().wait(1.5)
    print("at work", flush=True)
"""
CALLED = """
for _ in range(15):
    with life.call():
        pass
    threading.Event().wait(0.1)
print("called", flush=True)
"""


@pytest.mark.parametrize(("what", "said"), [("", ""), (AT_WORK, "at work\n"), (CALLED, "called\n")])
def test_it_ends_when_it_is_forgotten(what: str, said: str) -> None:
    program = [sys.executable, "-c", PROGRAM.replace("{what}", what)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, said, "")
