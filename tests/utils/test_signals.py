"""Asked once it stops when it is ready; asked twice with Ctrl-C it stops at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from alphatriangle.utils.signals import StopRequested, stop_on_signals
from tests.training.command import alphatriangle, show, start, train_arguments

CHILD = """
import sys
from alphatriangle.utils.signals import stop_on_signals
with stop_on_signals() as stop:
    print("ready", flush=True)
    while not stop:
        pass
    print("asked by", stop.signal_name, flush=True)
    sys.stdin.readline()
    print("asked again", flush=True)
"""


def child(code: str = CHILD) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", code],
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


STUCK = """
import ctypes, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
from alphatriangle.utils.signals import StopRequested, stop_on_signals
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(256)
libc.pthread_mutex_init(mutex, None)
libc.pthread_mutex_lock(mutex)
with stop_on_signals(own_process=True) as stop:
    with stop.at_once():
        while True:
            try:
                print("ready", flush=True)
                libc.pthread_mutex_lock(mutex)  # no signal ends it, no handler of Python's runs
            except StopRequested:
                pass  # it was not there yet
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_does_not_hear_and_has_nothing_to_lose_is_ended(
    number: signal.Signals,
) -> None:
    process = child(STUCK)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped; nothing is lost" in errors


IMPORTING = """
import sys
from alphatriangle.utils.signals import stop_on_signals
with stop_on_signals(own_process=True) as stop:
    with stop.importing():
        print("ready", flush=True)
        try:
            sys.stdin.readline()
        finally:
            print("raised", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_middle_of_an_import_nothing_is_raised(number: signal.Signals) -> None:
    process = child(IMPORTING)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "")
    assert f"stopped by {number.name}; nothing is lost" in errors


def test_where_c_code_drops_what_is_raised_nothing_is_said() -> None:
    """As numba's compiler does, which is called back from LLVM."""
    code = """
import ctypes, signal, sys
from alphatriangle.utils.signals import StopRequested, stop_on_signals
back = ctypes.CFUNCTYPE(None)(lambda: signal.raise_signal(signal.SIGTERM))
print("ready", flush=True)
sys.stdin.readline()
try:
    with stop_on_signals() as stop, stop.at_once():
        back()
        print("dropped", flush=True)
        stop.check()
except StopRequested:
    print("stopped", flush=True)
"""
    output, errors = child(code).communicate("go on\n", timeout=60)
    assert (output, errors) == ("dropped\nstopped\n", "")


ANOTHER_THREAD = """
import signal, sys, threading
from concurrent.futures import ThreadPoolExecutor
from alphatriangle.utils.signals import StopRequested, stop_on_signals
asked = threading.Event()
def work():
    # As the system does that chooses this thread for a signal of the process.
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    asked.wait()
with stop_on_signals(own_process={own_process}) as stop, ThreadPoolExecutor() as pool:
    print("ready", flush=True)
    sys.stdin.readline()
    waited = pool.submit(work)
    try:
        with stop.at_once():
            waited.result()
    except StopRequested:
        print("asked by", stop.signal_name)
    asked.set()
"""


@pytest.mark.parametrize("own_process", [False, True])
def test_a_signal_that_another_thread_gets_wakes_the_main_one(own_process: bool) -> None:
    process = child(ANOTHER_THREAD.replace("{own_process}", str(own_process)))
    output, errors = process.communicate("go on\n", timeout=60)
    assert (output, errors, process.returncode) == ("asked by SIGTERM\n", "", 0)


def test_an_error_that_a_signal_has_made_is_no_error() -> None:
    def compile_what_is_called_back() -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except StopRequested:
            raise RuntimeError("no compiled object yet") from None

    with stop_on_signals() as stop:
        with pytest.raises(RuntimeError, match="of its own"), stop.at_once():
            raise RuntimeError("of its own")
        with pytest.raises(StopRequested), stop.at_once():
            compile_what_is_called_back()


def test_where_nothing_can_be_lost_a_signal_ends_it() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        with pytest.raises(StopRequested), stop.at_once():
            signal.raise_signal(signal.SIGTERM)
        assert stop.stopped_by == "SIGTERM"
        with pytest.raises(StopRequested), stop.at_once():
            pytest.fail("it was asked before")
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_an_event_asks() -> None:
    event = threading.Event()

    def ask() -> tuple[bool, str | None, bool]:
        with stop_on_signals(event) as stop:
            before = bool(stop)
            event.set()
            return before, stop.stopped_by, bool(stop)

    with ThreadPoolExecutor() as pool:
        assert pool.submit(ask).result() == (False, "request", True)


def test_stopped_before_its_first_commit_a_run_goes_on_like_any_other(tmp_path: Path) -> None:
    """In every phase: exit code 0, the usual words, and nothing that hinders the next start."""
    with_workers = train_arguments(tmp_path, steps=2)
    alone = [*with_workers, "--workers", "0"]
    for phase, number, arguments in (
        ("new run", signal.SIGINT, alone),
        ("loading", signal.SIGTERM, alone),
        ("compiling", signal.SIGINT, alone),
        ("starting Ray", signal.SIGTERM, with_workers),
    ):
        process = start(arguments)
        assert process.stdout is not None
        output = ""
        for line in process.stdout:
            output += line
            if line.startswith((phase, "going on" if phase == "new run" else phase)):
                process.send_signal(number)
                break
        output += process.stdout.read()
        assert process.wait(60) == 0, output
        assert f"stopped by {number.name}" in output
        assert "the same command goes on" in output
        assert "error" not in output
    assert alphatriangle(*alone).returncode == 0
    assert show(tmp_path)["commit"]["global_step"] == 2
