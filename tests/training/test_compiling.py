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
from alphatriangle.config import build, preset
from alphatriangle.rl import lanes
from alphatriangle.training import compiling
from alphatriangle.utils.kernels import is_on_disk

KERNELS = (lanes.next_leaves, lanes.distinct_rows, lanes.give_evaluations)
config = build(preset("quick"))
before = is_on_disk(lanes.next_leaves)
with compiling.compiling_beside() as wait:
    compiling.compile_learner(config)
    compiling.compile_answers(config)
    wait(lambda: None)
compiled = sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS)
compiling.compile_self_play(config)
missed = sum(sum(kernel.stats.cache_misses.values()) for kernel in KERNELS)
signatures = [len(kernel.signatures) for kernel in KERNELS]
print(json.dumps([before, is_on_disk(lanes.next_leaves), compiled, missed, signatures]))
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
