"""The thread that keeps a replica up to date, and what there is to say about it.

A save knows nothing of it: it tells the thread that there is a new commit, and goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from alphatriangle.data.commits.known import KnownCommits
from alphatriangle.data.errors import DataError, FencedError, UnsupportedFormatError
from alphatriangle.data.replica.protocol import KeepRules
from alphatriangle.data.replica.session import ReplicaSession
from alphatriangle.data.stores.store import Store, StoreUnsuitableError

logger = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS: Final = 2.0
_LONGEST_RETRY_SECONDS: Final = 300.0
_A_LOOK_SECONDS: Final = 0.5
"""How often who waits looks whether it still should."""

ReplicaHealth = Literal["current", "behind", "stuck", "fenced"]
"""behind: something is on its way; stuck: the last try failed; fenced: nothing goes any more."""


@dataclass(frozen=True)
class ReplicaStatus:
    """How a replica is, for people."""

    url: str
    health: ReplicaHealth = "behind"
    epoch: int | None = None
    acknowledged_step: int | None = None
    acknowledged_sequence: int = 0
    behind_seconds: float = 0.0
    """How long there has been a commit that is not acknowledged."""
    waiting_bytes: int = 0
    stuck_seconds: float = 0.0
    """How long every try has failed."""
    error: str | None = None
    """Why it is stuck or fenced."""
    damaged: tuple[str, ...] = ()
    """Commits here that cannot be sent, and why."""

    @property
    def text(self) -> str:
        """In a few words, but for what is wrong."""
        done = self.acknowledged_step
        step = "no commit yet" if done is None else f"step {done:,}"
        match self.health:
            case "fenced":
                return f"{step}, not written to any more: {self.error}"
            case "stuck":
                return f"{step}, stuck for {_time(self.stuck_seconds)}: {self.error}"
            case "behind":
                to_go = f", {self.waiting_bytes / 1e6:,.1f} MB to go" if self.waiting_bytes else ""
                return f"{step}, {_time(self.behind_seconds)} behind{to_go}"
            case _:
                return f"{step}, up to date"

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


class Replicator:
    """Hands a run's commits over in the background."""

    def __init__(
        self,
        run: KnownCommits,
        store: Store,
        rules: KeepRules,
        check: Callable[[Store], None] = lambda _: None,
    ) -> None:
        """``check`` raises StoreUnsuitableError for a store that must not be used."""
        self._run = run
        self._store = store
        self._check = check
        self._is_checked = False
        self._refusal: DataError | None = None
        self._session = ReplicaSession(run, store, rules, on_change=self._progress)
        self._changed = threading.Condition()
        self._status = ReplicaStatus(store.url)
        self._behind_since: float | None = time.monotonic()
        self._stuck_since: float | None = None
        self._has_news = True
        self._is_working = False
        self._retry_now = False
        self._stopping = False
        self._ended = False
        self._was_heard = False
        self._note()
        # As a daemon it cannot keep the interpreter alive when nobody closes it.
        self._thread = threading.Thread(target=self._work, name="replica", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """There is a new commit."""
        with self._changed:
            self._has_news = True
            if self._behind_since is None:
                self._behind_since = time.monotonic()
            if self._status.health == "current":
                self._status = replace(self._status, health="behind")
            self._changed.notify_all()

    @property
    def status(self) -> ReplicaStatus:
        """How it is now."""
        with self._changed:
            now = time.monotonic()
            behind, stuck = self._behind_since, self._stuck_since
            return replace(
                self._status,
                behind_seconds=0.0 if behind is None else now - behind,
                stuck_seconds=0.0 if stuck is None else now - stuck,
            )

    @property
    def fenced(self) -> FencedError | None:
        """Why nothing is replicated any more, once that is so."""
        with self._changed:
            if self._status.health != "fenced":
                return None
            return FencedError(self._status.error)

    def wait_for(self, sequence: int, timeout_seconds: float | None = None) -> bool:
        """Wait until a commit, or a newer one, is acknowledged; returns whether it is.

        Raises:
            FencedError: it never will be.
        """

        def is_over() -> bool:
            done = self._status.acknowledged_sequence >= sequence
            never = self._ended and timeout_seconds is None
            return done or never or self._status.health == "fenced"

        with self._changed:
            self._changed.wait_for(is_over, timeout_seconds)
            if self._status.acknowledged_sequence >= sequence:
                return True
            if self._status.health == "fenced":
                raise FencedError(self._status.error)
            return False

    def wait_for_first_word(self, timeout_seconds: float) -> None:
        """Wait until the replica is claimed, or cannot be for now, or so long.

        Raises:
            FencedError: it never will be.
            StoreUnsuitableError: the store must not be used.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._was_heard or self._ended, timeout_seconds)
            if self._refusal is not None:
                raise self._refusal

    def drain(self, timeout_seconds: float, stop: Callable[[], bool] = lambda: False) -> bool:
        """Try now, and wait until everything is there, at most so long, or until ``stop`` says so;
        returns whether it is."""
        deadline = time.monotonic() + timeout_seconds

        def is_over() -> bool:
            return self._ended or not (self._has_news or self._is_working)

        with self._changed:
            self._has_news = self._retry_now = True
            self._changed.notify_all()
            while (left := deadline - time.monotonic()) > 0 and not stop():
                if self._changed.wait_for(is_over, min(left, _A_LOOK_SECONDS)):
                    break
            return self._status.health == "current" and not self._has_news

    def close(self, timeout_seconds: float) -> bool:
        """Hand over what is left, within the time given, and end; returns whether all of it went.

        A request that hangs is left behind with its thread.
        """
        deadline = time.monotonic() + timeout_seconds
        done = self.drain(timeout_seconds)
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(max(deadline - time.monotonic(), 0.5))
        return done

    def _work(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        try:
            while self._wait_for_news():
                try:
                    if not self._is_checked:
                        self._check(self._store)
                        self._is_checked = True
                    self._session.begin()
                    self._hear()
                    self._session.catch_up(lambda: self._stopping)
                except FencedError as e:
                    self._fail("fenced", e)
                    return
                except (DataError, OSError) as e:
                    self._fail("stuck", e)
                    if isinstance(e, StoreUnsuitableError | UnsupportedFormatError):
                        delay = _LONGEST_RETRY_SECONDS
                    self._pause(delay)
                    delay = min(2 * delay, _LONGEST_RETRY_SECONDS)
                else:
                    self._succeed()
                    delay = _FIRST_RETRY_SECONDS
        finally:
            with self._changed:
                if not self._stopping and self._status.health != "fenced":
                    self._status = replace(self._status, health="stuck", error="its thread ended")
                self._ended = True
                self._changed.notify_all()

    def _wait_for_news(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._has_news or self._stopping)
            self._has_news = self._retry_now = False
            self._is_working = True
            return not self._stopping

    def _pause(self, seconds: float) -> None:
        """News are no reason to try sooner; somebody who waits is."""
        with self._changed:
            self._changed.wait_for(lambda: self._retry_now or self._stopping, seconds)
            self._has_news = True

    def _hear(self) -> None:
        with self._changed:
            self._was_heard = True
            self._note()
            self._changed.notify_all()

    def _progress(self) -> None:
        with self._changed:
            self._note()
            self._changed.notify_all()

    def _succeed(self) -> None:
        self._session.remember_error(None)
        with self._changed:
            self._note()
            self._is_working = False
            self._stuck_since = None
            if not self._has_news:
                self._behind_since = None
                self._status = replace(self._status, health="current", error=None)
            else:
                self._status = replace(self._status, health="behind", error=None)
            self._changed.notify_all()

    def _fail(self, health: ReplicaHealth, error: Exception) -> None:
        with self._changed:
            # Who starts is told by an exception, who waits for the hundredth try was told before.
            is_told = not self._was_heard and isinstance(error, FencedError | StoreUnsuitableError)
            is_told = is_told or self._status.error == str(error)
        logger.log(logging.INFO if is_told else logging.WARNING, "replica: %s", error)
        self._session.remember_error(str(error))
        with self._changed:
            self._note()
            self._was_heard = True
            if isinstance(error, FencedError | StoreUnsuitableError):
                self._refusal = error
            self._is_working = False
            if self._stuck_since is None:
                self._stuck_since = time.monotonic()
            self._status = replace(self._status, health=health, error=str(error))
            self._changed.notify_all()

    def _note(self) -> None:
        session, acknowledged = self._session, self._session.state.acknowledged
        self._status = replace(
            self._status,
            epoch=session.epoch,
            acknowledged_step=None if acknowledged is None else acknowledged.step,
            acknowledged_sequence=0 if acknowledged is None else acknowledged.sequence,
            waiting_bytes=session.waiting_bytes,
            damaged=tuple(session.damaged.values()),
        )
