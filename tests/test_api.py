"""What ``import alphatriangle`` gives: few names, at no cost, and they work."""

from __future__ import annotations

import logging
import random
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

import alphatriangle
from alphatriangle.data.errors import CommitNotFoundError, RunNotFoundError
from tests.conftest import TINY
from tests.training.command import commits, show

SETTINGS = {**TINY, "stats": {**TINY["stats"], "gate_games": 4, "gate_freq_steps": 4}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("api")
    settings = {**SETTINGS, "train": {**TINY["train"], "run_name": None, "max_steps": 6}}
    outcome = alphatriangle.train("r", settings=settings, max_steps=6, data_dir=folder, quiet=True)
    assert (outcome.run_name, outcome.global_step, outcome.complete) == ("r", 6, True)
    again = alphatriangle.train("r", max_steps=6, data_dir=folder, quiet=True)
    assert again.complete
    return folder


def test_every_name_is_there_and_importing_loads_nothing_heavy() -> None:
    for name in alphatriangle.__all__:
        assert getattr(alphatriangle, name) is not None
        assert name in dir(alphatriangle)
    with pytest.raises(AttributeError, match="trian"):
        _ = alphatriangle.trian
    loaded = "import sys, alphatriangle; print([m for m in ('torch', 'ray', 'mlflow', 'pyarrow')"
    code = loaded + " if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_agent_ranks_the_moves_of_a_position(data: Path) -> None:
    agent = alphatriangle.load_run("r", data_dir=data)
    assert (agent.run, agent.step) == ("r", 6)
    game = alphatriangle.GameState(seed=3)
    moves, value = agent.rank(game, simulations=8)
    assert sorted(m.action for m in moves) == game.legal_actions().tolist()
    assert sum(m.probability for m in moves) == pytest.approx(1.0, abs=1e-4)
    assert agent.choose(game, simulations=8) == moves[0].action
    assert 0 <= value <= agent.config.model.value_max
    scores = alphatriangle.evaluate(agent, 5, against=["random"], simulations=4)
    assert [s.player for s in scores] == ["random", "r (step 6)"]
    with pytest.raises(ValueError, match=r"'gready'.*greedy"):
        alphatriangle.evaluate(agent, 5, against=["gready"])


def test_which_checkpoint(data: Path) -> None:
    assert alphatriangle.load_run(data_dir=data).run == "r", "the latest run"
    assert alphatriangle.load_run("r", checkpoint="4", data_dir=data).step == 4
    assert alphatriangle.load_run("r", checkpoint="best", data_dir=data).step in (4, 6)
    for name, error in (("5", "no commit of step 5"), ("bset", "'bset' is no checkpoint")):
        with pytest.raises(CommitNotFoundError, match=error):
            alphatriangle.load_run("r", checkpoint=name, data_dir=data)
    with pytest.raises(RunNotFoundError, match="did you mean 'r'"):
        alphatriangle.load_run("rr", data_dir=data)
    with pytest.raises(RunNotFoundError, match="no run"):
        alphatriangle.load_run(data_dir=data / "elsewhere")


def _of_the_process() -> list[object]:
    """What a training must leave as it was."""
    root = logging.getLogger()
    return [
        *(signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        root.handlers,
        (root.level, logging.getLogger("alphatriangle").level),
        (warnings.showwarning, warnings.filters),
        (torch.get_num_threads(), torch.get_rng_state().tolist()),
        (random.getstate(), repr(np.random.get_state())),
    ]


def test_training_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    torch.set_num_threads(2)
    logging.captureWarnings(True)
    try:
        before = _of_the_process()
        for steps in (2, 3):
            alphatriangle.train("r", settings=TINY, max_steps=steps, data_dir=tmp_path, quiet=True)
        assert _of_the_process() == before
    finally:
        logging.captureWarnings(False)
        torch.set_num_threads(1)


def test_in_a_thread_it_trains_and_an_event_stops_it(tmp_path: Path) -> None:
    stop = threading.Event()
    arguments = {"settings": TINY, "data_dir": tmp_path, "quiet": True}
    with ThreadPoolExecutor() as pool:
        training = pool.submit(alphatriangle.train, "r", max_steps=100_000, stop=stop, **arguments)  # type: ignore[arg-type]
        while not commits(tmp_path) and not training.done():
            pass
        stop.set()
        outcome = training.result()
    assert (outcome.complete, outcome.stopped_by) == (False, "request")
    assert show(tmp_path)["commit"]["global_step"] == outcome.global_step > 0
    again = alphatriangle.train("r", max_steps=outcome.global_step + 1, **arguments)  # type: ignore[arg-type]
    assert again.complete
