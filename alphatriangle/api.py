"""The few functions that a program needs; ``import alphatriangle`` has them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alphatriangle.config import PersistenceConfig

if TYPE_CHECKING:
    from alphatriangle.training.agent import Agent
    from alphatriangle.training.judging.evaluation import PlayerScore
    from alphatriangle.training.run import TrainingOutcome


def train(
    run_name: str | None = None,
    *,
    preset: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    max_steps: int | None = None,
    resume: str = "auto",
    data_dir: str | Path | None = None,
    quiet: bool = False,
    stop: threading.Event | None = None,
) -> TrainingOutcome:
    """Train a run, or go on with it: what the command ``alphatriangle train`` does.

    ``settings`` are over the preset's, or over those of a run that is gone on with:
    ``{"train": {"batch_size": 128}}``. The environment says nothing here; it is for the command.
    Called again with the same arguments it goes on where it was, whatever ended it.

    In the main thread, SIGINT (a notebook's stop button), SIGTERM and SIGHUP save and stop it; in
    any thread, setting ``stop`` does. Afterwards handlers of signals, logging, warnings, torch's
    threads and the global generators are as before.

    Raises:
        ConfigError: settings that cannot be used.
        DataError: the run cannot be loaded, locked or written to.
        TrainingDivergedError: what training computes is not finite any more; the message has the
            command that goes back to a commit that is.
    """
    from alphatriangle.training.display.display import Display, console_on
    from alphatriangle.training.from_replica import with_run_here
    from alphatriangle.training.run import train as carry_out
    from alphatriangle.training.run_plan import TrainRequest, plan_run
    from alphatriangle.utils.signals import stop_on_signals

    request = TrainRequest(
        preset=preset,
        settings={section: dict(fields) for section, fields in (settings or {}).items()},
        run_name=run_name,
        max_steps=max_steps,
        resume=resume,
        data_dir=None if data_dir is None else Path(data_dir),
    )
    display = Display(console_on(sys.stdout), quiet=quiet)
    plan = plan_run(with_run_here(request, display))
    display.note(plan.message)
    with stop_on_signals(stop) as asked:
        return carry_out(plan, display, asked)


def load_run(
    run_name: str | None = None,
    *,
    checkpoint: str = "latest",
    data_dir: str | Path | None = None,
    device: str = "auto",
) -> Agent:
    """The agent that a run has trained: its network, ready to play, and its settings.

    ``checkpoint`` is latest, best, or a step. See :func:`alphatriangle.training.agent.load_agent`
    for what is raised.
    """
    from alphatriangle.training.agent import load_agent

    return load_agent(_persistence(data_dir), run_name, checkpoint, device)


def evaluate(
    agent: Agent,
    games: int = 100,
    *,
    against: Sequence[str] = (),
    simulations: int | None = None,
) -> list[PlayerScore]:
    """Scores of ``against`` (random, greedy, mobility, beam, beam128, planner) and of the agent,
    last, in the same games, with 95% intervals.

    Raises:
        ValueError: there is no such player.
    """
    from alphatriangle.training.judging.evaluation import (
        PLAYERS,
        evaluate_agent,
        evaluate_baseline,
    )

    for player in against:
        if player not in PLAYERS:
            raise ValueError(f"there is no player {player!r}; there are: {', '.join(PLAYERS)}")
    scores = [evaluate_baseline(player, agent.config, games) for player in against]
    name = f"{agent.run} (step {agent.step})"
    return [*scores, evaluate_agent(agent.network, agent.config, games, name, simulations)]


def _persistence(data_dir: str | Path | None) -> PersistenceConfig:
    if data_dir is None:
        return PersistenceConfig()
    return PersistenceConfig(root_data_dir=Path(data_dir))
