"""Self-play as the training loop sees it: in this process, or in Ray actors.

Both hand out rows and finished episodes, and both number episodes from one ledger, so that a run
can go on with the other one.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from alphatriangle.config import Config
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult, SelfPlay
from alphatriangle.utils.environment import keep_freed_memory

logger = logging.getLogger(__name__)


class WorkersFailedError(RuntimeError):
    """Self-play workers cannot be kept alive."""


class PlaySource(Protocol):
    """Where experience comes from."""

    def collect(self, wanted_rows: int) -> list[PlayResult]:
        """Some results, soon; not necessarily all the rows wanted.

        With ``wanted_rows`` at 0 or below it returns at once with what there is: so many rows is
        training already behind.
        """

    def update_weights(self) -> None:
        """The network has been trained; self-play may take over its weights."""

    def state_dict(self) -> dict[str, Any]:
        """Which episodes come next or are unfinished; in this process also the games in flight."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; an unfinished episode without its game is replayed from its seed."""

    def close(self) -> None:
        """Stop playing."""


class Ledger:
    """Hands out every episode number once; those of lost games again, first."""

    def __init__(self) -> None:
        self.next_episode = 0
        self._returned: list[int] = []

    def take(self, count: int) -> list[int]:
        """The next ``count`` episodes to play."""
        again, self._returned = self._returned[:count], self._returned[count:]
        first = self.next_episode
        self.next_episode += count - len(again)
        return again + list(range(first, self.next_episode))

    @property
    def returned(self) -> list[int]:
        """Given back and not taken again."""
        return list(self._returned)

    def give_back(self, episodes: list[int]) -> None:
        """These were taken and not finished."""
        self._returned = sorted(self._returned + episodes)


def _sorted(*episodes: list[int]) -> npt.NDArray[np.int64]:
    return np.array(sorted(e for part in episodes for e in part), np.int64)


def make_self_play(network: NeuralNetwork, config: Config, **more: Any) -> SelfPlay:
    """Self-play with the settings of the run."""
    train = config.train
    return SelfPlay(
        network,
        config.search,
        config.env,
        games=train.games_per_worker,
        gamma=train.gamma,
        n_step=train.n_step_returns,
        seed=train.seed,
        **more,
    )


