"""Ctrl-C reaches whoever waits for a request, whichever thread the system gives the signal to."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import signal
import sys
import threading
from alphatriangle.utils.interrupting import interruptible

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell

def hangs():
    main = threading.main_thread().ident
    looks = 0
    while looks < 50:  # until it waits
        waits = sys._current_frames()[main].f_code.co_name == "wait"
        looks = looks + 1 if waits else 0
        threading.Event().wait(0.001)
    # To this thread alone, as the system may choose; it does not wake the main one.
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    threading.Event().wait(100)

try:
    interruptible(hangs)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_a_signal_that_another_thread_gets_ends_the_waiting() -> None:
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "interrupted\n"


def test_what_is_asked_for_comes_back_and_so_do_errors() -> None:
    program = """
from alphatriangle.utils.interrupting import interruptible

def fails():
    raise TimeoutError("of the request itself")

print(interruptible(lambda: 7))
try:
    interruptible(fails)
except TimeoutError as e:
    print(e)
"""
    run = [sys.executable, "-c", program]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "7\nof the request itself\n"
