"""Asked once it stops when it is ready; asked twice with Ctrl-C it stops at once."""

from __future__ import annotations

import signal
import subprocess
import sys

CHILD = """
import sys
from alphatriangle.training.signals import stop_on_signals
with stop_on_signals() as stop:
    print("ready", flush=True)
    while not stop:
        pass
    print("asked by", stop.signal_name, flush=True)
    sys.stdin.readline()
    print("asked again", flush=True)
"""


def child() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_second_ctrl_c_exits_at_once() -> None:
    process = child()
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked by SIGINT\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    output, errors = process.communicate()
    assert output == ""
    assert "what was committed is safe" in errors


def test_a_second_sigterm_is_patient() -> None:
    process = child()
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked by SIGTERM\n"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate("go on\n", timeout=20)
    assert (process.returncode, output) == (0, "asked again\n")
