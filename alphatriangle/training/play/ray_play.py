"""Self-play in Ray actors."""

from __future__ import annotations

import logging
import os
from typing import Any

from alphatriangle.config import Config
from alphatriangle.nn import NeuralNetwork
from alphatriangle.rl import PlayResult
from alphatriangle.training.play.source import Ledger, make_self_play, sorted_episodes
from alphatriangle.utils.environment import keep_freed_memory

logger = logging.getLogger(__name__)


class WorkersFailedError(RuntimeError):
    """Self-play workers cannot be kept alive."""


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
            "unfinished": sorted_episodes(given, self._ledger.returned),
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
