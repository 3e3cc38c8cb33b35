"""What the training loop asks of whoever learns.

A learner owns the network, the replay and where experience comes from. It knows no saves, no curves
and no display: it says what its state is, and hands out what it has played and measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from alphatriangle.data.commits.capture import Stateful
from alphatriangle.data.schemas import LoadedTrainingState
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import ExperienceBuffer, PlayResult
from alphatriangle.training.compiling import WaitForKernels
from alphatriangle.training.display.display import Display
from alphatriangle.utils.signals import StopRequest


class Step(NamedTuple):
    """What a training step brought."""

    metrics: dict[str, float]
    """By the names of :mod:`alphatriangle.stats.events`."""
    seconds: float
    """That it learned for."""
    played: list[PlayResult]
    """What was played within the step, by who plays and learns at once."""


class Learner(Protocol):
    """One kind of learning."""

    @property
    def network(self) -> NeuralNetwork:
        """What is learned."""

    @property
    def buffer(self) -> ExperienceBuffer:
        """The rows of what was played."""

    @property
    def exact(self) -> bool:
        """Whether all that is learned follows from the state at a step, whatever is interrupted."""

    # Before training, in this order.

    def load(self, state: LoadedTrainingState) -> int:
        """Put the loaded state into network, optimizer and buffer; returns the training step.

        Raises:
            StateMismatchError: it does not fit; the message names what.
        """

    def get_ready(self, display: Display, stop: StopRequest, wait: WaitForKernels) -> None:
        """Compile, and start what plays elsewhere.

        Raises:
            StopRequested: somebody wants to stop.
        """

    def go_on(self, state: LoadedTrainingState) -> None:
        """Take up the games in flight of the loaded state.

        Raises:
            StateMismatchError: they do not fit the configuration.
        """

    def begin(self) -> None:
        """Play ahead from now on, where that takes nothing from this process."""

    def what_begins(self) -> list[str]:
        """For the person: what is another from this start of the run on."""

    def recorded(self) -> dict[str, Any]:
        """Fields of ``run.json``: what was decided at the start and is kept."""

    # In the loop.

    def rows_wanted(self, step: int) -> int:
        """Rows that must have been added to the buffer in all before the step after ``step``."""

    def collect(self, step: int) -> list[PlayResult]:
        """Some of the rows wanted, soon; what has been played meanwhile when none are."""

    def step(self, step: int) -> Step:
        """Do the training step after ``step``.

        Raises:
            StopRequested: somebody wants to stop, and the step has not been done.
            NotFiniteError: what it computes is not finite any more.
        """

    @property
    def workers(self) -> dict[str, Any] | None:
        """How those who play elsewhere are, where there are any."""

    @property
    def worker_profile(self) -> bytes | None:
        """Where the time of one of them has gone (:mod:`alphatriangle.training.profiling`), where
        that was asked for."""

    @property
    def problem(self) -> str | None:
        """What the person should know of them; None when all is well."""

    def take_wish_to_save(self) -> bool:
        """Whether what there is should be saved now; asked once it is no more."""

    @property
    def is_torn(self) -> bool:
        """Whether a step has begun to change the state and has not ended: nothing to be saved."""

    # For the saves.

    @property
    def optimizer(self) -> Stateful:
        """What learning remembers of each weight."""

    @property
    def components(self) -> Mapping[str, Stateful]:
        """All other state, by name, but for network and buffer."""

    def first_not_finite(self) -> str | None:
        """The first tensor of network or optimizer that holds a NaN or an infinity, if any."""

    def close(self, *, wait: bool = True) -> None:
        """Stop playing; more than once does no harm. Without ``wait`` it ends by itself, soon."""
