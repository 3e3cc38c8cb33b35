"""Ctrl-C ends games in the middle, whichever thread the system gives the signal to."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import signal, threading
from alphatriangle.ntuple.hand_made import hand_made_weights
from alphatriangle.ntuple.look_ahead import Effort
from alphatriangle.ntuple.planner import play_games

calls = []

def between(finished):
    calls.append(finished)
    if len(calls) == 1:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        handled.wait()

handled = threading.Event()

def handle(number, frame):
    threading.Timer(0.5, handled.set).start()
    signal.default_int_handler(number, frame)

signal.signal(signal.SIGINT, handle)
games = dict(seed=1, episodes=range(2), max_moves=30_000, threads=2)
try:
    play_games(hand_made_weights(), Effort(8, 4, 16, 1), **games, between=between)
except KeyboardInterrupt:
    print("interrupted", max(calls), len(calls) <= 3)
"""


def test_games_end_in_the_middle() -> None:
    """Of the others, too: each looks every few deals."""
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.stderr) == ("interrupted 0 True\n", "")