class InProcessPlay:
    """Plays between training steps, deterministically, with the newest weights."""

    # So many network calls a visit: short enough to keep the display and Ctrl-C alive.
    ROUNDS = 16

    def __init__(self, network: NeuralNetwork, config: Config) -> None:
        self._network = network
        self._ledger = Ledger()
        self._self_play = make_self_play(network, config, refill=self._ledger.take)

    def collect(self, wanted_rows: int) -> list[PlayResult]:
        """Play until the rows are there, or for a while."""
        if wanted_rows <= 0:
            return []
        return [self._self_play.play(wanted_rows, self.ROUNDS)]

    def update_weights(self) -> None:
        """Evaluate with the newest weights from now on."""
        self._network.refresh()

    def state_dict(self) -> dict[str, Any]:
        """Ledger and games in flight."""
        return {
            "next_episode": self._ledger.next_episode,
            "unfinished": _sorted(self._self_play.unfinished(), self._ledger.returned),
            "games": self._self_play.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the games in flight, or replay them where a worker had them.

        Raises:
            ValueError: the games in flight do not fit the configuration.
        """
        self._ledger.next_episode = int(state["next_episode"])
        if state["games"] is not None:
            self._self_play.load_state_dict(state["games"])
        else:
            self._ledger.give_back([int(e) for e in state["unfinished"]])

    def close(self) -> None:
        """Nothing to stop."""


class SelfPlayWorker:
    """The Ray side: one process, one thread, one pool of games."""

    def __init__(self, config_fields: dict[str, Any], device: str) -> None:
        import torch

        keep_freed_memory()
        torch.set_num_threads(1)
        config = Config.model_validate(config_fields)
        self._network = NeuralNetwork(config.model, device)
        self._self_play = make_self_play(self._network, config)
        self._weights_version = -1

    def process_id(self) -> int:
        """For people and tests."""
        return os.getpid()

    def play(
        self, episodes: list[int], version: int, weights: dict[str, Any], min_rows: int
    ) -> PlayResult:
        """Take these episodes and weights, play at least ``min_rows`` rows."""
        if version != self._weights_version:
            self._network.set_weights(weights)
            self._weights_version = version
        self._self_play.add_episodes(episodes)
        return self._self_play.play(min_rows)


class _Worker:
    """What the driver knows of one actor."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.episodes: set[int] = set()  # given and not finished
        self.call: Any = None  # the play() in flight


class RayPlay:
    """Plays in Ray actors. One that dies is replaced and its episodes are played again."""

    def __init__(self, network: NeuralNetwork, config: Config, workers: int) -> None:
        self._network = network
        self._config = config
        self._ledger = Ledger()
        self._version = -1
        self._weights: Any = None
        self._steps_since_update = 0
        games = config.train.games_per_worker
        # Half a row a lane: short calls, so that new weights and results travel soon.
        self._chunk_rows = max(games // 2, 16)
        self._spare_episodes = 2 * games
        self._lookahead_rows = 2 * workers * self._chunk_rows
        self.workers_replaced = 0
        self._deaths_in_a_row = 0
        self._publish_weights()
        self._workers = [_Worker(self._new_actor()) for _ in range(workers)]

    def _new_actor(self) -> Any:
        import ray

        cores = ray.cluster_resources().get("CPU", 0)
        enough = cores > self._config.train.num_workers > 0
        # Asking for more cores than there are would wait for ever; then ask for none.
        options = {"num_cpus": 1 if enough else 0, "scheduling_strategy": "SPREAD"}
        # Workers compute on the CPU. What was chosen for this process holds for them only when it
        # does so too; otherwise their own capability decides.
        config = self._config
        if self._network.device.type == "cpu":
            config = config.model_copy(update={"model": self._network.arithmetic()})
        actor = ray.remote(SelfPlayWorker).options(**options)
        return actor.remote(config.model_dump(mode="json"), "cpu")

    def _publish_weights(self) -> None:
        import ray

        self._version += 1
        self._weights = ray.put(self._network.get_weights())
        self._steps_since_update = 0

    def update_weights(self) -> None:
        """Publish the weights every ``worker_update_freq_steps`` training steps."""
        self._steps_since_update += 1
        if self._steps_since_update >= self._config.train.worker_update_freq_steps:
            self._publish_weights()

    def _launch(self, worker: _Worker) -> None:
        fresh = self._ledger.take(self._spare_episodes - len(worker.episodes))
        worker.episodes.update(fresh)
        worker.call = worker.handle.play.remote(
            fresh, self._version, self._weights, self._chunk_rows
        )

    def collect(self, wanted_rows: int) -> list[PlayResult]:
        """What the workers have finished within half a second; keeps all of them busy.

        Far enough ahead of training they pause.

        Raises:
            WorkersFailedError: they die again and again without a result.
        """
        import ray
        from ray.exceptions import ActorDiedError, ActorUnavailableError, WorkerCrashedError

        if wanted_rows < -self._lookahead_rows:
            return []
        for worker in self._workers:
            if worker.call is None:
                self._launch(worker)
        calls = [worker.call for worker in self._workers]
        timeout = 0.5 if wanted_rows > 0 else 0.0
        ready, _ = ray.wait(calls, num_returns=1, timeout=timeout)
        results = []
        for i, worker in enumerate(self._workers):
            if worker.call not in ready:
                continue
            worker.call, call = None, worker.call
            try:
                result = ray.get(call)
            except (ActorDiedError, ActorUnavailableError, WorkerCrashedError) as e:
                logger.warning("self-play worker %d died and is replaced: %s", i, e)
                self._deaths_in_a_row += 1
                if self._deaths_in_a_row > 3 * len(self._workers):
                    raise WorkersFailedError(
                        "self-play workers die again and again, last: "
                        f"{str(e).splitlines()[0]}; --workers 0 plays without them"
                    ) from e
                self._replace(i)
                continue
            self._deaths_in_a_row = 0
            worker.episodes.difference_update(e.episode for e in result.episodes)
            results.append(result)
            self._launch(worker)
        return results

    def _replace(self, index: int) -> None:
        import ray

        lost = self._workers[index]
        ray.kill(lost.handle)
        self._ledger.give_back(sorted(lost.episodes))
        self._workers[index] = _Worker(self._new_actor())
        self.workers_replaced += 1

    def process_ids(self) -> list[int]:
        """The workers' processes; waits for calls in flight."""
        import ray

        pids: list[int] = ray.get([w.handle.process_id.remote() for w in self._workers])
        return pids

    def state_dict(self) -> dict[str, Any]:
        """Ledger only: episodes in flight are played again from their seeds."""
        given = [e for worker in self._workers for e in worker.episodes]
        return {
            "next_episode": self._ledger.next_episode,
            "unfinished": _sorted(given, self._ledger.returned),
            "games": None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Give unfinished episodes out again."""
        self._ledger.next_episode = int(state["next_episode"])
        self._ledger.give_back([int(e) for e in state["unfinished"]])
        self._publish_weights()

    def close(self) -> None:
        """Stop the actors."""
        import ray

        for worker in self._workers:
            ray.kill(worker.handle)
