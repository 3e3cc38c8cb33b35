"""SIGKILL in every phase before the first commit: the run that is started again is the same run.

Nothing has been committed, so all that could make a difference is what the first start did and the
second does not: finding out what the processor can do, compiling, looking around.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from alphatriangle.config import PRESETS
from tests.durability.budget import SOAK, report
from tests.training.command import alphatriangle, commits, fork, of_kind, show, train_arguments

# In the order in which a start passes them, so that every death is one further on.
PHASES = (
    "start.loaded",
    "start.warm",
    "start.recorded",
    "start.prepared",
    "train.rows",
    "train.rows:2",
    "capture.begin",
    "write.segment",
    "write.buffer",
    "write.checkpoint",
    "commit.before",
)
FEW = ("start.recorded", "train.rows:2", "commit.before")
# Preset, inference_dtype, training_dtype: what each preset says, and everything that can be said.
ARITHMETIC = (
    ("convolutional-quick", "auto", "float32"),
    ("convolutional-laptop", "auto", "auto"),
    ("full", "int8", "bfloat16"),
    ("convolutional-quick", "bfloat16", "bfloat16"),
    ("full", "float32", "float32"),
    ("quick", "auto", "float32"),
    ("laptop", "auto", "float32"),
)


def arguments(data: Path, preset: str, inference: str, training: str) -> list[str]:
    more = {
        "model.inference_dtype": inference,
        "train.training_dtype": training,
        "train.games_per_worker": "2",  # 16 rounds of them are fewer rows than the first step needs
        "stats.evaluation_games": "2",
        "stats.tensorboard": "true",
        "persistence.save_freq_steps": "2",
    }
    settings = [word for key, value in more.items() for word in ("--set", f"{key}={value}")]
    settings += of_kind(PRESETS[preset]["model"]["kind"])
    return train_arguments(data, "--workers", "0", "--preset", preset, *settings, steps=4)


@pytest.mark.parametrize(("preset", "inference", "training"), ARITHMETIC)
def test_killed_before_the_first_commit(
    tmp_path: Path, preset: str, inference: str, training: str
) -> None:
    calm = arguments(tmp_path / "calm", preset, inference, training)
    result = alphatriangle(*calm, "--json")
    assert result.returncode == 0, result.stderr
    data, output = tmp_path / "killed", tmp_path / "output.txt"
    again = arguments(data, preset, inference, training)
    phases = PHASES if SOAK or inference == "int8" else FEW
    for phase in phases:
        process = fork(again, output, ALPHATRIANGLE_FAILPOINT=phase)
        process.join(timeout=240)
        assert process.exitcode == -signal.SIGKILL, f"not reached: {phase}: {output.read_text()}"
        assert commits(data) == []
    assert alphatriangle(*again).returncode == 0
    assert show(data)["state_digest"] == json.loads(result.stdout)["state_digest"]
    report("kills before the first commit", kills=len(phases), lost=0)
