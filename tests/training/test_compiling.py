"""Kernels are compiled before they are needed, and only once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from alphatriangle.utils.machine import core_count

PROGRAM = """
import json
from alphatriangle.config import Config
from alphatriangle.rl import lanes
from alphatriangle.training import compiling
from alphatriangle.utils.kernels import is_on_disk

KERNELS = (lanes.next_leaves, lanes.distinct_rows, lanes.give_evaluations)
config = Config()
before = is_on_disk(lanes.next_leaves)
with compiling.compiling_beside(config) as wait:
    compiling.compile_learner(config)
    compiling.compile_answers(config)
    wait(lambda: None)
compiled = sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS)
compiling.compile_self_play(config)
missed = sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS)
signatures = [len(kernel.signatures) for kernel in KERNELS]
print(json.dumps([before, is_on_disk(lanes.next_leaves), compiled, missed, signatures]))
"""

N_TUPLE_PROGRAM = """
import json
import sys
from rich.console import Console
from alphatriangle.config import build
from alphatriangle.game import GameState, players
from alphatriangle.nn import NeuralNetwork
from alphatriangle.ntuple import look_ahead, online
from alphatriangle.training import compiling
from alphatriangle.training.display.display import Display
from alphatriangle.training.judging.evaluation import evaluate_baseline
from alphatriangle.training.learning.rounds import RoundLearner
from alphatriangle.training.players import make_player
from alphatriangle.utils.signals import StopRequest

config = build({"model": {"kind": "ntuple"}, "ntuple": {"deals_per_step": 20}})
learner = RoundLearner(config, None, ())
quiet = Display(Console(file=sys.stderr), quiet=True)
learner.get_ready(quiet, StopRequest(), lambda check: None)
evaluate_baseline("beam", config, 1)
evaluate_baseline("planner", config, 1)
learner.step(0)
network = NeuralNetwork(config.model)
make_player(network, config).rank(GameState(1))
make_player(network, config).play([0], 1, lambda finished: None)
kernels = (online.play_and_learn, look_ahead.play_on, players.play_kernel)
print(json.dumps([len(kernel.signatures) for kernel in kernels]))
"""


def test_what_is_compiled_beside_and_ahead_is_what_playing_uses(tmp_path: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    seen = []
    for _ in range(2):
        program = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(program, env=environment, capture_output=True, check=True, text=True)
        seen.append(json.loads(done.stdout))
    # Here the two for the network's answers; next_leaves by the other process, on two cores.
    before, after, compiled, missed, signatures = seen[0]
    assert (before, after) == (False, True)
    assert missed - compiled == (0 if core_count() > 1 else 1)
    assert signatures == [1, 1, 1]
    assert seen[1] == [True, True, 0, 0, [1, 1, 1]]


def test_what_is_compiled_for_an_n_tuple_network_is_what_it_uses() -> None:
    """In a process of its own: in this one, tests compile the other way of packing bits as well."""
    program = [sys.executable, "-c", N_TUPLE_PROGRAM]
    done = subprocess.run(program, capture_output=True, check=True, text=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [1, 1, 1]
