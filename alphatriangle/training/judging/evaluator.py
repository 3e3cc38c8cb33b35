"""A process that plays the games of one candidate while training goes on.

    python -m alphatriangle.training.judging.evaluator

reads pickled :class:`_Task` objects from its standard input and writes pickled :class:`Answer`
objects to its standard output, one for each, until the input ends: with the trainer, however that
ends. It computes on one thread of the CPU, at the lowest priority.

A process of its own and not one of ``multiprocessing``, which would import the caller's main
module: training can be called from any script.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import torch

from alphatriangle.config import Config
from alphatriangle.nn import NeuralNetwork
from alphatriangle.training.players import gate_simulations, make_player
from alphatriangle.utils.processes import start_beside

_MODULE: Final = "alphatriangle.training.judging.evaluator"
GATE_SEED: Final = 7_700_000_011
"""Seed of the deals that candidates are judged by: other games than those of evaluations, so that a
score there stays honest."""


class EvaluatorDiedError(RuntimeError):
    """The process ended without an answer."""


class Answer(NamedTuple):
    """The candidate's games."""

    scores: list[float]
    cpu_seconds: float


class _Task(NamedTuple):
    config: dict[str, Any]
    weights: dict[str, Any]
    games: int


class Evaluator:
    """Plays one candidate's games at a time in a process that is started when first needed."""

    def __init__(self, config: Config, log: Path) -> None:
        """``config`` with the arithmetic of self-play written out; ``log`` takes what it says."""
        self._fields = config.model_dump(mode="json")
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._answer: Future[Answer] | None = None

    @property
    def process_id(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process else None

    def start(self, weights: Mapping[str, torch.Tensor], games: int) -> None:
        """Let these weights play ``games`` games; what came before must have been collected."""
        assert self._answer is None
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = self._launch()
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in weights.items()}
        task = pickle.dumps(_Task(self._fields, arrays, games))
        self._answer = Future()
        asking = (self._process, task, self._answer)
        threading.Thread(target=_ask, args=asking, name="evaluator", daemon=True).start()

    def ready(self, seconds: float) -> bool:
        """Whether :meth:`collect` would not wait, after waiting so long for that."""
        return self._answer is None or bool(wait([self._answer], seconds).done)

    def collect(self, *, wait: bool) -> Answer | None:
        """The answer when it is there, or after waiting for it; None when nothing was begun.

        Raises:
            EvaluatorDiedError: the process has ended; :meth:`start` starts another.
        """
        if self._answer is None or not (wait or self._answer.done()):
            return None
        answer, self._answer = self._answer, None
        try:
            return answer.result()
        except (EOFError, OSError, pickle.UnpicklingError) as e:
            assert self._process is not None
            self._process.kill()
            code = self._process.wait()
            raise EvaluatorDiedError(
                f"the process that plays the candidate's games ended (exit code {code}); "
                f"{self._log} may say why"
            ) from e

    def _launch(self) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            pipe = subprocess.PIPE
            return start_beside(_MODULE, stdin=pipe, stdout=pipe, stderr=log)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._answer = None


def _ask(process: subprocess.Popen[bytes], task: bytes, answer: Future[Answer]) -> None:
    """Send the task and wait for the answer, on a thread of its own."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(task)
        process.stdin.flush()
        answer.set_result(pickle.load(process.stdout))
    except BaseException as e:  # noqa: BLE001  (it belongs to whoever collects)
        answer.set_exception(e)


def _serve(tasks: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the input ends."""
    network: NeuralNetwork | None = None
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            task: _Task = pickle.load(tasks)
            begin = time.process_time()
            config = Config.model_validate(task.config)
            network = network or NeuralNetwork(config.model, "cpu")
            network.set_weights({name: torch.from_numpy(a) for name, a in task.weights.items()})
            player = make_player(network, config, gate_simulations(config), threads=1)
            episodes = player.play(list(range(task.games)), GATE_SEED, lambda finished: None)
            answer = Answer([e.score for e in episodes], time.process_time() - begin)
            pickle.dump(answer, answers)
            answers.flush()


def main() -> None:
    """Serve on the standard streams; what anybody prints goes to the log."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if hasattr(os, "nice"):
        os.nice(19)
    torch.set_num_threads(1)
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    # Under its own name, or what is pickled here would be of a module called __main__.
    from alphatriangle.training.judging import evaluator

    evaluator.main()
