"""Keeps the gate supplied: candidates in, verdicts out, the data module told which is the best."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from alphatriangle.config import Config
from alphatriangle.data.commits.files import of_step
from alphatriangle.data.data_manager import DataManager
from alphatriangle.data.errors import CommitNotFoundError, DataError
from alphatriangle.nn import NeuralNetwork
from alphatriangle.stats import Event
from alphatriangle.training.judging.evaluator import Evaluator, EvaluatorDiedError
from alphatriangle.training.judging.gate import Gate

logger = logging.getLogger(__name__)


class Gating:
    """One candidate at a time, every ``gate_freq_steps``, judged beside training.

    ``exact``: the verdict on a candidate is waited for when the next one is due, so that it falls
    at the same step however fast the machine is and however often the run was interrupted.
    Otherwise the next candidate waits for the verdict.
    """

    def __init__(
        self, config: Config, network: NeuralNetwork, data: DataManager, *, exact: bool
    ) -> None:
        self.gate = Gate()
        self._games = config.stats.gate_games
        self._every = config.stats.gate_freq_steps
        self._network = network
        self._data = data
        self.exact = exact
        if network.device.type == "cpu":
            config = config.model_copy(update={"model": network.arithmetic()})
        self._evaluator = Evaluator(config, data.paths.logs / "evaluator.log")
        self.problem: str | None = None

    def resume(self, state: dict[str, Any], *, same_games: bool) -> None:
        """Go on from the saved ``state`` of the gate: its candidate plays its games again.

        ``same_games``: they are played as those were that the best has its scores from.
        """
        self.gate.load_state_dict(state)
        if not same_games:
            self.gate.forget_scores()
        known = self._data.commits.look()
        steps = {s.commit.global_step for s in known.commits}
        if self.gate.best_step not in steps:
            # This run began with a commit of another, whose best it does not have.
            self.gate.forget_best()
        step = self.gate.candidate_step
        if step is None:
            return
        try:
            found = of_step(known, self._data.run_name, step).commits[0]
            path = self._data.paths.run / found.commit.of_kind("checkpoint")[0].path
            weights = self._data.serializer.load_checkpoint(path).model_state_dict
        except DataError as e:
            self._give_up(f"the candidate of step {step} cannot be judged: {e}")
            return
        self._data.held = {step}
        self._evaluator.start(weights, self._games)

    @property
    def is_on(self) -> bool:
        """Whether anything is judged at all."""
        return self._games > 0

    def is_due(self, step: int) -> bool:
        """Whether the commit of this step may be a candidate."""
        return self.is_on and step >= self.gate.last_step + self._every

    def take_verdict(self, now: int) -> list[Event]:
        """Judge the candidate there is, if its games are over or have to be waited for."""
        return self._judge(now, wait=self.exact)

    def wait(self, go_on: Callable[[], bool]) -> bool:
        """Wait until :meth:`take_verdict` would not; False when ``go_on`` says no meanwhile."""
        while self.exact and not self._evaluator.ready(0.2):
            if not go_on():
                return False
        return True

    def propose(self, step: int) -> None:
        """The commit of ``step``, which is about to be saved, is the next candidate."""
        self.gate.propose(step)
        self._data.held = {step}

    def play(self) -> None:
        """Begin the games of the candidate, with the weights that have just been captured."""
        self._evaluator.start(self._network.get_weights(), self._games)

    def finish(self, now: int, go_on: Callable[[], bool]) -> tuple[bool, list[Event]]:
        """At the end: judge the candidate there is, then the present weights, waiting for both.

        Returns whether the present weights are the best. Where ``go_on`` says no meanwhile, the
        candidate stays one.
        """
        events: list[Event] = []
        while True:
            if self.gate.candidate_step is None:
                self.propose(now)
                self.play()
            is_present = self.gate.candidate_step == now
            while not self._evaluator.ready(0.2):
                if not go_on():
                    return False, events
            events += self._judge(now, wait=True)
            if is_present:
                return self.gate.best_step == now, events

    def _judge(self, now: int, *, wait: bool) -> list[Event]:
        try:
            answer = self._evaluator.collect(wait=wait)
        except EvaluatorDiedError as e:
            self._give_up(str(e))
            return []
        if answer is None:
            return []
        before = self.gate.state_dict()
        verdict = self.gate.judge(answer.scores)
        if verdict.better and verdict.step != now:
            try:
                self._data.mark_best(verdict.step)
            except CommitNotFoundError as e:
                self.gate.load_state_dict(before)
                self._give_up(str(e))
                return []
        self._data.held = set()
        self.problem = None
        logger.info("gate: %s", verdict)
        facts = {"score": verdict.mean, "cpu_seconds": answer.cpu_seconds}
        if self.gate.best_mean is not None:
            facts["best_score"] = self.gate.best_mean
        if verdict.gain is not None:
            facts["gain"] = verdict.gain.mean
        return [Event(f"gate/{name}", value, now) for name, value in facts.items()]

    def _give_up(self, problem: str) -> None:
        logger.warning("gate: %s", problem)
        self.problem = problem
        self.gate.candidate_step = None
        self._data.held = set()

    def close(self) -> None:
        """End the process that plays."""
        self._evaluator.close()
