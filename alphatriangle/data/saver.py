"""``Saver``: crash-safe saves for any training loop, in three lines.

A thin layer over :class:`~alphatriangle.data.data_manager.DataManager`: it names the parts of the
loop, puts them back, keeps the rhythm of the saves and listens to signals.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from alphatriangle.config import PersistenceConfig, TrainConfig
from alphatriangle.data.data_manager import DataManager
from alphatriangle.data.errors import FencedError, SaveFailedError, StateMismatchError
from alphatriangle.data.parts import Parts
from alphatriangle.data.replay.source import RestorableReplay
from alphatriangle.data.schemas import BufferData, LoadedTrainingState
from alphatriangle.utils.global_rng import set_rng_state
from alphatriangle.utils.signals import StopRequest, stop_on_signals

logger = logging.getLogger(__name__)

_REPLICA_SECONDS: Final = 60.0
_REPLICA_HURRY_SECONDS: Final = 20.0
"""For what the replica lacks, when somebody wants to stop."""


class _LeaveError(BaseException):
    """Ends the loop inside a saver that has been told to stop, and goes no further."""


class Saver:
    """The training state of one run: fresh where the run is new, else gone on with.

    Example::

        with Saver("runs_folder", "dqn-cartpole", replay=ring, every=500) as saver:
            start = saver.restore({"model": model, "optimizer": optimizer, "env": env_state})
            for step in range(start, steps):
                ...
                saver.save(step + 1, metrics={"return": score})

    A save copies the state and returns; it is written behind the loop. The loop is resumed exactly
    when all that it computes follows from its parts, its replay, and the global generators of
    Python, NumPy and torch, which are always saved: see ``docs/library.md``.

    SIGTERM, SIGHUP and Ctrl-C end the ``with`` at the next :meth:`save`, which saves whatever its
    rhythm; :attr:`stopping` is true then. An exception ends it without a save: nobody knows what
    has been done of the step it came from. The end of the ``with`` saves the last step.
    """

    def __init__(
        self,
        folder: str | Path,
        run_name: str,
        *,
        replay: RestorableReplay | None = None,
        every: int = 1,
        settings: PersistenceConfig | None = None,
        signals: bool = True,
        allow_not_finite: bool = False,
    ) -> None:
        """``folder`` is the data folder, where ``alphatriangle runs --data-dir`` looks too;
        ``every``, how many steps lie between two saves; ``settings``, what is kept and where.

        Raises:
            ValueError: ``every`` is not positive.
        """
        if every < 1:
            raise ValueError(f"every={every}: at least one step lies between two saves")
        chosen = settings or PersistenceConfig(mlflow=False)
        self._settings = chosen.model_copy(update={"root_data_dir": Path(folder)})
        self._run_name = run_name
        self._replay = replay
        self._every = every
        self._listens = signals
        self._allow_not_finite = allow_not_finite
        self._stop = StopRequest()
        self._open = contextlib.ExitStack()
        self._manager: DataManager | None = None
        self._state: LoadedTrainingState | None = None
        self._parts: Parts | None = None
        self._metrics: dict[str, float] = {}
        self._step = self._saved_step = 0

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked to stop."""
        return bool(self._stop)

    @property
    def manager(self) -> DataManager:
        """What is beneath, within the ``with``: :meth:`DataManager.flush` waits for a save.

        Raises:
            TypeError: the saver is not open.
        """
        if self._manager is None:
            raise TypeError("a saver is used in a with statement")
        return self._manager

    def __enter__(self) -> Self:
        """Take the run.

        Raises:
            DataError: it cannot be taken or loaded; see :meth:`DataManager.load_initial_state`.
        """
        with contextlib.ExitStack() as opening:
            if self._listens:
                self._stop = opening.enter_context(stop_on_signals())
            manager = DataManager(self._settings, TrainConfig(run_name=self._run_name))
            manager.stop_waiting = lambda: self.stopping
            self._state = manager.load_initial_state()
            opening.callback(self._close, manager)
            self._open = opening.pop_all()
        self._manager = manager
        return self

    def _close(self, manager: DataManager) -> None:
        seconds = _REPLICA_HURRY_SECONDS if self.stopping else _REPLICA_SECONDS
        manager.close(replica_seconds=seconds)

    def restore(self, parts: Mapping[str, Any]) -> int:
        """Name the parts of the loop and put back what was saved; returns the step to go on at.

        0 for a run that is new. Parts are networks, optimizers, whatever has ``state_dict`` and
        ``load_state_dict``, generators of torch, NumPy and Python, and dictionaries.

        Raises:
            StateMismatchError: what was saved does not fit; the parts have not been changed.
            TypeError: a part has no state that could be saved.
        """
        self._parts = Parts(parts)
        state, self._state = self._state, None
        if state is None or state.checkpoint_data is None:
            return 0
        checkpoint = state.checkpoint_data
        self._parts.check(checkpoint)
        self._restore_replay(state.buffer_data)
        self._parts.load(checkpoint)
        # Last: what was loaded may have drawn.
        set_rng_state(checkpoint.rng_state)
        self._step = self._saved_step = checkpoint.global_step
        return self._step

    def _restore_replay(self, saved: BufferData | None) -> None:
        if (saved is None) != (self._replay is None):
            here = "and none is given" if self._replay is None else "which it was saved without"
            raise StateMismatchError(f"run {self._run_name!r} has a replay, {here}")
        if saved is None or self._replay is None:
            return
        try:
            self._replay.load_state_dict(saved.buffer_state(), saved.buffer_list.pieces())
        except ValueError as e:
            raise StateMismatchError(f"the replay of run {self._run_name!r}: {e}") from e

    def save(
        self, step: int, metrics: Mapping[str, float] | None = None, *, is_best: bool = False
    ) -> bool:
        """Steps up to ``step`` are done: save, if a save is due; returns whether one was begun.

        A save that fails (a full disk) is logged and made up for by the next; if it was the last,
        the end of the ``with`` raises its error.

        Raises:
            DataError: this state cannot be saved, whatever the disk says: see
                :meth:`DataManager.save_training_state`.
            FencedError: another writer has taken over the run's replica; this step is saved here.
            TypeError: :meth:`restore` has not said what is to be saved.
        """
        if self._manager is None or self._parts is None:
            raise TypeError("a saver is used in a with statement, and restore() comes first")
        self._step, self._metrics = step, dict(metrics or {})
        replica = self._manager.replica
        if replica is not None and (fenced := replica.fenced) is not None:
            # What has been learned is saved here by the end of the with, as any error lets it.
            self._begin(is_best=is_best)
            raise fenced
        due = step % self._every == 0 or is_best or self.stopping
        if due:
            self._begin(is_best=is_best)
        if self.stopping:
            raise _LeaveError
        return due

    def _begin(self, *, is_best: bool) -> None:
        assert self._manager is not None
        assert self._parts is not None
        for _ in range(2):
            try:
                self._manager.save_training_state(
                    self._parts.models,
                    self._parts.optimizers,
                    None,
                    self._replay,
                    self._step,
                    episodes_played=0,
                    total_simulations_run=0,
                    is_best=is_best,
                    components=self._parts.components,
                    metrics=self._metrics,
                    allow_not_finite=self._allow_not_finite,
                )
            except SaveFailedError as e:
                # Of the save before this one, which has not been begun yet.
                logger.warning("%s", e)
            else:
                self._saved_step = self._step
                return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Save the last step where the loop has ended well, wait for it, and let go of the run.

        Raises:
            SaveFailedError: the last save failed; the commits before it are intact.
            FencedError: another writer has taken over the run's replica; all is saved here.
        """
        manager = self.manager
        with self._open:
            if error is None and self._step > self._saved_step:
                self._begin(is_best=False)
        self._manager = None
        left, has_ended_well = manager.replica_left, error is None or isinstance(error, _LeaveError)
        if has_ended_well and left is not None and left.health == "fenced":
            raise FencedError(left.error)
        return isinstance(error, _LeaveError)
